//! A journal of recent session ends, for a store that can lose its latest writes.
//!
//! After a fail-over, a session whose end the store had confirmed can be live again, because the new primary did not
//! receive the write. So each process remembers, for some time, the sessions that it has ended. It denies requests with
//! such a session, even if the store returns the session as live. After a fail-over, the process also ends the session
//! in the store again, for all replicas ([`JournaledStore::replay`]).
//!
//! A store can also lose the whole record of an ended session (`DEL`, `FLUSHALL`, the restore of an older copy). A
//! credential of another issuer would then start its session again. So the journal also returns the tombstone (the
//! record of the ended session) if the store has no record.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{
    Change, ChangeOutcome, CreateOutcome, Cursor, EndOutcome, EndRequest, Page, SessionStore,
    StoreError, Touch,
};
use crate::LocalStore;
use crate::clock::Clock;
use crate::session::{Session, SessionId, SessionMap, State, Subject, Timestamp};
use crate::telemetry::{Metrics, audit};

/// The largest number of session ends in the journal. Beyond this number, the journal drops the oldest session end.
const MAX_ENTRIES: usize = 100_000;
/// How many sessions a replay ends concurrently.
const REPLAY_BATCH_SIZE: usize = 64;
/// The delay before the retry of a failed replay.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// A wrapper that remembers the session ends that pass through it.
pub struct JournaledStore<S> {
    inner: S,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    retention: Duration,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    tombstones: SessionMap<Session>,
    /// When each session end was recorded, the oldest first.
    by_time: VecDeque<(Timestamp, SessionId)>,
}

impl<S: SessionStore> JournaledStore<S> {
    /// Wraps the store `inner`. For the duration `retention`, remembers each session end that `inner` confirms.
    pub fn new(
        inner: S,
        retention: Duration,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            inner,
            clock,
            metrics,
            retention,
            entries: Mutex::default(),
        }
    }

    /// Calls [`Self::replay`] whenever the store may have lost writes, until `stop` is cancelled.
    pub async fn run(&self, stop: CancellationToken) {
        let Some(mut incarnation) = self.inner.incarnation() else {
            stop.cancelled().await;
            return;
        };
        let replaying = async {
            while incarnation.changed().await.is_ok() {
                while let Err(error) = self.replay().await {
                    tracing::warn!(
                        %error,
                        "could not write recent session ends to the store again after a possible loss of writes; \
                         retrying"
                    );
                    tokio::time::sleep(RETRY_DELAY).await;
                }
            }
            // The store is closed, and the process is about to stop.
            std::future::pending::<()>().await;
        };
        stop.run_until_cancelled(replaying).await;
    }

    /// Ends each remembered session again if it is live in the store. Returns how many sessions it ended.
    ///
    /// # Errors
    /// [`StoreError`] if some sessions could not be ended.
    pub async fn replay(&self) -> Result<usize, StoreError> {
        let tombstones: Vec<(SessionId, Session)> = {
            let mut entries = self.entries.lock();
            entries.remove_expired(self.clock.now(), self.retention);
            let all = entries.tombstones.iter();
            all.map(|(id, session)| (*id, session.clone())).collect()
        };
        let (mut restored_count, mut outcome) = (0, Ok(()));
        for batch in tombstones.chunks(REPLAY_BATCH_SIZE) {
            let ends = batch.iter().map(async |(id, session)| {
                let State::Ended(end) = session.state else {
                    return Ok(false);
                };
                let ending = EndRequest {
                    reason: end.reason,
                    at: end.at,
                    unless_touched_since: None,
                };
                let outcome = self.inner.end(*id, ending).await?;
                let was_restored = matches!(outcome, EndOutcome::Ended(_));
                if was_restored {
                    audit::session_end_restored(*id, session);
                    self.metrics.store.ends_replayed.inc();
                }
                Ok(was_restored)
            });
            for result in join_all(ends).await {
                match result {
                    Ok(was_restored) => restored_count += usize::from(was_restored),
                    // Ignore this error: Curfew allows no request with an unreadable record, and a retry would not make
                    // the record readable.
                    Err(StoreError::Unreadable(_)) => {}
                    Err(error) => outcome = Err(error),
                }
            }
        }
        outcome.map(|()| restored_count)
    }

    fn record_end(&self, id: SessionId, outcome: &EndOutcome) {
        // `AlreadyEnded` counts too, because an earlier call may have ended the session although its reply was lost.
        if let EndOutcome::Ended(session) | EndOutcome::AlreadyEnded(session) = outcome {
            let now = self.clock.now();
            let mut entries = self.entries.lock();
            entries.remove_expired(now, self.retention);
            if entries.tombstones.insert(id, session.clone()).is_none() {
                entries.by_time.push_back((now, id));
            }
        }
    }

    /// Returns the tombstone from the journal, for a session whose record the store has lost. Returns `None` if the
    /// journal has no tombstone, or if the tombstone has expired.
    fn lost_tombstone(&self, id: SessionId) -> Option<Session> {
        let entries = self.entries.lock();
        let tombstone = entries.tombstones.get(&id)?;
        (self.clock.now() < tombstone.expires()).then(|| tombstone.clone())
    }

    /// Returns `session`, or the tombstone from the journal if the session has ended but is live again in the store.
    fn with_journaled_end(&self, id: SessionId, session: Session) -> Session {
        if session.state != State::Live {
            return session;
        }
        let entries = self.entries.lock();
        let tombstone = entries.tombstones.get(&id);
        tombstone.cloned().unwrap_or(session)
    }
}

impl Entries {
    fn remove_expired(&mut self, now: Timestamp, retention: Duration) {
        while let Some((recorded_at, id)) = self.by_time.front() {
            if now.since(*recorded_at) < retention && self.by_time.len() < MAX_ENTRIES {
                break;
            }
            self.tombstones.remove(id);
            self.by_time.pop_front();
        }
    }
}

#[async_trait]
impl<S: SessionStore> SessionStore for JournaledStore<S> {
    async fn load(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        Ok(match self.inner.load(id).await? {
            Some(session) => Some(self.with_journaled_end(id, session)),
            None => self.lost_tombstone(id),
        })
    }

    async fn create(&self, id: SessionId, session: &Session) -> Result<CreateOutcome, StoreError> {
        // If the ID is derived from a credential, such as a JSON Web Token, a session with this ID can have ended
        // already.
        if self.lost_tombstone(id).is_some() {
            return Ok(CreateOutcome::Exists);
        }
        self.inner.create(id, session).await
    }

    async fn end(&self, id: SessionId, ending: EndRequest) -> Result<EndOutcome, StoreError> {
        let tombstone = self.entries.lock().tombstones.get(&id).cloned();
        let outcome = self.inner.end(id, ending).await?;
        self.record_end(id, &outcome);
        Ok(match (tombstone, outcome) {
            // The session had ended before, but was live again in the store. Its first end was already published.
            (Some(tombstone), EndOutcome::Ended(_) | EndOutcome::Touched(_)) => {
                EndOutcome::AlreadyEnded(tombstone)
            }
            (_, outcome) => outcome,
        })
    }

    async fn change(&self, id: SessionId, change: &Change) -> Result<ChangeOutcome, StoreError> {
        // If the store lost a session end and returns the session as live, the session still counts as ended.
        let find_tombstone = || self.entries.lock().tombstones.get(&id).cloned();
        if let Some(tombstone) = find_tombstone() {
            return Ok(ChangeOutcome::Ended(tombstone));
        }
        let outcome = self.inner.change(id, change).await?;
        Ok(match (outcome, find_tombstone()) {
            (ChangeOutcome::Changed(_) | ChangeOutcome::Differs(_), Some(tombstone)) => {
                ChangeOutcome::Ended(tombstone)
            }
            (outcome, _) => outcome,
        })
    }

    async fn age(&self, id: SessionId, by: Duration) -> Result<Option<Session>, StoreError> {
        let session = self.inner.age(id, by).await?;
        Ok(session.map(|session| self.with_journaled_end(id, session)))
    }

    async fn list(
        &self,
        subject: &Subject,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let mut page = self.inner.list(subject, after, limit).await?;
        for (id, session) in &mut page.sessions {
            *session = self.with_journaled_end(*id, session.clone());
        }
        Ok(page)
    }

    forward!(self => self.inner; touch, keep_tombstone, withdraw, wait_replicated, ready, incarnation, flush);
}

impl<S: SessionStore> LocalStore for JournaledStore<S> {
    fn load_cached(&self, id: SessionId) -> Option<Session> {
        let session = self.inner.load_cached(id)?;
        Some(self.with_journaled_end(id, session))
    }

    fn try_buffer_touch(&self, id: SessionId, touch: Touch) -> bool {
        self.inner.try_buffer_touch(id, touch)
    }
}

#[cfg(test)]
mod tests;
