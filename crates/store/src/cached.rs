//! The near cache: what the store has shown of sessions, kept in this process for a moment, so that
//! most checks ask nobody.
//!
//! It holds live records only, and answers [`LocalStore::load_cached`] alone: whoever must know, or is
//! about to deny, loads from the store. It is used only while all that others end is heard at once:
//! when that was last certain longer than the [`LEASE`] ago, nothing is recalled, and when anything
//! may have been missed, everything is forgotten. `docs/adr/0011-the-near-cache.md` has the reasons.

mod near;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::{Shared, WeakShared};

use super::{
    Change, ChangeOutcome, EndOutcome, Ending, InvalidationListener, SessionStore, StoreError,
    Touch,
};
use crate::LocalStore;
use crate::clock::Clock;
use crate::lock::Mutex;
use crate::session::{Session, SessionId, SessionMap, State, Timestamp};
use crate::telemetry::Metrics;
use near::RecordCache;

/// How long after the last certain moment records are still recalled: the longest time for which a
/// session that was ended elsewhere can still be used here.
pub const LEASE: Duration = Duration::from_secs(2);

/// Keeps what the store it wraps has shown.
pub struct CachedStore<S> {
    inner: Arc<S>,
    /// The store's time, for the delay of what is heard.
    clock: Arc<dyn Clock>,
    /// The time that the lease goes by, which nobody sets.
    steady: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    near: RecordCache,
    /// Until when records are recalled, in milliseconds; 0 for not at all.
    usable_until: AtomicU64,
    /// Questions to the store that are on their way, each shared by all who ask the same.
    flights: Mutex<InFlightLoads>,
}

#[derive(Default)]
struct InFlightLoads {
    of: SessionMap<Flight>,
    begun: u64,
}

struct Flight {
    number: u64,
    question: WeakShared<Question>,
}

type Loaded = Result<Option<Session>, StoreError>;
type Question = Pin<Box<dyn Future<Output = Loaded> + Send>>;

impl<S: SessionStore> CachedStore<S> {
    /// Keeps about `sessions` of what `inner` shows, by `clock`, which shows the store's time, and a
    /// `steady` one. Nothing is recalled before it was told that it hears all ends.
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
            near: RecordCache::new(sessions),
            usable_until: AtomicU64::new(0),
            flights: Mutex::default(),
        }
    }

    /// The time, where records may be recalled.
    fn usable(&self) -> Option<Timestamp> {
        let now = self.steady.now();
        (now.as_millis() < self.usable_until.load(Ordering::Acquire)).then_some(now)
    }

    /// Forgets a session, and what questions that are on their way say of it.
    fn forget(&self, id: SessionId) {
        let mut flights = self.flights.lock();
        flights.of.remove(&id);
        self.near.remove(id);
    }

    /// Joins the question for a session, or begins one.
    fn ask(&self, id: SessionId) -> InFlightGuard<'_> {
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.of.get(&id)
            && let Some(question) = flight.question.upgrade()
        {
            return InFlightGuard {
                flights: &self.flights,
                id,
                number: flight.number,
                question: Some(question),
            };
        }
        let inner = Arc::clone(&self.inner);
        let question: Question = Box::pin(async move { inner.load(id).await });
        let question = question.shared();
        flights.begun += 1;
        let number = flights.begun;
        if let Some(weak) = question.downgrade() {
            let question = weak;
            flights.of.insert(id, Flight { number, question });
        }
        InFlightGuard {
            flights: &self.flights,
            id,
            number,
            question: Some(question),
        }
    }

    /// Keeps what a question was answered, unless something was heard of the session meanwhile.
    fn keep(&self, id: SessionId, number: u64, session: Option<&Session>) {
        let mut flights = self.flights.lock();
        if flights
            .of
            .get(&id)
            .is_none_or(|flight| flight.number != number)
        {
            return;
        }
        flights.of.remove(&id);
        if let (Some(session), Some(now)) = (session, self.usable())
            && session.state == State::Live
        {
            // It would take much room, and nobody who recalls a record asks its provider.
            let session = session.clone().without_refresh_token();
            self.near.put(id, session, now);
        }
    }
}

/// A part in a question. The last one who leaves before the answer takes the question along.
struct InFlightGuard<'a> {
    flights: &'a Mutex<InFlightLoads>,
    id: SessionId,
    number: u64,
    question: Option<Shared<Question>>,
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        self.question = None;
        let abandoned = flights.of.get(&self.id).is_some_and(|flight| {
            flight.number == self.number && flight.question.upgrade().is_none()
        });
        if abandoned {
            flights.of.remove(&self.id);
        }
    }
}

impl<S: SessionStore> InvalidationListener for CachedStore<S> {
    fn invalidate(&self, id: SessionId, at: Timestamp) {
        self.forget(id);
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
        let entries = i64::try_from(self.near.len()).unwrap_or(i64::MAX);
        self.metrics.near_cache.entries.set(entries);
    }

    fn missed(&self) {
        let mut flights = self.flights.lock();
        self.usable_until.store(0, Ordering::Release);
        flights.of.clear();
        self.near.clear();
        self.metrics.near_cache.flushes.inc();
        self.metrics.near_cache.usable.set(0);
        self.metrics.near_cache.entries.set(0);
    }
}

#[async_trait]
impl<S: SessionStore> SessionStore for CachedStore<S> {
    async fn load(&self, id: SessionId) -> Loaded {
        if self.usable().is_none() {
            self.metrics.near_cache.bypassed.inc();
            return self.inner.load(id).await;
        }
        self.metrics.near_cache.misses.inc();
        let mut seat = self.ask(id);
        let Some(question) = seat.question.as_mut() else {
            return self.inner.load(id).await;
        };
        let loaded = question.await;
        self.keep(
            id,
            seat.number,
            loaded.as_ref().ok().and_then(Option::as_ref),
        );
        loaded
    }

    async fn touch(&self, id: SessionId, touch: Touch) -> Result<(), StoreError> {
        self.inner.touch(id, touch).await?;
        // Else every check from now on would take a write for due.
        self.near.touch(id, touch.at);
        Ok(())
    }

    async fn end(&self, id: SessionId, ending: Ending) -> Result<EndOutcome, StoreError> {
        self.forget(id);
        let outcome = self.inner.end(id, ending).await;
        // Who asked meanwhile may have been shown it alive. It may have ended in spite of an error.
        self.forget(id);
        outcome
    }

    async fn withdraw(&self, id: SessionId, session: &Session) -> Result<bool, StoreError> {
        self.forget(id);
        let outcome = self.inner.withdraw(id, session).await;
        self.forget(id);
        outcome
    }

    async fn change(&self, id: SessionId, change: &Change) -> Result<ChangeOutcome, StoreError> {
        self.forget(id);
        let outcome = self.inner.change(id, change).await;
        // Who asked meanwhile may have been shown it as it was. It may have changed in spite of an error.
        self.forget(id);
        outcome
    }

    async fn age(&self, id: SessionId, by: Duration) -> Loaded {
        self.forget(id);
        let outcome = self.inner.age(id, by).await;
        self.forget(id);
        outcome
    }

    forward!(self => self.inner; create, keep_tombstone, list, wait_replicated, ready, incarnation, flush);
}

impl<S: SessionStore> LocalStore for CachedStore<S> {
    /// A record may lack an end by another replica for at most the [`LEASE`], and activity at other replicas since the record
    /// was loaded.
    fn load_cached(&self, id: SessionId) -> Option<Session> {
        let session = self.near.get(id, self.usable()?)?;
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
