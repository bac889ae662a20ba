//! Ends sessions whose time is over although nobody asks for them, and tells each end that the
//! process which established it did not live to tell.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::actor::Actor;
use crate::lifecycle::{DELIVERY_GRACE, Lifecycle};
use crate::live::Live;
use crate::policy::Policies;
use crate::session::{Session, SessionId, State, Timestamp, Verdict, decide};
use crate::store::{EndOutcome, Ending, StoreError};

/// How often the deadline queue is looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// How long a session that was taken from the queue is one process's own.
const LEASE: Duration = Duration::from_secs(10);
/// How many sessions are taken, and looked at, at the same time.
const BATCH: usize = 128;

/// Looks after the deadline queue.
pub struct Sweeper {
    /// Ends sessions; holds the queue.
    pub lifecycle: Lifecycle,
}

/// Looks at the queue until stopped.
pub async fn run(lifecycle: Live<Lifecycle>, stop: CancellationToken) {
    while stop
        .run_until_cancelled(tokio::time::sleep(PERIOD))
        .await
        .is_some()
    {
        let sweeper = Sweeper {
            lifecycle: (*lifecycle.current()).clone(),
        };
        if let Some(Err(error)) = stop.run_until_cancelled(sweeper.sweep()).await {
            tracing::debug!(%error, "the deadline queue could not be looked at");
        }
    }
}

/// Sees to it that sessions are due by the policies in force, until stopped.
pub async fn follow_policies(lifecycle: Live<Lifecycle>, stop: CancellationToken) {
    let mut followed: Option<Arc<Policies>> = None;
    let follow = async {
        loop {
            let now = lifecycle.current();
            let known = followed.as_ref();
            if known.is_none_or(|known| !Arc::ptr_eq(known, &now.policies)) {
                match now.deadlines.tighten_deadlines(&now.policies).await {
                    Ok(()) => followed = Some(Arc::clone(&now.policies)),
                    Err(error) => {
                        tracing::debug!(%error, "the deadline queue is behind the policies")
                    }
                }
            }
            tokio::time::sleep(PERIOD).await;
        }
    };
    stop.run_until_cancelled(follow).await;
}

impl Sweeper {
    /// Looks at every session that is due; says how many those were.
    ///
    /// # Errors
    /// [`StoreError`] when the queue could not be asked. A session that could not be looked at is
    /// due again later, and keeps no other from being looked at.
    pub async fn sweep(&self) -> Result<usize, StoreError> {
        let mut looked_at = 0;
        loop {
            let now = self.lifecycle.clock.now();
            let queue = &self.lifecycle.deadlines;
            let due = queue.claim(now, now.plus(LEASE), BATCH).await?;
            let looks = due.iter().map(|id| self.look_at(*id));
            for failed in join_all(looks).await.into_iter().filter_map(Result::err) {
                tracing::debug!(error = %failed, "a session could not be looked at");
            }
            looked_at += due.len();
            if due.len() < BATCH {
                return Ok(looked_at);
            }
        }
    }

    async fn look_at(&self, id: SessionId) -> Result<(), StoreError> {
        let queue = &self.lifecycle.deadlines;
        let Some(session) = self.lifecycle.store.load(id).await? else {
            // Never made, or lost: there is nothing to tell.
            return queue.acknowledge(id, None).await.map(drop);
        };
        let now = self.lifecycle.clock.now();
        if let State::Ended(end) = session.state {
            let telling = end.at.plus(DELIVERY_GRACE);
            if now < telling {
                return queue.postpone(id, telling).await;
            }
            self.lifecycle.redeliver(id, &session).await;
            return Ok(());
        }
        match self.overdue(&session, now) {
            None => {
                queue
                    .postpone(id, self.lifecycle.policies.deadline(&session))
                    .await
            }
            Some(ending) => {
                let actor = Actor::of_end(ending.reason, &session);
                match self.lifecycle.end(id, ending, &actor).await? {
                    EndOutcome::Touched(session) => {
                        let deadline = self.lifecycle.policies.deadline(&session);
                        queue.postpone(id, deadline).await
                    }
                    // Told by whoever ended it: this process, or another one.
                    EndOutcome::Ended(_) | EndOutcome::AlreadyEnded(_) | EndOutcome::Unknown => {
                        Ok(())
                    }
                }
            }
        }
    }

    /// How a live session is to be ended, if its time is over.
    fn overdue(&self, session: &Session, now: Timestamp) -> Option<Ending> {
        if self.lifecycle.is_revoked(session) {
            return Some(Ending::revoked(now));
        }
        let limits = &self.lifecycle.policies.home(session).limits;
        match decide(Some(session), limits, limits, now) {
            Verdict::Deny(denial) => Ending::for_denial(session, denial, now),
            Verdict::Allow => None,
        }
    }
}

#[cfg(test)]
mod races;
#[cfg(test)]
mod tests;
