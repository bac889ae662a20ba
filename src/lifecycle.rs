//! How sessions begin and end: the changes that are recorded, counted and audited.
//!
//! Each change runs to its end even when the request that asked for it is dropped half-way, so
//! that none is made without being told.

mod known;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::credential::{KeyError, KeyRing, Token};
use crate::events::SessionEnded;
use crate::policy::Policies;
use crate::session::{NewSession, Session, SessionId, State, Subject, Timestamp};
use crate::store::{
    Creation, Cursor, DeadlineQueue, EndOutcome, Ending, NotBefore, Replication, SessionStore,
    StoreError,
};
use crate::telemetry::{Metrics, audit};
use crate::webhook::Webhook;

pub use known::KnownSessions;

/// How long whoever ended a session gets to tell it before another process does. The end is noted
/// at a time from before the store was asked, so this includes what the store took.
pub const TELLING: Duration = Duration::from_secs(10);
/// How often it is tried to note that an end was told, and the pause between.
const SETTLING: (u32, Duration) = (5, Duration::from_millis(200));

/// Starts and ends sessions.
#[derive(Clone)]
pub struct Lifecycle {
    /// Where they live.
    pub store: Arc<dyn SessionStore>,
    /// When to look at each.
    pub deadlines: Arc<dyn DeadlineQueue>,
    /// Before when all sessions of a subject have ended.
    pub not_before: Arc<dyn NotBefore>,
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
    /// What may be served when the store can't be asked.
    pub known: Arc<KnownSessions>,
    /// Tells others of their ends.
    pub webhook: Option<Webhook>,
    /// What still has to be noted when the process stops.
    pub tasks: TaskTracker,
}

/// A session that was just started.
#[derive(Debug)]
pub struct Started {
    /// Its name.
    pub id: SessionId,
    /// The credential to hand to the client; it can't be had again.
    pub token: Token,
    /// Its record.
    pub session: Session,
    /// How many replicas of the store have it.
    pub replication: Replication,
}

/// What became of the sessions of a subject that was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevokedAll {
    /// How many sessions lived until now.
    pub revoked: usize,
    /// All that started before this have ended.
    pub not_before: Timestamp,
    /// How many replicas of the store have all of this.
    pub replication: Replication,
}

/// How many records a subject has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubjectCount {
    /// Sessions that live.
    pub live: usize,
    /// Tombstones that are still kept.
    pub ended: usize,
}

/// Why a session could not be started or ended.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// The policy is not configured.
    #[error("there is no policy of this name")]
    UnknownPolicy,
    /// No token could be made.
    #[error(transparent)]
    Token(#[from] KeyError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system's random numbers repeat: two of 256 bits were the same.
    #[error("a token was issued twice: the random number generator can't be trusted")]
    Collision,
}

impl Lifecycle {
    /// Starts a session under the policy it names.
    ///
    /// # Errors
    /// [`LifecycleError`]; nothing has been started then, as far as the store could say.
    pub async fn start(&self, new: NewSession) -> Result<Started, LifecycleError> {
        let this = self.clone();
        to_the_end(async move {
            let (_, policy) = this
                .policies
                .get(new.policy.as_str())
                .ok_or(LifecycleError::UnknownPolicy)?;
            let token = this.key_ring.issue()?;
            let id = token.session_id();
            // The store is asked first: its answer is what sets the clock, on a new process.
            let not_before = this.not_before.not_before(&new.subject).await?;
            let now = after(this.clock.now(), not_before);
            let session = Session::start(new, &policy.limits, this.end_retention, now);
            let deadline = this.policies.deadline(&session);
            this.deadlines.enqueue(id, deadline).await?;
            let creation = this.store.create(id, &session).await;
            if matches!(
                creation,
                Err(StoreError::Full(_) | StoreError::OutOfMemory(_))
            ) {
                // There is certainly nothing to look at.
                let _ = this.deadlines.settle(id, None).await;
            }
            match creation? {
                Creation::Created => Ok(this.started(id, token, session).await),
                // A connection to a cluster repeats by itself what it had no answer to.
                Creation::Exists if this.store.load(id).await? == Some(session.clone()) => {
                    Ok(this.started(id, token, session).await)
                }
                Creation::Exists => Err(LifecycleError::Collision),
            }
        })
        .await
    }

    /// A session that is kept: counts it and tells of it.
    async fn started(&self, id: SessionId, token: Token, session: Session) -> Started {
        self.metrics.session_created(session.policy.as_str());
        audit::session_created(id, &session);
        let replication = self.confirmation(id).await;
        self.count_unconfirmed(replication);
        Started {
            id,
            token,
            session,
            replication,
        }
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not end it; it may still have done so.
    pub async fn end(&self, id: SessionId, ending: Ending) -> Result<EndOutcome, StoreError> {
        let this = self.clone();
        to_the_end(async move {
            // Whether or not the store takes it: nobody is served who is meant to be gone.
            this.known.forget(id);
            let outcome = this.store.end(id, ending).await;
            if let Ok(EndOutcome::Touched(_)) = &outcome {
                this.known.remember_again(id);
            }
            if let Ok(EndOutcome::Ended(tombstone)) = &outcome {
                this.announce(id, tombstone, false);
            }
            // Nobody has to wait for this.
            let (tasks, ended) = (this.tasks.clone(), outcome.clone());
            tasks.spawn(async move {
                match ended {
                    Ok(EndOutcome::Ended(tombstone)) => this.settle(id, &tombstone).await,
                    // It may have been ended by a call whose answer was lost, which told nothing:
                    // then it is told soon, and not when its deadline comes.
                    Ok(EndOutcome::AlreadyEnded(_)) | Err(_) => {
                        let soon = this.clock.now().plus(TELLING);
                        let _ = this.deadlines.postpone(id, soon).await;
                    }
                    Ok(EndOutcome::Touched(_) | EndOutcome::Unknown) => {}
                }
            });
            outcome
        })
        .await
    }

    /// Tells the end of a session that somebody else ended who may not have told it.
    pub async fn tell_again(&self, id: SessionId, tombstone: &Session) {
        self.announce(id, tombstone, true);
        self.settle(id, tombstone).await;
    }

    fn announce(&self, id: SessionId, tombstone: &Session, redelivered: bool) {
        let Some(ended) = SessionEnded::new(id, tombstone, redelivered) else {
            return;
        };
        self.metrics
            .session_ended(tombstone.policy.as_str(), ended.reason, redelivered);
        audit::session_ended(&ended);
        if let Some(webhook) = &self.webhook {
            webhook.send(ended);
        }
    }

    /// Notes that an end was told. If this fails for good another process tells it again.
    async fn settle(&self, id: SessionId, tombstone: &Session) {
        for _ in 0..SETTLING.0 {
            match self.deadlines.settle(id, Some(tombstone)).await {
                Ok(_) => return,
                Err(error) => {
                    tracing::debug!(%error, session = %id, "an end that was told is not noted yet");
                    tokio::time::sleep(SETTLING.1).await;
                }
            }
        }
    }

    /// Ends a session on purpose, and waits until as many replicas of the store know as are
    /// wanted.
    ///
    /// # Errors
    /// As for [`Lifecycle::end`].
    pub async fn revoke(&self, id: SessionId) -> Result<(EndOutcome, Replication), StoreError> {
        let outcome = self.end(id, Ending::revoked(self.clock.now())).await?;
        let replication = self.confirmation(id).await;
        self.count_unconfirmed(replication);
        Ok((outcome, replication))
    }

    /// Ends every session of a subject on purpose that started before `before` (now, when that is
    /// left out), and says how many lived until then. Sessions that start later live.
    ///
    /// # Errors
    /// [`StoreError`] when the store failed on the way: some may have been ended. Repeating it is
    /// safe.
    pub async fn revoke_all(
        &self,
        subject: &Subject,
        before: Option<Timestamp>,
    ) -> Result<RevokedAll, StoreError> {
        let (this, subject) = (self.clone(), subject.clone());
        to_the_end(async move {
            let now = this.clock.now();
            let not_before = before.unwrap_or(now).min(now);
            // What started before that is over by its absolute limit.
            let forget = now.minus(this.policies.longest());
            let mut replication = this
                .not_before
                .set_not_before(&subject, not_before, forget)
                .await?;
            audit::subject_revoked(&subject, not_before);
            let (mut revoked, mut ended) = (0, Vec::new());
            let ending = Ending::revoked(now);
            let mut pages = Pages::of(&subject);
            while let Some(page) = pages.next(&*this.store).await? {
                for (id, session) in page {
                    let meant = match before {
                        Some(before) => session.started < before,
                        // Whoever signs in meanwhile is not meant.
                        None => session.started <= now,
                    };
                    if !meant {
                        continue;
                    }
                    let outcome = this.end(id, ending).await?;
                    revoked += usize::from(matches!(outcome, EndOutcome::Ended(_)));
                    // Those that had ended, too: who asks again wants to know of them.
                    ended.push(id);
                }
            }
            for id in &ended {
                if !replication.is_confirmed() {
                    break;
                }
                replication = this.confirmation(*id).await;
            }
            this.count_unconfirmed(replication);
            Ok(RevokedAll {
                revoked,
                not_before,
                replication,
            })
        })
        .await
    }

    /// How many records a subject has.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not say.
    pub async fn count(&self, subject: &Subject) -> Result<SubjectCount, StoreError> {
        let mut count = SubjectCount::default();
        let mut pages = Pages::of(subject);
        while let Some(page) = pages.next(&*self.store).await? {
            let now = self.clock.now();
            for (_, session) in page {
                let over = now >= self.policies.deadline(&session) || self.is_revoked(&session);
                if session.state == State::Live && !over {
                    count.live += 1;
                } else {
                    count.ended += 1;
                }
            }
        }
        Ok(count)
    }

    /// Moves every time of a live session into the past, for tests of time-outs.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not do it.
    pub async fn age(&self, id: SessionId, by: Duration) -> Result<Option<Session>, StoreError> {
        let aged = self.store.age(id, by).await?;
        if aged.is_some() {
            // Its deadline has moved, too.
            self.deadlines.postpone(id, self.clock.now()).await?;
        }
        Ok(aged)
    }

    /// Whether a live session is one of those that its subject has lost all at once.
    #[must_use]
    pub fn is_revoked(&self, session: &Session) -> bool {
        session.state == State::Live
            && self
                .not_before
                .known_not_before(&session.subject)
                .is_some_and(|not_before| session.started < not_before)
    }

    /// How many replicas of the store have a change; none, as far as is known, when it can't say.
    async fn confirmation(&self, id: SessionId) -> Replication {
        self.store.confirm(id).await.unwrap_or(Replication {
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

/// The time of a sign-in: `now`, or the moment that all sessions of the subject have ended before
/// where that is later by no more than clocks differ.
fn after(now: Timestamp, not_before: Option<Timestamp>) -> Timestamp {
    /// The most by which clocks differ that are kept at the store's.
    const DIFFERENCE: Duration = Duration::from_secs(1);
    not_before.map_or(now, |not_before| {
        not_before.clamp(now, now.plus(DIFFERENCE))
    })
}

/// All records of a subject, page by page.
struct Pages<'a> {
    subject: &'a Subject,
    /// The end of the page before.
    after: Option<Cursor>,
    done: bool,
}

impl<'a> Pages<'a> {
    const fn of(subject: &'a Subject) -> Self {
        Self {
            subject,
            after: None,
            done: false,
        }
    }

    async fn next(
        &mut self,
        store: &dyn SessionStore,
    ) -> Result<Option<Vec<(SessionId, Session)>>, StoreError> {
        /// How many are read at a time.
        const PAGE: usize = 100;
        if self.done {
            return Ok(None);
        }
        let page = store.list(self.subject, self.after, PAGE).await?;
        self.after = page.next;
        self.done = page.next.is_none();
        Ok(Some(page.sessions))
    }
}

/// Runs a future to its end, even if the caller stops waiting for it.
async fn to_the_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(done) => done,
        // Nobody aborts these tasks, so this is a panic; it goes where it would have gone.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
