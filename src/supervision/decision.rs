use std::sync::Arc;
use std::time::Duration;

use super::Supervisor;
use crate::actor::Actor;
use crate::check::match_stream;
use crate::policy::{AppliedPolicy, StreamActivity};
use crate::session::{DenyReason, Limits, Session, SessionId, State, Timestamp, Verdict, decide};
use crate::store::{EndOutcome, EndRequest, StoreError, Touch};
use crate::streams::{OpenStream, StreamTarget, StreamTerms};

/// The pause before the store is asked again after a failure.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// The supervisor decides this long before a limit, in addition to the limit itself. So it learns of activity on other
/// replicas in time, even if the store fails at the moment of the limit. The lead is at most a quarter of the time left.
const MAX_LEAD: Duration = Duration::from_secs(30);
/// Below this time left, the supervisor waits for the limit itself.
const MIN_LEAD: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Decides again on a session with open streams. Cuts each stream whose request would now be denied.
    pub(super) async fn decide_again(&self, id: SessionId) {
        let decision = tokio::time::timeout(self.store_timeout, self.decide_on_record(id));
        let is_uncertain = match decision.await {
            Ok(Ok(())) => false,
            Ok(Err(error)) => {
                tracing::debug!(%error, session = %id, "could not read the session of an open stream, retrying");
                true
            }
            Err(_) => {
                tracing::debug!(session = %id, "could not read the session of an open stream: timeout, retrying");
                true
            }
        };
        if is_uncertain {
            let now = self.clock.now();
            self.streams
                .mark_unconfirmed(id, now, now.plus(RETRY_DELAY));
        }
    }

    async fn decide_on_record(&self, id: SessionId) -> Result<(), StoreError> {
        let Some(session) = self.stores.sessions.load(id).await? else {
            self.streams.end_session(id, DenyReason::UnknownSession);
            return Ok(());
        };
        let streams = self.streams.of_session(id);
        let home = self.rulebook.policies.home(&session);
        let session = self
            .touch_for_client_data(id, session, &home, &streams)
            .await;
        // Read the time after the record, so that the wait for the store counts.
        let now = self.clock.now();
        if let Some(reason) = self.home_denial(&session, &home, now) {
            return self.end(id, &session, reason, now).await;
        }
        let mut next_deadline = Timestamp::MAX;
        for stream in &streams {
            match self.decide_on_stream(&stream.target, &session, &home, now) {
                Ok(terms) => {
                    next_deadline = next_deadline.min(terms.deadline);
                    stream.set_terms(terms);
                }
                Err(reason) => stream.cut(reason),
            }
        }
        self.streams
            .record_decision(id, &session, next_check(next_deadline, now));
        Ok(())
    }

    /// Returns the reason why every request of the session would be denied; `None` if the session is live.
    fn home_denial(
        &self,
        session: &Session,
        home: &AppliedPolicy<'_>,
        now: Timestamp,
    ) -> Option<DenyReason> {
        if self.lifecycle.is_revoked(session) {
            return Some(DenyReason::Revoked);
        }
        let without_step_up = Limits {
            max_auth_age: None,
            ..home.limits
        };
        match decide(Some(session), &home.limits, &without_step_up, now) {
            Verdict::Allow => None,
            Verdict::Deny(reason) => Some(reason),
        }
    }

    /// Ends a session that has reached a limit, and cuts its streams. If another request has used the session in the
    /// meantime, the session is due again at once.
    async fn end(
        &self,
        id: SessionId,
        session: &Session,
        reason: DenyReason,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(ending) = EndRequest::for_denial(session, reason, now) else {
            self.streams.end_session(id, reason);
            return Ok(());
        };
        let actor = Actor::of_end(ending.reason, session);
        match self.lifecycle.end(id, ending, &actor).await? {
            EndOutcome::Touched(_) => self.streams.recheck_now(id),
            EndOutcome::AlreadyEnded(tombstone) => {
                let recorded = tombstone.state.denial();
                self.streams.end_session(id, recorded.unwrap_or(reason));
            }
            EndOutcome::Ended(_) | EndOutcome::Unknown => self.streams.end_session(id, reason),
        }
        Ok(())
    }

    /// Decides on the request of a stream, under the rules in force.
    fn decide_on_stream(
        &self,
        target: &StreamTarget,
        session: &Session,
        home: &AppliedPolicy<'_>,
        now: Timestamp,
    ) -> Result<StreamTerms, DenyReason> {
        let rule_match = match_stream(&self.rulebook, target)?;
        let decision = rule_match.decide(home, session, || target.client, now);
        if let Verdict::Deny(reason) = decision.verdict {
            return Err(reason);
        }
        Ok(rule_match.stream_terms(home, session))
    }

    /// Touches the session if a client sent data inside a stream that counts as activity. Data after a limit does not
    /// count.
    async fn touch_for_client_data(
        &self,
        id: SessionId,
        mut session: Session,
        home: &AppliedPolicy<'_>,
        streams: &[Arc<OpenStream>],
    ) -> Session {
        let counts = |stream: &&Arc<OpenStream>| {
            let rule_match = match_stream(&self.rulebook, &stream.target);
            rule_match
                .is_ok_and(|it| it.stream_settings(home).activity == StreamActivity::ClientData)
        };
        let active = streams
            .iter()
            .filter(|stream| stream.active_at() > session.last_seen)
            .filter(counts);
        let Some(at) = active.map(|stream| stream.active_at()).max() else {
            return session;
        };
        if session.state != State::Live || self.home_denial(&session, home, at).is_some() {
            return session;
        }
        let touch = Touch::new(&session, &home.limits, home.policy.touch_interval, at);
        // The store counts failed touches. The next data of the client tries again.
        if self.stores.sessions.touch(id, touch).await.is_ok() {
            self.metrics.streams.touches.inc();
            session.touch(at);
        }
        session
    }
}

/// Returns when to decide again on a session whose first limit is at `deadline`.
fn next_check(deadline: Timestamp, now: Timestamp) -> Timestamp {
    let lead = MAX_LEAD.min(deadline.since(now) / 4);
    if lead < MIN_LEAD {
        deadline
    } else {
        deadline.minus(lead)
    }
}
