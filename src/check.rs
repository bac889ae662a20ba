//! The one use case: a proxy asks, and is answered. Identify, load, decide, touch.

mod original;

use std::net::IpAddr;

use http::{HeaderMap, Method};

use crate::clock::Stopwatch;
use crate::credential::{Extraction, TokenExtractor};
use crate::lifecycle::Lifecycle;
use crate::policy::{Activity, Policy, classify};
use crate::session::{
    DenyReason, EndReason, PolicyName, Remaining, Session, SessionId, State, Timestamp, Verdict,
    decide,
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
    /// Begins and ends sessions; holds the store, the clock and the policies.
    pub lifecycle: Lifecycle,
    /// Finds the credential.
    pub extractor: TokenExtractor,
}

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

    /// Loads, decides, and does what follows from the decision.
    async fn answer(&self, request: &CheckRequest<'_>, id: SessionId) -> Outcome {
        for _ in 0..ATTEMPTS {
            let session = match self.lifecycle.store.load(id).await {
                Ok(Some(session)) => session,
                Ok(None) => return Outcome::deny(DenyReason::UnknownSession),
                Err(error) => return store_failed(&error),
            };
            // The time is read after the record, so that no wait for the store is left out.
            let now = self.lifecycle.clock.now();
            let (home, asked) = self.policies(request.policy, &session.policy);
            let verdict = decide(Some(&session), &home.limits, &asked.limits, now);
            let outcome = match verdict {
                Verdict::Allow => {
                    let session = self.touch(request, id, session, (home, asked), now).await;
                    Outcome {
                        verdict,
                        remaining: Some(session.remaining(&home.limits, now)),
                        session: Some((id, session)),
                        max_auth_age: None,
                    }
                }
                Verdict::Deny(reason) => match self.deny(id, session, reason, now).await {
                    Some(outcome) => {
                        let max_auth_age = asked.limits.max_auth_age.map(|age| age.as_secs());
                        Outcome {
                            max_auth_age,
                            ..outcome
                        }
                    }
                    None => continue,
                },
            };
            return outcome;
        }
        // Used faster than it can be looked at; nothing is known for certain.
        Outcome::deny(DenyReason::StoreUnavailable)
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
    ) -> Option<Outcome> {
        let denied = |reason, session| {
            let session = Some((id, session));
            Some(Outcome {
                verdict: Verdict::Deny(reason),
                session,
                remaining: None,
                max_auth_age: None,
            })
        };
        let end = EndReason::from_denial(reason).filter(|_| session.state == State::Live);
        let Some(end) = end else {
            return denied(reason, session);
        };
        // Only idleness can be disproved by activity elsewhere.
        let idle = end == EndReason::IdleTimeout;
        let unless_touched_since = idle.then_some(session.last_seen);
        let ending = Ending {
            reason: end,
            at: now,
            unless_touched_since,
        };
        match self.lifecycle.end(id, ending).await {
            Ok(EndOutcome::Touched(_)) => None,
            Ok(EndOutcome::AlreadyEnded(tombstone)) => {
                let recorded = match tombstone.state {
                    State::Ended(end) => end.reason.denial(),
                    State::Live => reason,
                };
                denied(recorded, tombstone)
            }
            Ok(EndOutcome::Ended(tombstone)) => denied(reason, tombstone),
            // The decision stands without its record; the next check makes it again.
            Ok(EndOutcome::Unknown) | Err(_) => denied(reason, session),
        }
    }
}

fn store_failed(error: &crate::store::StoreError) -> Outcome {
    tracing::warn!(%error, "a check could not be answered");
    Outcome::deny(DenyReason::StoreUnavailable)
}

#[cfg(test)]
mod tests;
