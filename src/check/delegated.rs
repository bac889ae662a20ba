//! What another authorization service says of a request.

use super::{CheckRequest, Checker, Original, Outcome};
use crate::credential::delegated::Question;
use crate::delegate::{Delegate, Diagnostics};
use crate::session::{SessionId, State, Verdict};
use crate::sources::{ExternalIdentity, Freshness, Party, ResolvedCredential};

impl Checker {
    /// The session that the service allows the request on; or the answer where it allows none.
    ///
    /// Where a cookie names the session, and we know that it has ended, the service is not asked: it
    /// might take the question for activity, and keep alive what must come to an end.
    pub(super) async fn ask<'a>(
        &self,
        delegate: &'a Delegate,
        request: &CheckRequest<'_>,
        original: &Original<'_>,
    ) -> Result<ResolvedCredential<'a>, Box<Outcome>> {
        let delegated = delegate.delegated();
        let Ok(cookie) = delegated.key.presented(request.headers) else {
            return Err(Box::new(self.two_credentials(request)));
        };
        let cleared = delegated.cleared_cookie.as_ref();
        if let Some(id) = cookie.map(|cookie| delegated.session_id_of_cookie(cookie))
            && self.has_ended(id).await
        {
            return Ok(ResolvedCredential {
                cleared,
                is_foreign: true,
                ..ResolvedCredential::ours(id)
            });
        }
        let target = original.url.target();
        let question = Question {
            headers: request.headers,
            address: self.client(request).address,
            method: original.method,
            secure: original.url.secure,
            host: original.url.host,
            target: &target,
        };
        let now = self.lifecycle.clock.now();
        let (allowed, relayed) = match delegate.ask(&question, cookie, now).await {
            Ok(Diagnostics::Allow(answer)) => *answer,
            Ok(Diagnostics::Deny(reason, relayed)) => {
                return Err(Box::new(Outcome {
                    relayed: Some(relayed),
                    ..Outcome::deny(reason)
                }));
            }
            Err(reason) => return Err(Box::new(Outcome::deny(reason))),
        };
        Ok(ResolvedCredential {
            id: allowed.session,
            adoptable: Some(ExternalIdentity {
                party: Party::Service(&delegated.name),
                subject: allowed.subject,
                attributes: allowed.attributes,
                started: allowed.authenticated.unwrap_or(now),
                freshness: Some(Freshness {
                    max_age: delegated.max_age,
                    authenticated: allowed.authenticated,
                }),
                expires: allowed.expires,
                policy: delegate.policy(),
            }),
            relayed: Some(Box::new(relayed)),
            cleared,
            is_foreign: true,
        })
    }

    /// Whether a session is known to have ended.
    async fn has_ended(&self, id: SessionId) -> bool {
        let loading = self.lifecycle.store.load(id);
        match tokio::time::timeout(self.budget, loading).await {
            Ok(Ok(Some(session))) => {
                session.state != State::Live || self.lifecycle.is_revoked(&session)
            }
            // The store is asked again, and then says what is wrong with it.
            _ => false,
        }
    }
}

impl ResolvedCredential<'_> {
    /// Adds to an answer what the service has to say: all of it where the request may pass, and else
    /// nothing, least of all a cookie that prolongs what we have ended.
    ///
    /// A credential that another party issued can still be valid when its session has ended, and a client that takes
    /// it for an invalid token refreshes it and tries again. Only a sign-in from now on helps (RFC 9470, section 3:
    /// `max_age` is the age of the last authentication).
    pub(super) fn complete(self, outcome: Outcome) -> Outcome {
        let allowed = outcome.verdict == Verdict::Allow;
        let ended = matches!(outcome.verdict, Verdict::Deny(reason) if reason.is_terminal());
        let sign_in_again = (ended && self.is_foreign).then_some(0);
        Outcome {
            relayed: self.relayed.filter(|_| allowed),
            cleared: self.cleared.cloned(),
            max_auth_age: outcome.max_auth_age.or(sign_in_again),
            ..outcome
        }
    }
}
