//! Write-behind for touches (records of activity): one write per touch interval.
//!
//! A check records activity in memory, so it normally waits for no write. Each session is written once per interval:
//! at the end of the interval, this store writes the last activity of the interval. So a crash loses the activity of
//! at most one interval. After a crash, a session may time out up to one interval too early, but never too late.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    Change, ChangeOutcome, Cursor, EndOutcome, EndRequest, Page, SessionStore, StoreError, Touch,
};
use crate::LocalStore;
use crate::clock::Clock;
use crate::lock::Mutex;
use crate::session::{CLOCK_MARGIN, Session, SessionId, SessionMap, Subject, Timestamp};
use crate::telemetry::Metrics;

/// The largest number of sessions with buffered activity. The activity of further sessions is written at once.
const MAX_PENDING: usize = 100_000;
/// The number of touches that one flush writes concurrently.
const BATCH_SIZE: usize = 128;
/// How often the background task looks for touches that are due.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The longest delay before this store tries to write a failed touch again.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(1);

/// A wrapper that buffers touches.
pub struct CoalescingStore<S> {
    inner: S,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    pending: Mutex<Pending>,
    /// Wakes the background task for a touch that is due at once.
    touch_due: Notify,
}

/// Touches that were not written yet, each with its due time.
///
/// A touch stays here until the store has written it. So no touch is lost if the future that writes the touch is
/// dropped. Writing a touch twice does no harm.
#[derive(Default)]
struct Pending {
    touches: SessionMap<(Timestamp, Touch)>,
    by_due_time: BTreeSet<(Timestamp, SessionId)>,
}

impl Pending {
    /// Buffers a touch that is due at `due`, and merges it with the pending touch of the session. Returns `false` if
    /// the session has no pending touch and `MAX_PENDING` other sessions have one.
    fn buffer(&mut self, id: SessionId, due: Timestamp, touch: Touch) -> bool {
        if let Some((pending_due, pending)) = self.touches.get_mut(&id) {
            pending.at = pending.at.max(touch.at);
            pending.retention = touch.retention;
            let is_sooner = due < *pending_due;
            if is_sooner {
                self.reschedule(id, due);
            }
            return true;
        }
        if self.touches.len() >= MAX_PENDING {
            return false;
        }
        self.touches.insert(id, (due, touch));
        self.by_due_time.insert((due, id));
        true
    }

    /// Returns up to `BATCH_SIZE` touches that are due at `now`.
    fn due_touches(&self, now: Timestamp) -> Vec<(SessionId, Touch)> {
        self.by_due_time
            .iter()
            .take_while(|(due, _)| *due <= now)
            .take(BATCH_SIZE)
            .filter_map(|(_, id)| self.touches.get(id).map(|(_, touch)| (*id, *touch)))
            .collect()
    }

    fn remove(&mut self, id: SessionId) {
        if let Some((due, _)) = self.touches.remove(&id) {
            self.by_due_time.remove(&(due, id));
        }
    }

    fn reschedule(&mut self, id: SessionId, due: Timestamp) {
        if let Some((old, _)) = self.touches.get_mut(&id) {
            self.by_due_time.remove(&(*old, id));
            *old = due;
            self.by_due_time.insert((due, id));
        }
    }

    /// Removes a touch that was written. If the session had newer activity in the meantime, reschedules the touch
    /// instead.
    fn mark_written(&mut self, id: SessionId, touch: &Touch) {
        match self.touches.get(&id) {
            Some((_, pending)) if pending.at > touch.at => {
                self.reschedule(id, touch.at.plus(touch.interval));
            }
            _ => self.remove(id),
        }
    }

    /// Reschedules a touch that could not be written. If the record must have expired by now, drops the touch instead.
    /// Returns whether the touch was dropped.
    fn mark_failed(&mut self, id: SessionId, now: Timestamp, touch: &Touch) -> bool {
        let may_exist = now < touch.at.plus(without_margin(touch.retention));
        if may_exist {
            self.reschedule(id, now.plus(touch.interval.min(MAX_RETRY_DELAY)));
        } else {
            self.remove(id);
        }
        !may_exist
    }
}

impl<S: SessionStore> CoalescingStore<S> {
    /// Creates a buffer of touches for the store `inner`. Only [`Self::run`] writes due touches in the background.
    pub fn new(inner: S, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self {
            inner,
            clock,
            metrics,
            pending: Mutex::default(),
            touch_due: Notify::new(),
        }
    }

    /// Writes touches when they are due, until `stop` is cancelled. [`SessionStore::flush`] writes the remaining
    /// touches.
    pub async fn run(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.touch_due.notified() => {}
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
            // This error can be ignored: a failed touch stays pending, and the store has counted the error.
            let flush = self.flush_due(self.clock.now());
            let _ = stop.run_until_cancelled(flush).await;
        }
    }

    /// Returns the number of sessions with activity that was not written to the store yet.
    #[must_use]
    pub fn pending_count(&self) -> usize {
        self.pending.lock().touches.len()
    }

    /// Writes the touches that are due at `now`. A touch that fails stays pending and does not delay the others.
    ///
    /// # Errors
    /// The last error, if any touch could not be written.
    pub async fn flush_due(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        loop {
            let batch = self.pending.lock().due_touches(now);
            if batch.is_empty() {
                return outcome;
            }
            let writes = batch
                .into_iter()
                .map(|(id, touch)| self.write(id, touch, now));
            // A failed touch is due again later, so this loop ends.
            let mut failed = join_all(writes).await.into_iter().filter_map(Result::err);
            outcome = failed.next_back().map_or(outcome, Err);
        }
    }

    /// Writes every pending touch once.
    async fn flush_all(&self) -> Result<(), StoreError> {
        let pending: Vec<SessionId> = self.pending.lock().touches.keys().copied().collect();
        let mut outcome = Ok(());
        for batch in pending.chunks(BATCH_SIZE) {
            let writes = batch.iter().map(|id| self.flush_one(*id));
            let mut failed = join_all(writes).await.into_iter().filter_map(Result::err);
            outcome = failed.next_back().map_or(outcome, Err);
        }
        outcome
    }

    /// Writes one touch and records the result.
    async fn write(&self, id: SessionId, touch: Touch, now: Timestamp) -> Result<(), StoreError> {
        let written = self.inner.touch(id, touch).await;
        let mut pending = self.pending.lock();
        match &written {
            Ok(()) => {
                pending.mark_written(id, &touch);
                self.metrics.store.touches_written.inc();
            }
            Err(_) if pending.mark_failed(id, now, &touch) => {
                self.metrics.store.touches_dropped.inc();
            }
            Err(_) => {}
        }
        self.metrics
            .store
            .touches_pending
            .set(i64::try_from(pending.touches.len()).unwrap_or(i64::MAX));
        written
    }

    /// Writes the pending touch of one session.
    async fn flush_one(&self, id: SessionId) -> Result<(), StoreError> {
        let pending = self
            .pending
            .lock()
            .touches
            .get(&id)
            .map(|(_, touch)| *touch);
        match pending {
            Some(touch) => self.write(id, touch, self.clock.now()).await,
            None => Ok(()),
        }
    }

    /// Adds the activity that this replica has not written yet to a session from the store.
    fn with_pending_activity(&self, id: SessionId, mut session: Session) -> Session {
        if let Some((_, touch)) = self.pending.lock().touches.get(&id) {
            session.touch(touch.at);
        }
        session
    }
}

#[async_trait]
impl<S: SessionStore> SessionStore for CoalescingStore<S> {
    async fn load(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        // The pending touch is read before the load, because a concurrent flush may write the touch and remove it from
        // `pending` before the load returns an older record.
        let pending_at = self
            .pending
            .lock()
            .touches
            .get(&id)
            .map(|(_, touch)| touch.at);
        let session = self.inner.load(id).await?;
        Ok(session.map(|mut session| {
            if let Some(at) = pending_at {
                session.touch(at);
            }
            self.with_pending_activity(id, session)
        }))
    }

    async fn touch(&self, id: SessionId, touch: Touch) -> Result<(), StoreError> {
        if self.try_buffer_touch(id, touch) {
            return Ok(());
        }
        let written = self.inner.touch(id, touch).await;
        if written.is_err() {
            self.metrics.store.touches_dropped.inc();
        }
        written
    }

    async fn end(&self, id: SessionId, ending: EndRequest) -> Result<EndOutcome, StoreError> {
        // The pending activity influenced the caller's decision, so it must be written before the session ends.
        self.flush_one(id).await?;
        self.inner.end(id, ending).await
    }

    async fn change(&self, id: SessionId, change: &Change) -> Result<ChangeOutcome, StoreError> {
        // The result includes the activity that the store does not have yet.
        Ok(match self.inner.change(id, change).await? {
            ChangeOutcome::Changed(session) => {
                ChangeOutcome::Changed(self.with_pending_activity(id, session))
            }
            ChangeOutcome::Differs(session) => {
                ChangeOutcome::Differs(self.with_pending_activity(id, session))
            }
            outcome => outcome,
        })
    }

    async fn age(&self, id: SessionId, by: Duration) -> Result<Option<Session>, StoreError> {
        self.flush_one(id).await?;
        self.inner.age(id, by).await
    }

    async fn list(
        &self,
        subject: &Subject,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let mut page = self.inner.list(subject, after, limit).await?;
        for (id, session) in &mut page.sessions {
            *session = self.with_pending_activity(*id, session.clone());
        }
        Ok(page)
    }

    async fn flush(&self) -> Result<(), StoreError> {
        let written = self.flush_all().await;
        self.inner.flush().await.and(written)
    }

    forward!(self => self.inner; create, keep_tombstone, withdraw, wait_replicated, ready, incarnation);
}

impl<S: SessionStore> LocalStore for CoalescingStore<S> {
    fn load_cached(&self, id: SessionId) -> Option<Session> {
        let session = self.inner.load_cached(id)?;
        Some(self.with_pending_activity(id, session))
    }

    fn try_buffer_touch(&self, id: SessionId, touch: Touch) -> bool {
        // The touch is due one interval after the last write, but at the latest one interval before the deadline.
        let latest_due = touch.deadline.minus(touch.interval);
        let due = touch.last_seen.plus(touch.interval).min(latest_due);
        let is_buffered = self.pending.lock().buffer(id, due, touch);
        if is_buffered && due <= touch.at {
            self.touch_due.notify_one();
        }
        is_buffered
    }
}

/// Subtracts [`CLOCK_MARGIN`] from a retention that includes it.
fn without_margin(retention: Duration) -> Duration {
    retention.checked_sub(CLOCK_MARGIN).unwrap_or(retention)
}

#[cfg(test)]
mod races;
#[cfg(test)]
mod tests;
