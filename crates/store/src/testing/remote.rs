//! A store behind a simulated network: each request and each response is delayed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::LocalStore;
use crate::events::SessionEnded;
use crate::memory::MemoryStore;
use crate::policy::Policies;
use crate::session::{Session, SessionId, Subject, Timestamp};
use crate::{
    Change, ChangeOutcome, CreateOutcome, Cursor, DeadlineQueue, EndOutcome, EndRequest, Page,
    Replication, SessionStore, StoreError, Touch,
};

/// The delay of the simulated network.
pub trait NetworkDelay: Send + Sync + 'static {
    /// Waits for the delay of one request or one response.
    fn wait(&self) -> impl Future<Output = ()> + Send;
}

/// A memory store behind a simulated network.
pub struct DelayedStore<D> {
    /// The store behind the network.
    pub memory: Arc<MemoryStore>,
    /// The delay of the network.
    pub delay: D,
}

impl<D: NetworkDelay> DelayedStore<D> {
    async fn with_delay<T>(&self, request: impl Future<Output = T>) -> T {
        self.delay.wait().await;
        let response = request.await;
        self.delay.wait().await;
        response
    }
}

/// Delays that last a number of scheduler turns. A test generates these numbers at random. On a runtime with one
/// thread, the delays determine the order of the tasks.
pub struct RandomDelays(Mutex<VecDeque<u8>>);

impl RandomDelays {
    /// Creates delays that last these numbers of turns, in this order. Later delays last no turn.
    #[must_use]
    pub fn new(turns: Vec<u8>) -> Self {
        Self(Mutex::new(turns.into()))
    }
}

impl NetworkDelay for RandomDelays {
    async fn wait(&self) {
        let turns = self.0.lock().pop_front().unwrap_or_default();
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait]
impl<D: NetworkDelay> SessionStore for DelayedStore<D> {
    async fn load(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        self.with_delay(self.memory.load(id)).await
    }

    async fn create(&self, id: SessionId, session: &Session) -> Result<CreateOutcome, StoreError> {
        self.with_delay(self.memory.create(id, session)).await
    }

    async fn touch(&self, id: SessionId, touch: Touch) -> Result<(), StoreError> {
        self.with_delay(self.memory.touch(id, touch)).await
    }

    async fn end(&self, id: SessionId, ending: EndRequest) -> Result<EndOutcome, StoreError> {
        self.with_delay(self.memory.end(id, ending)).await
    }

    async fn keep_tombstone(&self, id: SessionId, until: Timestamp) -> Result<(), StoreError> {
        self.with_delay(self.memory.keep_tombstone(id, until)).await
    }

    async fn withdraw(&self, id: SessionId, session: &Session) -> Result<bool, StoreError> {
        self.with_delay(self.memory.withdraw(id, session)).await
    }

    async fn change(&self, id: SessionId, change: &Change) -> Result<ChangeOutcome, StoreError> {
        self.with_delay(self.memory.change(id, change)).await
    }

    async fn age(&self, id: SessionId, by: Duration) -> Result<Option<Session>, StoreError> {
        self.with_delay(self.memory.age(id, by)).await
    }

    async fn list(
        &self,
        subject: &Subject,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.with_delay(self.memory.list(subject, after, limit))
            .await
    }

    async fn wait_replicated(&self, id: SessionId) -> Result<Replication, StoreError> {
        self.with_delay(self.memory.wait_replicated(id)).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.with_delay(self.memory.ready()).await
    }

    fn incarnation(&self) -> Option<tokio::sync::watch::Receiver<u64>> {
        None
    }

    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// This store caches nothing.
impl<D: NetworkDelay> LocalStore for DelayedStore<D> {
    fn load_cached(&self, _: SessionId) -> Option<Session> {
        None
    }

    fn try_buffer_touch(&self, _: SessionId, _: Touch) -> bool {
        false
    }
}

#[async_trait]
impl<D: NetworkDelay> DeadlineQueue for DelayedStore<D> {
    async fn enqueue(&self, id: SessionId, at: Timestamp) -> Result<(), StoreError> {
        self.with_delay(self.memory.enqueue(id, at)).await
    }

    async fn claim(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<SessionId>, StoreError> {
        self.with_delay(self.memory.claim(now, until, limit)).await
    }

    async fn peek_upcoming(&self, limit: usize) -> Result<Vec<SessionId>, StoreError> {
        self.with_delay(self.memory.peek_upcoming(limit)).await
    }

    async fn postpone(&self, id: SessionId, at: Timestamp) -> Result<(), StoreError> {
        self.with_delay(self.memory.postpone(id, at)).await
    }

    async fn tighten_deadlines(&self, policies: &Policies) -> Result<(), StoreError> {
        self.with_delay(self.memory.tighten_deadlines(policies))
            .await
    }

    async fn acknowledge(
        &self,
        id: SessionId,
        ended: Option<&SessionEnded>,
    ) -> Result<bool, StoreError> {
        self.with_delay(self.memory.acknowledge(id, ended)).await
    }
}
