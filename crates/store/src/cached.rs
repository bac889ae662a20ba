//! The near cache: session records in the memory of this process, so that most checks need no request to the store.
//!
//! The cache contains only live records, and only [`LocalStore::load_cached`] returns them. A cached record can be
//! outdated, so a check loads the record from the store before it denies a request.
//!
//! The cache is usable only while invalidations (messages about changed records) arrive. To verify that they arrive,
//! this process sends heartbeats to itself on the channel of the invalidations. If a heartbeat returns, the cache is
//! usable for the time [`LEASE`], counted from the sending of this heartbeat. When an invalidation may have been lost,
//! the cache drops all records. For the reasons, see `docs/adr/0011-the-near-cache.md`.

mod record_cache;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::{Shared, WeakShared};

use super::{
    Change, ChangeOutcome, EndOutcome, EndRequest, InvalidationListener, SessionStore, StoreError,
    Touch,
};
use crate::LocalStore;
use crate::clock::Clock;
use crate::lock::Mutex;
use crate::session::{Session, SessionId, SessionMap, State, Timestamp};
use crate::telemetry::Metrics;
use record_cache::RecordCache;

/// How long the cache stays usable after this process has sent a heartbeat that returns. This is also the longest time
/// for which this replica can still accept a session that another replica has ended.
pub const LEASE: Duration = Duration::from_secs(2);

/// A wrapper that caches the records that a store has returned.
pub struct CachedStore<S> {
    inner: Arc<S>,
    /// Shows decision time (the common time of all replicas), for the metric of the invalidation delay.
    clock: Arc<dyn Clock>,
    /// A monotonic clock, which measures the lease.
    steady: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    records: RecordCache,
    /// The end of the lease in the time of `steady`, in milliseconds; 0 before the first lease and after a lost
    /// invalidation.
    usable_until: AtomicU64,
    /// Loads that are in flight. Checks that need the same session share one load (singleflight).
    in_flight: Mutex<InFlightLoads>,
}

#[derive(Default)]
struct InFlightLoads {
    by_id: SessionMap<InFlightLoad>,
    started_count: u64,
}

struct InFlightLoad {
    number: u64,
    future: WeakShared<LoadFuture>,
}

type LoadResult = Result<Option<Session>, StoreError>;
type LoadFuture = Pin<Box<dyn Future<Output = LoadResult> + Send>>;

impl<S: SessionStore> CachedStore<S> {
    /// Caches about `sessions` records of `inner`. `clock` shows decision time, and `steady` is monotonic. The cache
    /// returns nothing before the first [`caught_up_to`](InvalidationListener::caught_up_to).
    pub fn new(
        inner: S,
        sessions: usize,
        clock: Arc<dyn Clock>,
        steady: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            inner: Arc::new(inner),
            clock,
            steady,
            metrics,
            records: RecordCache::new(sessions),
            usable_until: AtomicU64::new(0),
            in_flight: Mutex::default(),
        }
    }

    /// Returns the current time if the cache is usable.
    fn now_if_usable(&self) -> Option<Timestamp> {
        let now = self.steady.now();
        (now.as_millis() < self.usable_until.load(Ordering::Acquire)).then_some(now)
    }

    /// Drops the cached record of a session, and prevents a load in flight from caching its result.
    fn drop_cached(&self, id: SessionId) {
        let mut in_flight = self.in_flight.lock();
        in_flight.by_id.remove(&id);
        self.records.remove(id);
    }

    /// Returns a waiter for the load in flight of a session. Starts a load if none is in flight.
    fn join_or_start_load(&self, id: SessionId) -> InFlightGuard<'_> {
        let mut in_flight = self.in_flight.lock();
        if let Some(load) = in_flight.by_id.get(&id)
            && let Some(future) = load.future.upgrade()
        {
            return InFlightGuard {
                in_flight: &self.in_flight,
                id,
                number: load.number,
                future: Some(future),
            };
        }
        let inner = Arc::clone(&self.inner);
        let future: LoadFuture = Box::pin(async move { inner.load(id).await });
        let future = future.shared();
        in_flight.started_count += 1;
        let number = in_flight.started_count;
        if let Some(weak) = future.downgrade() {
            let future = weak;
            in_flight.by_id.insert(id, InFlightLoad { number, future });
        }
        InFlightGuard {
            in_flight: &self.in_flight,
            id,
            number,
            future: Some(future),
        }
    }

    /// Caches the result of a load, unless the session was invalidated in the meantime.
    fn cache_result(&self, id: SessionId, number: u64, session: Option<&Session>) {
        let mut in_flight = self.in_flight.lock();
        if in_flight
            .by_id
            .get(&id)
            .is_none_or(|load| load.number != number)
        {
            return;
        }
        in_flight.by_id.remove(&id);
        if let (Some(session), Some(now)) = (session, self.now_if_usable())
            && session.state == State::Live
        {
            // The cache does not keep the refresh token: it is large, and code that reads the cache never uses it.
            let session = session.clone().without_refresh_token();
            self.records.put(id, session, now);
        }
    }
}

/// A waiter for a load in flight. When the last waiter is dropped, the load is cancelled.
struct InFlightGuard<'a> {
    in_flight: &'a Mutex<InFlightLoads>,
    id: SessionId,
    number: u64,
    future: Option<Shared<LoadFuture>>,
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        let mut in_flight = self.in_flight.lock();
        self.future = None;
        let is_abandoned = in_flight
            .by_id
            .get(&self.id)
            .is_some_and(|load| load.number == self.number && load.future.upgrade().is_none());
        if is_abandoned {
            in_flight.by_id.remove(&self.id);
        }
    }
}

impl<S: SessionStore> InvalidationListener for CachedStore<S> {
    fn invalidate(&self, id: SessionId, at: Timestamp) {
        self.drop_cached(id);
        let delay = self.clock.now().since(at);
        self.metrics
            .near_cache
            .end_delay
            .observe(delay.as_secs_f64());
    }

    fn caught_up_to(&self, since: Timestamp) {
        let until = since.plus(LEASE).as_millis();
        self.usable_until.fetch_max(until, Ordering::Release);
        self.metrics.near_cache.usable.set(1);
        let entries = i64::try_from(self.records.len()).unwrap_or(i64::MAX);
        self.metrics.near_cache.entries.set(entries);
    }

    fn on_lost_invalidation(&self) {
        let mut in_flight = self.in_flight.lock();
        self.usable_until.store(0, Ordering::Release);
        in_flight.by_id.clear();
        self.records.clear();
        self.metrics.near_cache.flushes.inc();
        self.metrics.near_cache.usable.set(0);
        self.metrics.near_cache.entries.set(0);
    }
}

#[async_trait]
impl<S: SessionStore> SessionStore for CachedStore<S> {
    async fn load(&self, id: SessionId) -> LoadResult {
        if self.now_if_usable().is_none() {
            self.metrics.near_cache.bypassed.inc();
            return self.inner.load(id).await;
        }
        self.metrics.near_cache.misses.inc();
        let mut guard = self.join_or_start_load(id);
        let Some(future) = guard.future.as_mut() else {
            return self.inner.load(id).await;
        };
        let loaded = future.await;
        self.cache_result(
            id,
            guard.number,
            loaded.as_ref().ok().and_then(Option::as_ref),
        );
        loaded
    }

    async fn touch(&self, id: SessionId, touch: Touch) -> Result<(), StoreError> {
        self.inner.touch(id, touch).await?;
        // If the cached record lacked this activity, every later check would write another touch.
        self.records.touch(id, touch.at);
        Ok(())
    }

    async fn end(&self, id: SessionId, ending: EndRequest) -> Result<EndOutcome, StoreError> {
        self.drop_cached(id);
        let outcome = self.inner.end(id, ending).await;
        // The cache drops the record again, because a concurrent load may have cached it before the session ended. It
        // does so even after an error, because the session may have ended nevertheless.
        self.drop_cached(id);
        outcome
    }

    async fn withdraw(&self, id: SessionId, session: &Session) -> Result<bool, StoreError> {
        self.drop_cached(id);
        let outcome = self.inner.withdraw(id, session).await;
        self.drop_cached(id);
        outcome
    }

    async fn change(&self, id: SessionId, change: &Change) -> Result<ChangeOutcome, StoreError> {
        self.drop_cached(id);
        let outcome = self.inner.change(id, change).await;
        // The cache drops the record again, because a concurrent load may have cached the old record. It does so even
        // after an error, because the record may have changed nevertheless.
        self.drop_cached(id);
        outcome
    }

    async fn age(&self, id: SessionId, by: Duration) -> LoadResult {
        self.drop_cached(id);
        let outcome = self.inner.age(id, by).await;
        self.drop_cached(id);
        outcome
    }

    forward!(self => self.inner; create, keep_tombstone, list, wait_replicated, ready, incarnation, flush);
}

impl<S: SessionStore> LocalStore for CachedStore<S> {
    /// For at most the [`LEASE`], the returned session may be live although another replica has ended it. The session
    /// may also lack the activity that other replicas have recorded since the load.
    fn load_cached(&self, id: SessionId) -> Option<Session> {
        let session = self.records.get(id, self.now_if_usable()?)?;
        self.metrics.near_cache.hits.inc();
        Some(session)
    }

    fn try_buffer_touch(&self, id: SessionId, touch: Touch) -> bool {
        let _ = (id, touch);
        false
    }
}

#[cfg(test)]
mod races;
#[cfg(test)]
mod tests;
