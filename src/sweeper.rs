//! The sweeper ends sessions that have reached a limit, even if no request arrives. It also publishes a session end
//! again if no process has acknowledged the publication.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::actor::Actor;
use crate::clock::Clock;
use crate::lifecycle::{DELIVERY_GRACE, Lifecycle};
use crate::live::Live;
use crate::policy::Policies;
use crate::session::{Session, SessionId, State, Timestamp, Verdict, decide};
use crate::store::{EndOutcome, EndRequest, StoreError, Stores};

const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How long a process owns a session that it has claimed from the queue.
const CLAIM_LEASE: Duration = Duration::from_secs(10);
/// The maximum number of sessions that are claimed and processed concurrently.
const BATCH_SIZE: usize = 128;

/// Processes the deadline queue, which sorts all sessions by the time when they are due.
#[derive(Clone)]
pub struct Sweeper {
    /// Ends sessions.
    pub lifecycle: Lifecycle,
    /// The deadline queue and the session records.
    pub stores: Stores,
    /// The clock for decision time, the common time of all replicas.
    pub clock: Arc<dyn Clock>,
    /// The limits of sessions.
    pub policies: Arc<Policies>,
}

/// Sweeps the queue until `stop` is cancelled.
pub async fn run(sweeper: Live<Sweeper>, stop: CancellationToken) {
    while stop
        .run_until_cancelled(tokio::time::sleep(SWEEP_INTERVAL))
        .await
        .is_some()
    {
        let sweeper = sweeper.current();
        if let Some(Err(error)) = stop.run_until_cancelled(sweeper.sweep()).await {
            tracing::debug!(%error, "could not process the deadline queue");
        }
    }
}

/// Adjusts the deadlines of sessions when the policies change, until `stop` is cancelled.
pub async fn follow_policies(sweeper: Live<Sweeper>, stop: CancellationToken) {
    let mut applied_policies: Option<Arc<Policies>> = None;
    let apply_changes = async {
        loop {
            let current = sweeper.current();
            let policies = &current.policies;
            let applied = applied_policies.as_ref();
            if applied.is_none_or(|applied| !Arc::ptr_eq(applied, policies)) {
                match current.stores.deadlines.tighten_deadlines(policies).await {
                    Ok(()) => applied_policies = Some(Arc::clone(policies)),
                    Err(error) => {
                        tracing::debug!(%error, "could not adjust the deadline queue to the policies; retrying")
                    }
                }
            }
            tokio::time::sleep(SWEEP_INTERVAL).await;
        }
    };
    stop.run_until_cancelled(apply_changes).await;
}

impl Sweeper {
    /// Processes every session that is due. Returns the number of these sessions.
    ///
    /// # Errors
    /// [`StoreError`] if the queue could not be read. A session that could not be processed is due again later, and
    /// does not delay the others.
    pub async fn sweep(&self) -> Result<usize, StoreError> {
        let mut processed = 0;
        loop {
            let now = self.clock.now();
            let queue = &self.stores.deadlines;
            let due = queue.claim(now, now.plus(CLAIM_LEASE), BATCH_SIZE).await?;
            let results = due.iter().map(|id| self.process_due_session(*id));
            for error in join_all(results).await.into_iter().filter_map(Result::err) {
                tracing::debug!(%error, "could not process a due session");
            }
            processed += due.len();
            if due.len() < BATCH_SIZE {
                return Ok(processed);
            }
        }
    }

    async fn process_due_session(&self, id: SessionId) -> Result<(), StoreError> {
        let queue = &self.stores.deadlines;
        let Some(session) = self.stores.sessions.load(id).await? else {
            // The session was never created, or the store lost the session. In both cases there is no end to publish.
            return queue.acknowledge(id, None).await.map(drop);
        };
        let now = self.clock.now();
        if let State::Ended(end) = session.state {
            let redeliver_at = end.at.plus(DELIVERY_GRACE);
            if now < redeliver_at {
                return queue.postpone(id, redeliver_at).await;
            }
            self.lifecycle.redeliver(id, &session).await;
            return Ok(());
        }
        match self.due_ending(&session, now) {
            None => queue.postpone(id, self.policies.deadline(&session)).await,
            Some(ending) => {
                let actor = Actor::of_end(ending.reason, &session);
                match self.lifecycle.end(id, ending, &actor).await? {
                    EndOutcome::Touched(session) => {
                        let deadline = self.policies.deadline(&session);
                        queue.postpone(id, deadline).await
                    }
                    // The process that ended the session publishes the end.
                    EndOutcome::Ended(_) | EndOutcome::AlreadyEnded(_) | EndOutcome::Unknown => {
                        Ok(())
                    }
                }
            }
        }
    }

    /// Returns how to end a live session if it has reached a limit or was revoked.
    fn due_ending(&self, session: &Session, now: Timestamp) -> Option<EndRequest> {
        if self.lifecycle.is_revoked(session) {
            return Some(EndRequest::revoked(now));
        }
        let limits = &self.policies.home(session).limits;
        match decide(Some(session), limits, limits, now) {
            Verdict::Deny(denial) => EndRequest::for_denial(session, denial, now),
            Verdict::Allow => None,
        }
    }
}

#[cfg(test)]
mod races;
#[cfg(test)]
mod tests;
