//! The one use case: a proxy asks, and is answered. Identify, load, decide, touch.

mod original;

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderMap, Method};

use crate::clock::Stopwatch;
use crate::credential::{Extraction, TokenExtractor};
use crate::lifecycle::Lifecycle;
use crate::policy::{Activity, OnStoreFailure, Policy, classify};
use crate::session::{
    DenyReason, PolicyName, Remaining, Session, SessionId, State, Timestamp, Verdict, decide,
};
use crate::store::{EndOutcome, Ending, Touch};
use crate::telemetry::{NO_POLICY, audit};

pub use original::{MalformedOriginal, OriginalUrl};

/// How often a check decides again because the session was used while it was being timed out.
const ATTEMPTS: usize = 3;

/// What a contract has understood of a sub-request.
#[derive(Clone, Copy, Debug)]
pub struct CheckRequest<'a> {
    /// The contract, as metrics call it.
    pub contract: &'static str,
    /// The policy that the operator chose by the path, by name.
    pub policy: Option<&'a str>,
    /// The original request, unless the sub-request did not say it properly.
    pub original: Result<Original<'a>, MalformedOriginal>,
    /// The client's headers.
    pub headers: &'a HeaderMap,
    /// The proxy that asks.
    pub peer: Option<IpAddr>,
}

/// The request that the proxy holds back until it has the answer.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its URL.
    pub url: OriginalUrl<'a>,
}

/// The answer to a check, with all that a reply may tell of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The answer.
    pub verdict: Verdict,
    /// The session, where one was found.
    pub session: Option<(SessionId, Session)>,
    /// On an allowed request: how long the session can still live.
    pub remaining: Option<Remaining>,
    /// For `reauthentication_required`: how recent the sign-in must be, in seconds, where a
    /// policy says so.
    pub max_auth_age: Option<u64>,
}

/// Answers checks.
pub struct Checker {
    lifecycle: Lifecycle,
    /// Finds the credential.
    extractor: TokenExtractor,
    /// The most time that one check spends on the store.
    budget: Duration,
}

/// The store could not be asked.
struct NoStore;

impl Outcome {
    const fn deny(reason: DenyReason) -> Self {
        Self {
            verdict: Verdict::Deny(reason),
            session: None,
            remaining: None,
            max_auth_age: None,
        }
    }
}

impl Checker {
    /// Answers checks on the sessions of `lifecycle`, each within `budget`, and nearly at once after
    /// that when the store has not answered.
    #[must_use]
    pub fn new(lifecycle: Lifecycle, extractor: TokenExtractor, budget: Duration) -> Self {
        Self {
            lifecycle,
            extractor,
            budget,
        }
    }

    /// Answers one check; counts and audits the answer.
    pub async fn check(&self, request: &CheckRequest<'_>) -> Outcome {
        let stopwatch = Stopwatch::start();
        let (id, outcome) = match self.identify(request) {
            Ok(id) => (Some(id), self.answer(request, id).await),
            Err(reason) => (None, Outcome::deny(reason)),
        };
        let policy = match (request.policy, &outcome.session) {
            (Some(name), _) if self.lifecycle.policies.get(name).is_some() => name,
            (None, Some((_, session))) => session.policy.as_str(),
            _ => NO_POLICY,
        };
        let metrics = &self.lifecycle.metrics;
        metrics.check(
            request.contract,
            policy,
            outcome.verdict,
            stopwatch.seconds(),
        );
        if let Verdict::Deny(reason) = outcome.verdict {
            let denied = audit::Denied {
                contract: request.contract,
                session: id,
                subject: outcome
                    .session
                    .as_ref()
                    .map(|(_, session)| session.subject.as_str()),
                host: request
                    .original
                    .as_ref()
                    .ok()
                    .map(|original| original.url.host),
                peer: request.peer,
            };
            audit::session_denied(&denied, reason);
        }
        outcome
    }

    /// The session that the request's credential names, without asking the store.
    fn identify(&self, request: &CheckRequest<'_>) -> Result<SessionId, DenyReason> {
        request.original.map_err(|_| DenyReason::MalformedRequest)?;
        if request
            .policy
            .is_some_and(|name| self.lifecycle.policies.get(name).is_none())
        {
            tracing::warn!(
                contract = request.contract,
                "a proxy asks for a policy that is not configured"
            );
            return Err(DenyReason::MalformedRequest);
        }
        match self.extractor.extract(request.headers) {
            Extraction::Nothing => Err(DenyReason::NoCredential),
            Extraction::Ambiguous => Err(DenyReason::MalformedRequest),
            Extraction::Candidate(text) => self
                .lifecycle
                .key_ring
                .verify(text)
                .map_err(|_| DenyReason::InvalidCredential),
        }
    }

    /// Answers by the store, or without it where it takes too long.
    async fn answer(&self, request: &CheckRequest<'_>, id: SessionId) -> Outcome {
        let by_store = self.answer_by_store(request, id);
        let outcome = match tokio::time::timeout(self.budget, by_store).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(NoStore)) => return self.answer_without_store(request, id).await,
            Err(_) => {
                tracing::warn!("a check could not be answered: the store takes too long");
                return self.answer_without_store(request, id).await;
            }
        };
        if let Verdict::Deny(reason) = outcome.verdict
            && (reason.is_terminal() || reason == DenyReason::UnknownSession)
        {
            self.lifecycle.known.forget(id);
        }
        outcome
    }

    /// Loads, decides, and does what follows from the decision.
    async fn answer_by_store(
        &self,
        request: &CheckRequest<'_>,
        id: SessionId,
    ) -> Result<Outcome, NoStore> {
        for _ in 0..ATTEMPTS {
            let session = match self.lifecycle.store.load(id).await {
                Ok(Some(session)) => session,
                Ok(None) => return Ok(Outcome::deny(DenyReason::UnknownSession)),
                Err(error) => {
                    tracing::warn!(%error, "a check could not be answered");
                    return Err(NoStore);
                }
            };
            // The time is read after the record, so that no wait for the store is left out.
            let now = self.lifecycle.clock.now();
            let (home, asked) = self.policies(request.policy, &session.policy);
            let verdict = if self.lifecycle.is_revoked(&session) {
                Verdict::Deny(DenyReason::Revoked)
            } else {
                decide(Some(&session), &home.limits, &asked.limits, now)
            };
            match verdict {
                Verdict::Allow => {
                    let session = self.touch(request, id, session, (home, asked), now).await;
                    if home.on_store_failure != OnStoreFailure::Deny {
                        self.lifecycle.known.verified(id, &session, now);
                    }
                    return Ok(allowed(id, session, home, now));
                }
                Verdict::Deny(reason) => {
                    if let Some(outcome) = self.deny(id, session, reason, now).await? {
                        let max_auth_age = asked.limits.max_auth_age.map(|age| age.as_secs());
                        return Ok(Outcome {
                            max_auth_age,
                            ..outcome
                        });
                    }
                }
            }
        }
        // Used faster than it can be looked at; nothing is known for certain.
        Err(NoStore)
    }

    /// Serves a session that the store had a moment ago, where its policies allow that; counted
    /// and audited.
    async fn answer_without_store(&self, request: &CheckRequest<'_>, id: SessionId) -> Outcome {
        let now = self.lifecycle.clock.now();
        let recalled = self
            .lifecycle
            .known
            .recall(id, Duration::MAX, now)
            .and_then(|session| {
                let (home, asked) = self.policies(request.policy, &session.policy);
                let OnStoreFailure::Known { grace } =
                    home.on_store_failure.strictest(asked.on_store_failure)
                else {
                    return None;
                };
                let known = self.lifecycle.known.recall(id, grace, now)?;
                let verdict = decide(Some(&known), &home.limits, &asked.limits, now);
                let allowed = verdict == Verdict::Allow && !self.lifecycle.is_revoked(&known);
                allowed.then_some((known, home, asked))
            });
        let Some((session, home, asked)) = recalled else {
            return Outcome::deny(DenyReason::StoreUnavailable);
        };
        let seen = session.last_seen;
        let session = self.touch(request, id, session, (home, asked), now).await;
        if session.last_seen > seen {
            self.lifecycle.known.touched(id, now);
        }
        self.lifecycle.metrics.degraded(session.policy.as_str());
        audit::session_degraded(id, &session, request.contract);
        allowed(id, session, home, now)
    }

    /// The session's home policy and the one that applies to the request.
    fn policies(&self, asked: Option<&str>, home: &PolicyName) -> (&Policy, &Policy) {
        let home = self.lifecycle.policies.home(home);
        let asked = asked.and_then(|name| self.lifecycle.policies.get(name));
        (home, asked.map_or(home, |(_, policy)| policy))
    }

    /// Records that the session was used, if the request counts as activity; the session as it
    /// is then.
    async fn touch(
        &self,
        request: &CheckRequest<'_>,
        id: SessionId,
        mut session: Session,
        (home, asked): (&Policy, &Policy),
        now: Timestamp,
    ) -> Session {
        let Ok(original) = &request.original else {
            return session;
        };
        let kind = home.activity.strictest(asked.activity);
        if classify(kind, original.method, request.headers) == Activity::Passive {
            return session;
        }
        let touch = Touch {
            at: now,
            last_seen: session.last_seen,
            retention: session.retention,
            interval: home.touch_interval,
            deadline: session.idle_deadline(&home.limits),
        };
        // The session is alive whether or not this can be written; the store counts its failures.
        let _ = self.lifecycle.store.touch(id, touch).await;
        session.touch(now);
        session
    }

    /// Denies a request on a session that was found, and ends the session where its time is over;
    /// `None` when it was used in the meantime and must be looked at again.
    async fn deny(
        &self,
        id: SessionId,
        session: Session,
        reason: DenyReason,
        now: Timestamp,
    ) -> Result<Option<Outcome>, NoStore> {
        let denied = |reason, session| {
            let session = Some((id, session));
            Ok(Some(Outcome {
                verdict: Verdict::Deny(reason),
                session,
                remaining: None,
                max_auth_age: None,
            }))
        };
        let Some(ending) = Ending::for_denial(&session, reason, now) else {
            return denied(reason, session);
        };
        let idle = ending.unless_touched_since.is_some();
        match self.lifecycle.end(id, ending).await {
            Ok(EndOutcome::Touched(_)) => Ok(None),
            Ok(EndOutcome::AlreadyEnded(tombstone)) => {
                let recorded = match tombstone.state {
                    State::Ended(end) => end.reason.denial(),
                    State::Live => reason,
                };
                denied(recorded, tombstone)
            }
            Ok(EndOutcome::Ended(tombstone)) => denied(reason, tombstone),
            // The store may know better whether it was used in the meantime.
            Err(_) if idle => Err(NoStore),
            // The decision stands without its record; the next check makes it again.
            Ok(EndOutcome::Unknown) | Err(_) => denied(reason, session),
        }
    }
}

/// A request that may pass on a session.
fn allowed(id: SessionId, session: Session, home: &Policy, now: Timestamp) -> Outcome {
    Outcome {
        verdict: Verdict::Allow,
        remaining: Some(session.remaining(&home.limits, now)),
        session: Some((id, session)),
        max_auth_age: None,
    }
}

#[cfg(test)]
mod tests;
