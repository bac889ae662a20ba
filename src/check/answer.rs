//! Answers a check of a session: from the near cache (verified records in memory), from the store, or without the
//! store.

use std::time::Duration;

use super::applicable::Decision;
use super::{CheckRequest, Checker, Detail, Original, Outcome, RuleMatch};
use crate::actor::Actor;
use crate::lifecycle::{Adoption, AdoptionError};
use crate::policy::{Activity, AppliedPolicy, OnStoreFailure};
use crate::session::{DenyReason, PolicyName, Session, SessionId, State, Timestamp, Verdict};
use crate::sources::{ExternalIdentity, ResolvedCredential};
use crate::store::{EndOutcome, EndRequest, Touch};
use crate::telemetry::audit;

/// The maximum number of decisions of one check. A check decides again if another request uses the session before the
/// check can end the session.
const MAX_DECISIONS: usize = 3;

/// The store failed or timed out.
struct StoreFailed;

/// A check with its rule and its credential.
pub(super) struct CheckContext<'a> {
    /// Whether the request is activity; `None` if the rules decide that.
    pub(super) activity: Option<Activity>,
    pub(super) request: &'a CheckRequest<'a>,
    pub(super) original: &'a Original<'a>,
    pub(super) rule_match: &'a RuleMatch<'a>,
    pub(super) credential: ResolvedCredential<'a>,
}

impl CheckContext<'_> {
    /// Returns the touch (the activity to record) for an allowed request; `None` for a passive request.
    fn touch(&self, session: &Session, home: &AppliedPolicy<'_>, now: Timestamp) -> Option<Touch> {
        let (method, headers) = (self.original.method, self.request.headers);
        let activity_by_rules = || self.rule_match.activity(home, method, headers);
        let activity = self.activity.unwrap_or_else(activity_by_rules);
        let interval = self.rule_match.touch_interval(home);
        (activity == Activity::Touch).then(|| Touch::new(session, &home.limits, interval, now))
    }
}

impl Checker {
    /// Answers from the near cache, from the store, or without the store if the store fails or times out.
    pub(super) async fn answer(&self, context: &CheckContext<'_>, id: SessionId) -> Outcome {
        if let Some(outcome) = self.answer_from_cache(context, id) {
            return outcome;
        }
        let from_store = self.answer_from_store(context, id);
        let outcome = match tokio::time::timeout(self.store_timeout, from_store).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(StoreFailed)) => return self.answer_without_store(context, id).await,
            Err(_) => {
                tracing::warn!("store timeout during a check");
                return self.answer_without_store(context, id).await;
            }
        };
        if let Verdict::Deny(reason) = outcome.verdict
            && (reason.is_terminal() || reason == DenyReason::UnknownSession)
        {
            self.last_known_sessions.forget(id);
        }
        outcome
    }

    /// Allows a request with the session of the near cache, if the touch can be buffered without waiting. The cache
    /// is never used to deny: before a denial, Curfew asks the store.
    fn answer_from_cache(&self, context: &CheckContext<'_>, id: SessionId) -> Option<Outcome> {
        if !self.stores.cut_offs.is_fresh() {
            return None;
        }
        let mut session = self.stores.sessions.load_cached(id)?;
        if let Some(credential) = &context.credential.external
            && credential.subject != session.subject
        {
            return None;
        }
        let now = self.clock.now();
        let home = self.rulebook.policies.home(&session);
        let decision = self.decide(context, &home, &session, now);
        if decision.verdict != Verdict::Allow {
            return None;
        }
        if let Some(touch) = context.touch(&session, &home, now) {
            if !self.stores.sessions.try_buffer_touch(id, touch) {
                return None;
            }
            session.touch(now);
        }
        if home.policy.on_store_failure != OnStoreFailure::Deny {
            self.last_known_sessions.record_live(id, &session, now);
        }
        self.queue_revalidation(id, &session, now);
        Some(allowed_outcome(id, session, &home, now))
    }

    /// Queues a session in use for revalidation with its identity provider.
    fn queue_revalidation(&self, id: SessionId, session: &Session, now: Timestamp) {
        if let Some(revalidation) = &self.revalidation {
            revalidation.queue_if_due(id, session, now);
        }
    }

    /// Loads the session, decides, and then records the activity or ends the session.
    async fn answer_from_store(
        &self,
        context: &CheckContext<'_>,
        id: SessionId,
    ) -> Result<Outcome, StoreFailed> {
        for _ in 0..MAX_DECISIONS {
            let session = match self.load_or_adopt(context, id).await? {
                Ok(session) => session,
                Err(refused) => return Ok(*refused),
            };
            // Read the time after the record, so that the wait for the store counts.
            let now = self.clock.now();
            let home = self.rulebook.policies.home(&session);
            let decision = self.decide(context, &home, &session, now);
            self.audit_binding_mismatch(context, id, &session, &decision);
            match decision.verdict {
                Verdict::Allow => {
                    let session = self.touch(context, id, session, &home, now).await;
                    if home.policy.on_store_failure != OnStoreFailure::Deny {
                        self.last_known_sessions.record_live(id, &session, now);
                    }
                    self.queue_revalidation(id, &session, now);
                    return Ok(allowed_outcome(id, session, &home, now));
                }
                Verdict::Deny(reason) => {
                    if session.state != State::Live && context.credential.is_external {
                        self.lifecycle.extend_tombstone(id, &session);
                    }
                    let age = context.rule_match.limits(&home, &session).max_auth_age;
                    let needs_reauthentication = reason == DenyReason::ReauthenticationRequired;
                    if let Some(outcome) = self.deny(context, id, session, reason, now).await? {
                        return Ok(Outcome {
                            max_auth_age: age
                                .map(|age| age.as_secs())
                                .filter(|_| needs_reauthentication),
                            ..outcome
                        });
                    }
                }
            }
        }
        // Before each decision took effect, another request used the session, so the state of the session is uncertain.
        Err(StoreFailed)
    }

    /// Loads the session of the credential. If the store has no record, a credential of another issuer starts a
    /// session. The inner error is the denial.
    async fn load_or_adopt(
        &self,
        context: &CheckContext<'_>,
        id: SessionId,
    ) -> Result<Result<Session, Box<Outcome>>, StoreFailed> {
        let denied = |reason| Ok(Err(Box::new(Outcome::deny(reason))));
        let log_store_error = |error: &dyn std::fmt::Display| {
            tracing::warn!(%error, "store error during a check");
            StoreFailed
        };
        let stored = self.stores.sessions.load(id).await;
        let stored = stored.map_err(|error| log_store_error(&error))?;
        let Some(credential) = &context.credential.external else {
            let unknown = || Box::new(Outcome::deny(DenyReason::UnknownSession));
            return Ok(stored.ok_or_else(unknown));
        };
        let session = match stored {
            Some(session) => session,
            None => {
                let policies = &self.rulebook.policies;
                let policy = credential.policy.unwrap_or_else(|| policies.default_name());
                if let Some(refused) = self.deny_old_authentication(credential, policy) {
                    return Ok(Err(Box::new(refused)));
                }
                let adoption = Adoption {
                    source: credential.issuer.to_string(),
                    subject: credential.subject.clone(),
                    attributes: credential.attributes.clone(),
                    policy: policy.clone(),
                    started: credential.started,
                    expires: credential.expires,
                    client: self.client(context.request),
                };
                match self.lifecycle.adopt(id, adoption).await {
                    Ok(session) => session,
                    Err(AdoptionError::TooOld) => return denied(DenyReason::AbsoluteTimeout),
                    Err(AdoptionError::UnknownClientProperty(_)) => {
                        let outcome = Outcome::deny_with_detail(Detail::UnknownClientProperty);
                        return Ok(Err(Box::new(outcome)));
                    }
                    Err(AdoptionError::ReservedSubject) => {
                        return denied(DenyReason::InvalidCredential);
                    }
                    Err(AdoptionError::Revoked) => return denied(DenyReason::Revoked),
                    Err(AdoptionError::StoreLostData) => {
                        return Ok(Err(Box::new(Outcome {
                            detail: Some(Detail::DataLoss),
                            max_auth_age: Some(0),
                            ..Outcome::deny(DenyReason::ReauthenticationRequired)
                        })));
                    }
                    Err(AdoptionError::SessionLimitReached(_)) => {
                        return denied(DenyReason::TooManySessions);
                    }
                    Err(AdoptionError::Store(error)) => return Err(log_store_error(&error)),
                }
            }
        };
        if session.subject != credential.subject {
            return denied(DenyReason::InvalidCredential);
        }
        Ok(Ok(session))
    }

    /// Denies a new session if the authentication is too old, or if the credential does not contain the time of the
    /// authentication.
    fn deny_old_authentication(
        &self,
        credential: &ExternalIdentity<'_>,
        policy: &PolicyName,
    ) -> Option<Outcome> {
        let freshness = credential.freshness?;
        let policies = &self.rulebook.policies;
        let policy = policies.get(policy.as_str());
        let policy = policy.map_or_else(|| policies.strictest(), |(_, policy)| policy);
        let limit = freshness.max_age.limit(policy, &credential.attributes)?;
        let Some(authenticated) = freshness.authenticated else {
            return Some(Outcome::deny_with_detail(Detail::UnknownAuthTime));
        };
        let now = self.clock.now();
        // No leeway is needed: if clocks differ, the person at worst authenticates once more.
        (now >= authenticated.plus(limit)).then(|| Outcome {
            max_auth_age: Some(limit.as_secs()),
            ..Outcome::deny_with_detail(Detail::OldAuthentication)
        })
    }

    /// Answers a check without the store. Allows the request if the last known sessions contain the session, and all
    /// policies that apply have `on_store_failure: known`. Counts each request that it allows, and writes it to the
    /// audit log.
    async fn answer_without_store(&self, context: &CheckContext<'_>, id: SessionId) -> Outcome {
        let now = self.clock.now();
        let last_known = self
            .last_known_sessions
            .get_within_grace(id, Duration::MAX, now)
            .and_then(|session| {
                let home = self.rulebook.policies.home(&session);
                let OnStoreFailure::Known { grace } = context.rule_match.on_store_failure(&home)
                else {
                    return None;
                };
                let known = self.last_known_sessions.get_within_grace(id, grace, now)?;
                let decision = self.decide(context, &home, &known, now);
                self.audit_binding_mismatch(context, id, &known, &decision);
                (decision.verdict == Verdict::Allow).then_some((known, home))
            });
        let Some((session, home)) = last_known else {
            return Outcome::deny(DenyReason::StoreUnavailable);
        };
        let previous_activity = session.last_seen;
        let session = self.touch(context, id, session, &home, now).await;
        if session.last_seen > previous_activity {
            self.last_known_sessions.record_touch(id, now);
        }
        self.metrics.count_degraded_check(session.policy.as_str());
        let address = self.client_address(context.request);
        audit::session_degraded(id, &session, context.request.contract.as_str(), address);
        allowed_outcome(id, session, &home, now)
    }

    /// Decides on a loaded session. A revoked session is denied without further checks.
    fn decide(
        &self,
        context: &CheckContext<'_>,
        home: &AppliedPolicy<'_>,
        session: &Session,
        now: Timestamp,
    ) -> Decision {
        if self.lifecycle.is_revoked(session) {
            return Decision {
                verdict: Verdict::Deny(DenyReason::Revoked),
                binding_mismatch: None,
            };
        }
        let client = || self.client(context.request);
        context.rule_match.decide(home, session, client, now)
    }

    /// If the request does not match the session's binding, writes the mismatch to the audit log.
    fn audit_binding_mismatch(
        &self,
        context: &CheckContext<'_>,
        id: SessionId,
        session: &Session,
        decision: &Decision,
    ) {
        if let Some(mismatch) = decision.binding_mismatch {
            let address = self.client(context.request).address;
            audit::session_binding_mismatch(id, session, mismatch.as_str(), address);
        }
    }

    /// Records the touch of a request that counts as activity, and returns the updated session.
    async fn touch(
        &self,
        context: &CheckContext<'_>,
        id: SessionId,
        mut session: Session,
        home: &AppliedPolicy<'_>,
        now: Timestamp,
    ) -> Session {
        let Some(touch) = context.touch(&session, home, now) else {
            return session;
        };
        // A failed touch does not deny the request. The metrics of the store count the failure.
        let _ = self.stores.sessions.touch(id, touch).await;
        session.touch(now);
        session
    }

    /// Denies the request, and ends the session if a limit was reached. Returns `None` if another request used the
    /// session in the meantime; the caller then decides again.
    async fn deny(
        &self,
        context: &CheckContext<'_>,
        id: SessionId,
        session: Session,
        reason: DenyReason,
        now: Timestamp,
    ) -> Result<Option<Outcome>, StoreFailed> {
        let denied = |reason, session| {
            let session = Some((id, session));
            let is_unknown_client = reason == DenyReason::MalformedRequest;
            Ok(Some(Outcome {
                session,
                detail: is_unknown_client.then_some(Detail::UnknownClientProperty),
                ..Outcome::deny(reason)
            }))
        };
        let Some(ending) = EndRequest::for_denial(&session, reason, now) else {
            return denied(reason, session);
        };
        let is_idle_timeout = ending.unless_touched_since.is_some();
        let actor = Actor::of_end(ending.reason, &session);
        let actor = actor.with_address(self.client_address(context.request));
        match self.lifecycle.end(id, ending, &actor).await {
            Ok(EndOutcome::Touched(_)) => Ok(None),
            Ok(EndOutcome::AlreadyEnded(tombstone)) => {
                denied(tombstone.state.denial().unwrap_or(reason), tombstone)
            }
            Ok(EndOutcome::Ended(tombstone)) => denied(reason, tombstone),
            // The store may contain later activity that this replica has not seen.
            Err(_) if is_idle_timeout => Err(StoreFailed),
            // The request is denied even if the end was not stored. The next check tries to store the end again.
            Ok(EndOutcome::Unknown) | Err(_) => denied(reason, session),
        }
    }
}

/// Builds the outcome of an allowed request with a session.
fn allowed_outcome(
    id: SessionId,
    session: Session,
    home: &AppliedPolicy<'_>,
    now: Timestamp,
) -> Outcome {
    Outcome {
        verdict: Verdict::Allow,
        public: false,
        remaining: Some(session.remaining(&home.limits, now)),
        session: Some((id, session)),
        relayed: None,
        removal_cookie: None,
        max_auth_age: None,
        detail: None,
    }
}
