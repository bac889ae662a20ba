//! Asks a delegated service about a request.

use super::{CheckRequest, Checker, Original, Outcome};
use crate::credential::delegated::DelegatedCheck;
use crate::delegate::{Delegate, DelegateDecision};
use crate::session::{SessionId, State, Verdict};
use crate::sources::{
    AuthenticationFreshness, ExternalIdentity, ExternalIssuer, ResolvedCredential,
};

impl Checker {
    /// Asks the service, and returns the session for which the service allows the request. The error is the complete
    /// denial.
    ///
    /// If a cookie names a session that has ended, Curfew does not ask the service, because the service could count
    /// Curfew's request as activity, and extend its own session.
    pub(super) async fn ask_delegate<'a>(
        &self,
        delegate: &'a Delegate,
        request: &CheckRequest<'_>,
        original: &Original<'_>,
    ) -> Result<ResolvedCredential<'a>, Box<Outcome>> {
        let delegated = delegate.service();
        let Ok(cookie) = delegated.key.find_cookie(request.headers) else {
            return Err(Box::new(self.deny_two_credentials(request)));
        };
        let removal_cookie = delegated.cleared_cookie.as_ref();
        if let Some(id) = cookie.map(|cookie| delegated.session_id_of_cookie(cookie))
            && self.has_ended(id).await
        {
            return Ok(ResolvedCredential {
                removal_cookie,
                is_external: true,
                ..ResolvedCredential::of_own_token(id)
            });
        }
        let target = original.url.target();
        let delegated_check = DelegatedCheck {
            headers: request.headers,
            address: self.client(request).address,
            method: original.method,
            secure: original.url.secure,
            host: original.url.host,
            target: &target,
        };
        let now = self.clock.now();
        let (allowed, relayed) = match delegate.ask(&delegated_check, cookie, now).await {
            Ok(DelegateDecision::Allow(answer)) => *answer,
            Ok(DelegateDecision::Deny(reason, relayed)) => {
                return Err(Box::new(Outcome {
                    relayed: Some(relayed),
                    ..Outcome::deny(reason)
                }));
            }
            Err(reason) => return Err(Box::new(Outcome::deny(reason))),
        };
        Ok(ResolvedCredential {
            id: allowed.session,
            external: Some(ExternalIdentity {
                issuer: ExternalIssuer::Service(&delegated.name),
                subject: allowed.subject,
                attributes: allowed.attributes,
                started: allowed.authenticated.unwrap_or(now),
                freshness: Some(AuthenticationFreshness {
                    max_age: delegated.max_age,
                    authenticated: allowed.authenticated,
                }),
                expires: allowed.expires,
                policy: delegate.policy(),
            }),
            relayed_response: Some(Box::new(relayed)),
            removal_cookie,
            is_external: true,
        })
    }

    /// Whether the session has ended, according to the store.
    async fn has_ended(&self, id: SessionId) -> bool {
        let loading = self.stores.sessions.load(id);
        match tokio::time::timeout(self.store_timeout, loading).await {
            Ok(Ok(Some(session))) => {
                session.state != State::Live || self.lifecycle.is_revoked(&session)
            }
            // After a store error, the check reads the store again later, and handles an error there.
            _ => false,
        }
    }
}

impl ResolvedCredential<'_> {
    /// Adds the service's headers to an allowed answer. A denial does not contain them, because a cookie of the service
    /// could extend the service's session after Curfew's session has ended.
    ///
    /// After a session end, the credential of another issuer can still be valid. If the challenge called the credential
    /// invalid, the client would refresh it and try again without a sign-in. So the challenge asks for a new sign-in
    /// with `max_age=0`, the maximum age of the authentication (RFC 9470, section 3).
    pub(super) fn complete_outcome(self, outcome: Outcome) -> Outcome {
        let allowed = outcome.verdict == Verdict::Allow;
        let ended = matches!(outcome.verdict, Verdict::Deny(reason) if reason.is_terminal());
        let sign_in_again = (ended && self.is_external).then_some(0);
        Outcome {
            relayed: self.relayed_response.filter(|_| allowed),
            removal_cookie: self.removal_cookie.cloned(),
            max_auth_age: outcome.max_auth_age.or(sign_in_again),
            ..outcome
        }
    }
}
