//! Support for tests: a store that fails on request, a store behind a slow network, and a scheduler for races.

#[cfg(test)]
pub(crate) mod race;
pub mod remote;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::LocalStore;
use crate::clock::ManualClock;
use crate::memory::MemoryStore;
use crate::session::{Session, SessionId, Subject, Timestamp};
use crate::{
    Change, ChangeOutcome, CreateOutcome, Cursor, EndOutcome, EndRequest, Page, Replication,
    SessionStore, StoreError, Touch,
};
#[cfg(test)]
pub(crate) use curfew_core::testing::{HOUR, MINUTE, SECOND, START, session_of};

/// A memory store that counts its touches and fails on request.
pub struct ProbedStore {
    /// The store that this store wraps.
    pub memory: Arc<MemoryStore>,
    touches: AtomicUsize,
    /// Whether touches fail.
    pub touches_fail: AtomicBool,
    /// The one session whose touches fail.
    pub failing_session: Mutex<Option<SessionId>>,
    /// Whether every operation fails.
    pub all_fail: AtomicBool,
    /// Whether the operation `end` fails.
    pub ends_fail: AtomicBool,
    /// Whether loads never return.
    pub loads_hang: AtomicBool,
    /// An older record, which the next load returns instead of the current record.
    pub stale_record: Mutex<Option<Session>>,
}

impl ProbedStore {
    /// Creates an empty store that uses `clock`.
    #[must_use]
    pub fn new(clock: &ManualClock) -> Self {
        Self {
            memory: Arc::new(MemoryStore::new(10_000, Arc::new(clock.clone()))),
            touches: AtomicUsize::new(0),
            touches_fail: AtomicBool::new(false),
            failing_session: Mutex::new(None),
            all_fail: AtomicBool::new(false),
            ends_fail: AtomicBool::new(false),
            loads_hang: AtomicBool::new(false),
            stale_record: Mutex::new(None),
        }
    }

    /// Returns how many touches were written.
    #[must_use]
    pub fn touch_count(&self) -> usize {
        self.touches.load(Ordering::SeqCst)
    }

    fn fail_if(&self, flag: &AtomicBool) -> Result<(), StoreError> {
        if flag.load(Ordering::SeqCst) || self.all_fail.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable(
                "the test makes this operation fail".to_owned(),
            ));
        }
        Ok(())
    }
}

#[async_trait]
impl SessionStore for ProbedStore {
    async fn load(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        self.fail_if(&self.all_fail)?;
        if self.loads_hang.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let stale = self.stale_record.lock().take();
        if let Some(stale) = stale {
            // Let another task run before the load returns.
            tokio::task::yield_now().await;
            return Ok(Some(stale));
        }
        self.memory.load(id).await
    }

    async fn create(&self, id: SessionId, session: &Session) -> Result<CreateOutcome, StoreError> {
        self.fail_if(&self.all_fail)?;
        self.memory.create(id, session).await
    }

    async fn touch(&self, id: SessionId, touch: Touch) -> Result<(), StoreError> {
        self.fail_if(&self.touches_fail)?;
        if *self.failing_session.lock() == Some(id) {
            return Err(StoreError::Unavailable(
                "the test makes this operation fail".to_owned(),
            ));
        }
        self.touches.fetch_add(1, Ordering::SeqCst);
        self.memory.touch(id, touch).await
    }

    async fn end(&self, id: SessionId, ending: EndRequest) -> Result<EndOutcome, StoreError> {
        self.fail_if(&self.ends_fail)?;
        self.memory.end(id, ending).await
    }

    async fn keep_tombstone(&self, id: SessionId, until: Timestamp) -> Result<(), StoreError> {
        self.fail_if(&self.all_fail)?;
        self.memory.keep_tombstone(id, until).await
    }

    async fn withdraw(&self, id: SessionId, session: &Session) -> Result<bool, StoreError> {
        self.fail_if(&self.all_fail)?;
        self.memory.withdraw(id, session).await
    }

    async fn change(&self, id: SessionId, change: &Change) -> Result<ChangeOutcome, StoreError> {
        self.fail_if(&self.all_fail)?;
        self.memory.change(id, change).await
    }

    async fn age(&self, id: SessionId, by: Duration) -> Result<Option<Session>, StoreError> {
        self.fail_if(&self.all_fail)?;
        self.memory.age(id, by).await
    }

    async fn list(
        &self,
        subject: &Subject,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.fail_if(&self.all_fail)?;
        self.memory.list(subject, after, limit).await
    }

    async fn wait_replicated(&self, id: SessionId) -> Result<Replication, StoreError> {
        self.fail_if(&self.all_fail)?;
        self.memory.wait_replicated(id).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.fail_if(&self.all_fail)
    }

    fn incarnation(&self) -> Option<tokio::sync::watch::Receiver<u64>> {
        None
    }

    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// This store caches nothing.
impl LocalStore for ProbedStore {
    fn load_cached(&self, _: SessionId) -> Option<Session> {
        None
    }

    fn try_buffer_touch(&self, _: SessionId, _: Touch) -> bool {
        false
    }
}
