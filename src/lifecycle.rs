//! How sessions begin and end: the changes that are recorded, counted and audited.
//!
//! Each change runs to its end even when the request that asked for it is dropped half-way, so
//! that none is made without being told.

mod adopt;
mod emergency;
mod known;
mod operator;
mod presented_ends;
mod provider;
mod reauthentication;
mod revalidate;
mod start;
mod subject;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::task::TaskTracker;

use crate::actor::Actor;
use crate::clock::Clock;
use crate::credential::KeyRing;
use crate::events::SessionEnded;
use crate::policy::Policies;
use crate::session::{Session, SessionId, State, Subject};
use crate::store::{
    DeadlineQueue, EndOutcome, Ending, HistoryStore, NotBefore, Page, Replication, SessionStore,
    SessionWalk, StoreError,
};
use crate::telemetry::{Metrics, Recent, audit};
use crate::webhook::Webhook;

pub use adopt::{Adoption, NotAdopted};
pub use emergency::{EmergencyRevocation, MatchCount};
pub use known::LastKnownSessions;
pub use presented_ends::PresentedEnds;
pub use revalidate::{LeasedSession, Renewal, Renewed};
pub use start::{SignIn, StartError, Started};
pub use subject::{RevokedAll, SubjectCount};

/// How long whoever ended a session gets to tell it before another process does. The end is noted
/// at a time from before the store was asked, so this includes what the store took.
pub const DELIVERY_GRACE: Duration = Duration::from_secs(10);
/// How often it is tried to note that an end was told, and the pause between.
const ACK_RETRIES: (u32, Duration) = (5, Duration::from_millis(200));

/// Starts and ends sessions.
#[derive(Clone)]
pub struct Lifecycle {
    /// Where they live.
    pub store: Arc<dyn SessionStore>,
    /// When to look at each.
    pub deadlines: Arc<dyn DeadlineQueue>,
    /// Before when all sessions of a subject have ended, and the revocation rules.
    pub not_before: Arc<dyn NotBefore>,
    /// What the store can have forgotten of ends.
    pub history: Arc<dyn HistoryStore>,
    /// All sessions.
    pub walk: Arc<dyn SessionWalk>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Signs their tokens.
    pub key_ring: Arc<KeyRing>,
    /// What limits them.
    pub policies: Arc<Policies>,
    /// How long the reason of an end can be told.
    pub end_retention: Duration,
    /// Counts them.
    pub metrics: Arc<Metrics>,
    /// Ended sessions whose credentials were presented lately.
    pub presented_ends: Arc<PresentedEnds>,
    /// What may be served when the store can't be asked.
    pub known: Arc<LastKnownSessions>,
    /// What happened lately, for the console.
    pub recent: Arc<Recent>,
    /// Tells others of their ends.
    pub webhook: Option<Webhook>,
    /// What still has to be noted when the process stops.
    pub tasks: TaskTracker,
}

impl Lifecycle {
    /// Ends a session, because `actor` wants it.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not end it; it may still have done so.
    pub async fn end(
        &self,
        id: SessionId,
        ending: Ending,
        actor: &Actor,
    ) -> Result<EndOutcome, StoreError> {
        let (this, actor) = (self.clone(), actor.clone());
        run_detached(async move {
            // Whether or not the store takes it: nobody is served who is meant to be gone.
            this.known.forget(id);
            let outcome = this.store.end(id, ending).await;
            if let Ok(EndOutcome::Touched(_)) = &outcome {
                this.known.clear_tombstone(id);
            }
            if let Ok(EndOutcome::Ended(tombstone)) = &outcome {
                this.publish_end(id, tombstone, &actor, false);
            }
            // Nobody has to wait for this.
            let (tasks, ended) = (this.tasks.clone(), outcome.clone());
            tasks.spawn(async move {
                match ended {
                    Ok(EndOutcome::Ended(tombstone)) => {
                        this.acknowledge(id, &tombstone, &actor).await
                    }
                    // It may have been ended by a call whose answer was lost, which told nothing:
                    // then it is told soon, and not when its deadline comes.
                    Ok(EndOutcome::AlreadyEnded(_)) | Err(_) => {
                        let soon = this.clock.now().plus(DELIVERY_GRACE);
                        let _ = this.deadlines.postpone(id, soon).await;
                    }
                    Ok(EndOutcome::Touched(_) | EndOutcome::Unknown) => {}
                }
            });
            outcome
        })
        .await
    }

    /// Tells the end of a session that another process ended and may not have told. Its record does not say who revoked
    /// it: the actor is then Curfew.
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
        self.metrics
            .session_ended(tombstone.policy.as_str(), ended.reason, redelivered);
        audit::session_ended(&ended, actor);
        self.recent.ended(&ended);
        // Other programs hear of the sessions of users.
        if let Some(webhook) = self.webhook.as_ref().filter(|_| !tombstone.is_operator()) {
            webhook.send(ended);
        }
    }

    /// Notes that an end was told. If this fails for good another process tells it again.
    async fn acknowledge(&self, id: SessionId, tombstone: &Session, actor: &Actor) {
        let ended = SessionEnded::new(id, tombstone, actor, false);
        let ended = ended.filter(|_| !tombstone.is_operator());
        for _ in 0..ACK_RETRIES.0 {
            match self.deadlines.acknowledge(id, ended.as_ref()).await {
                Ok(_) => return,
                Err(error) => {
                    tracing::debug!(%error, session = %id, "an end that was told is not noted yet");
                    tokio::time::sleep(ACK_RETRIES.1).await;
                }
            }
        }
    }

    /// Ends a session on purpose, and waits until as many replicas of the store know as are
    /// wanted.
    ///
    /// # Errors
    /// As for [`Lifecycle::end`].
    pub async fn revoke(
        &self,
        id: SessionId,
        actor: &Actor,
    ) -> Result<(EndOutcome, Replication), StoreError> {
        let ending = Ending::revoked(self.clock.now());
        let outcome = self.end(id, ending, actor).await?;
        if let EndOutcome::Ended(tombstone) | EndOutcome::AlreadyEnded(tombstone) = &outcome {
            self.require_new_sign_in(tombstone, ending.at, actor)
                .await?;
        }
        let replication = self.confirmation(id).await;
        self.count_unconfirmed(replication);
        Ok((outcome, replication))
    }

    /// Moves every time of a live session into the past, for tests of time-outs.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not do it.
    pub async fn age(
        &self,
        id: SessionId,
        by: Duration,
        actor: &Actor,
    ) -> Result<Option<Session>, StoreError> {
        let aged = self.store.age(id, by).await?;
        if let Some(session) = &aged {
            audit::session_aged(id, session, by, actor);
            // Its deadline has moved, too.
            self.deadlines.postpone(id, self.clock.now()).await?;
        }
        Ok(aged)
    }

    /// At most `limit` live sessions of any user, those that end first, as far as is known: activity moves a
    /// session only when its deadline comes.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not say.
    pub async fn ending_first(&self, limit: usize) -> Result<Page, StoreError> {
        let mut sessions = Vec::new();
        let upcoming = self.deadlines.upcoming(limit).await?;
        let loads = upcoming.iter().map(|id| self.store.load(*id));
        for (id, session) in upcoming.iter().zip(join_all(loads).await) {
            let live = session?.filter(|session| {
                session.state == State::Live
                    && !session.is_operator()
                    && self.clock.now() < self.policies.deadline(session)
                    && !self.is_revoked(session)
            });
            sessions.extend(live.map(|session| (*id, session)));
        }
        Ok(Page {
            sessions,
            next: None,
        })
    }

    /// Whether a live session is one of those that its subject has lost all at once, or that a revocation rule ends.
    #[must_use]
    pub fn is_revoked(&self, session: &Session) -> bool {
        let ended_all = |subject: &Subject| {
            let not_before = self.not_before.known_not_before(subject);
            not_before.is_some_and(|not_before| session.started < not_before)
        };
        session.state == State::Live
            && (self.not_before.is_ended_by_rule(session)
                || ended_all(&session.subject)
                || session.provider_names().any(|name| ended_all(&name)))
    }

    /// How many replicas of the store have a change; none, as far as is known, when it can't say.
    async fn confirmation(&self, id: SessionId) -> Replication {
        self.store.wait_replicated(id).await.unwrap_or(Replication {
            wanted: 1,
            confirmed: 0,
        })
    }

    fn count_unconfirmed(&self, replication: Replication) {
        if !replication.is_confirmed() {
            self.metrics.unconfirmed.inc();
            tracing::warn!(
                wanted = replication.wanted,
                confirmed = replication.confirmed,
                "replicas did not confirm a change in time"
            );
        }
    }
}

/// Runs a future to its end, even if the caller stops waiting for it.
async fn run_detached<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(done) => done,
        // Nobody aborts these tasks, so this is a panic; it goes where it would have gone.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
