//! Starts, changes and ends sessions. Stores, counts and audits each change.
//!
//! A change completes even if the request that caused it is cancelled. Otherwise a stored session end could stay
//! unpublished.

mod adopt;
mod emergency;
mod last_known_sessions;
mod operator;
mod provider;
mod reauthentication;
mod revalidate;
mod session_limit;
mod start;
mod subject;
mod tombstone_extensions;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::task::TaskTracker;

use crate::actor::Actor;
use crate::clock::Clock;
use crate::credential::KeyRing;
use crate::events::SessionEnded;
use crate::live::Live;
use crate::policy::{Policies, Routes};
use crate::session::{Session, SessionId, State, Subject};
use crate::store::{EndOutcome, EndRequest, Page, Replication, StoreError, Stores};
use crate::streams::OpenStreams;
use crate::telemetry::{Metrics, RecentEvents, audit};
use crate::webhook::Webhook;

pub use adopt::{Adoption, AdoptionError};
pub use emergency::{EmergencyRevocation, MatchCount};
pub use last_known_sessions::LastKnownSessions;
pub use revalidate::{LeasedSession, Renewal, RenewalOutcome};
#[cfg(test)]
pub use start::StartedSession;
pub use start::{SignIn, StartError};
pub use tombstone_extensions::TombstoneExtensions;

/// The time that a process has to publish a session end before another process publishes the end again. The time starts
/// before the request to the store, so it includes the latency of the store.
pub const DELIVERY_GRACE: Duration = Duration::from_secs(10);
/// The number of attempts to acknowledge a published end (to remove the session from the deadline queue), and the pause
/// between two attempts.
const ACK_RETRIES: (u32, Duration) = (5, Duration::from_millis(200));

/// Starts and ends sessions.
#[derive(Clone)]
pub struct Lifecycle {
    parts: Arc<LifecycleParts>,
}

/// The dependencies of a [`Lifecycle`].
#[derive(Clone)]
pub struct LifecycleParts {
    /// The session records, and all other data in the store.
    pub stores: Stores,
    /// The clock for decision time, the common time of all replicas.
    pub clock: Arc<dyn Clock>,
    /// Signs the tokens of new sessions.
    pub key_ring: Arc<KeyRing>,
    /// The limits of sessions.
    pub policies: Arc<Policies>,
    /// The routes of the cluster, whose ceilings bound the sessions of a subject.
    pub routes: Live<Routes>,
    /// The minimum time that a tombstone (the record of an ended session) is kept.
    pub end_retention: Duration,
    /// Counts starts and ends.
    pub metrics: Arc<Metrics>,
    /// Limits how often Curfew extends the retention of a tombstone while clients present the credential of the ended
    /// session.
    pub tombstone_extensions: Arc<TombstoneExtensions>,
    /// The sessions that checks may use while the store is unavailable.
    pub last_known_sessions: Arc<LastKnownSessions>,
    /// The latest events, for the console.
    pub recent_events: Arc<RecentEvents>,
    /// The open streams of this replica, which end with their session.
    pub streams: Arc<OpenStreams>,
    /// Receives session ends; `None` if no webhook is configured.
    pub webhook: Option<Webhook>,
    /// Background tasks that must finish before the process stops.
    pub tasks: TaskTracker,
}

impl Lifecycle {
    /// Creates the lifecycle of the sessions in `parts.stores`.
    #[must_use]
    pub fn new(parts: LifecycleParts) -> Self {
        Self {
            parts: Arc::new(parts),
        }
    }

    /// Ends a session on behalf of `actor`.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed. The session may have ended nevertheless, for example if only the answer was
    /// lost.
    pub async fn end(
        &self,
        id: SessionId,
        ending: EndRequest,
        actor: &Actor,
    ) -> Result<EndOutcome, StoreError> {
        let (this, actor) = (self.clone(), actor.clone());
        run_detached(async move {
            // Even if the store fails, this replica must not allow requests of this session any longer.
            this.parts.last_known_sessions.forget(id);
            let outcome = this.parts.stores.sessions.end(id, ending).await;
            if let Ok(EndOutcome::Touched(_)) = &outcome {
                this.parts.last_known_sessions.clear_tombstone(id);
            }
            if let Ok(EndOutcome::Ended(tombstone)) = &outcome {
                this.publish_end(id, tombstone, &actor, false);
            }
            // The caller does not wait for the acknowledgement.
            let (tasks, ended) = (this.parts.tasks.clone(), outcome.clone());
            tasks.spawn(async move {
                match ended {
                    Ok(EndOutcome::Ended(tombstone)) => {
                        this.acknowledge(id, &tombstone, &actor).await
                    }
                    // An earlier call may have ended the session without publishing the end, because the answer of
                    // the store was lost. So make the session due soon: the sweeper, which processes the deadline
                    // queue, then publishes the end.
                    Ok(EndOutcome::AlreadyEnded(_)) | Err(_) => {
                        let due_at = this.parts.clock.now().plus(DELIVERY_GRACE);
                        let _ = this.parts.stores.deadlines.postpone(id, due_at).await;
                    }
                    Ok(EndOutcome::Touched(_) | EndOutcome::Unknown) => {}
                }
            });
            outcome
        })
        .await
    }

    /// Publishes the end of a session again, because its acknowledgement is missing. If the session was revoked, the
    /// event names Curfew as the actor, because the record does not contain the actor of a revocation.
    pub async fn redeliver(&self, id: SessionId, tombstone: &Session) {
        let State::Ended(end) = tombstone.state else {
            return;
        };
        let actor = Actor::of_end(end.reason, tombstone);
        self.publish_end(id, tombstone, &actor, true);
        self.acknowledge(id, tombstone, &actor).await;
    }

    fn publish_end(&self, id: SessionId, tombstone: &Session, actor: &Actor, redelivered: bool) {
        let Some(ended) = SessionEnded::new(id, tombstone, actor, redelivered) else {
            return;
        };
        self.parts
            .metrics
            .session_ended(tombstone.policy.as_str(), ended.reason, redelivered);
        audit::session_ended(&ended, actor);
        if let Some(reason) = tombstone.state.denial() {
            self.parts.streams.end_session(id, reason);
        }
        self.parts.recent_events.add_end(&ended);
        // The webhook receives only the session ends of users, not of operators.
        if let Some(webhook) = self
            .parts
            .webhook
            .as_ref()
            .filter(|_| !tombstone.is_operator())
        {
            webhook.enqueue(ended);
        }
    }

    /// Acknowledges a published end: removes the session from the deadline queue. If all attempts fail, the sweeper
    /// publishes the end again.
    async fn acknowledge(&self, id: SessionId, tombstone: &Session, actor: &Actor) {
        let ended = SessionEnded::new(id, tombstone, actor, false);
        let ended = ended.filter(|_| !tombstone.is_operator());
        for _ in 0..ACK_RETRIES.0 {
            match self
                .parts
                .stores
                .deadlines
                .acknowledge(id, ended.as_ref())
                .await
            {
                Ok(_) => return,
                Err(error) => {
                    tracing::debug!(%error, session = %id, "could not acknowledge a published session end; retrying");
                    tokio::time::sleep(ACK_RETRIES.1).await;
                }
            }
        }
    }

    /// Revokes a session, and waits until the configured number of Redis replicas have the change, or until a timeout.
    ///
    /// # Errors
    /// The same as for [`Lifecycle::end`].
    pub async fn revoke(
        &self,
        id: SessionId,
        actor: &Actor,
    ) -> Result<(EndOutcome, Replication), StoreError> {
        let ending = EndRequest::revoked(self.parts.clock.now());
        let outcome = self.end(id, ending, actor).await?;
        if let EndOutcome::Ended(tombstone) | EndOutcome::AlreadyEnded(tombstone) = &outcome {
            self.require_new_authentication(tombstone, ending.at, actor)
                .await?;
        }
        let replication = self.wait_for_replication(id).await;
        self.count_unconfirmed(replication);
        Ok((outcome, replication))
    }

    /// Moves all times of a live session into the past, so that applications can test timeouts. Returns `None` if the
    /// session is not live.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    pub async fn age(
        &self,
        id: SessionId,
        by: Duration,
        actor: &Actor,
    ) -> Result<Option<Session>, StoreError> {
        let aged = self.parts.stores.sessions.age(id, by).await?;
        if let Some(session) = &aged {
            audit::session_aged(id, session, by, actor);
            self.parts.streams.recheck_now(id);
            // Ageing has moved the deadline of the session, but not its due time in the queue. So make the session due
            // now.
            self.parts
                .stores
                .deadlines
                .postpone(id, self.parts.clock.now())
                .await?;
        }
        Ok(aged)
    }

    /// Returns at most `limit` live sessions of users, in the order in which they become due. The order is
    /// approximate, because activity does not move a session in the deadline queue until the session is due.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    pub async fn list_ending_soonest(&self, limit: usize) -> Result<Page, StoreError> {
        let mut sessions = Vec::new();
        let upcoming = self.parts.stores.deadlines.peek_upcoming(limit).await?;
        let loads = upcoming
            .iter()
            .map(|id| self.parts.stores.sessions.load(*id));
        for (id, session) in upcoming.iter().zip(join_all(loads).await) {
            let live = session?.filter(|session| {
                session.state == State::Live
                    && !session.is_operator()
                    && self.parts.clock.now() < self.parts.policies.deadline(session)
                    && !self.is_revoked(session)
            });
            sessions.extend(live.map(|session| (*id, session)));
        }
        Ok(Page {
            sessions,
            next: None,
        })
    }

    /// Whether a cut-off or an emergency revocation ends this session; `false` if the session has already ended.
    #[must_use]
    pub fn is_revoked(&self, session: &Session) -> bool {
        let is_before_cut_off = |subject: &Subject| {
            let not_before = self.parts.stores.cut_offs.known_cut_off(subject);
            not_before.is_some_and(|not_before| session.started < not_before)
        };
        session.state == State::Live
            && (self.parts.stores.cut_offs.is_ended_by_rule(session)
                || is_before_cut_off(&session.subject)
                || session
                    .provider_names()
                    .any(|name| is_before_cut_off(&name)))
    }

    /// Waits until the configured number of Redis replicas have the last write, or until a timeout. Returns how many
    /// Redis replicas confirmed the write; none if the store failed.
    async fn wait_for_replication(&self, id: SessionId) -> Replication {
        self.parts
            .stores
            .sessions
            .wait_replicated(id)
            .await
            .unwrap_or(Replication {
                wanted: 1,
                confirmed: 0,
            })
    }

    fn count_unconfirmed(&self, replication: Replication) {
        if !replication.is_confirmed() {
            self.parts.metrics.store.unconfirmed.inc();
            tracing::warn!(
                wanted = replication.wanted,
                confirmed = replication.confirmed,
                "too few Redis replicas confirmed a change in time"
            );
        }
    }
}

/// Runs a future to completion, even if the caller is cancelled.
async fn run_detached<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(output) => output,
        // No code aborts this task, so the error is a panic, which is passed on to the caller.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
