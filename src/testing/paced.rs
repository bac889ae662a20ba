//! A store whose answers take as many turns as was drawn: on a runtime with one thread, that decides who goes first.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::policy::Policies;
use crate::session::{Session, SessionId, Subject, Timestamp};
use crate::store::memory::MemoryStore;
use crate::store::{
    Creation, Cursor, DeadlineQueue, EndOutcome, Ending, Page, Replication, SessionStore,
    StoreError, Touch,
};

/// The store, and what its next answers take.
pub(crate) struct Paced {
    memory: Arc<MemoryStore>,
    turns: Mutex<VecDeque<u8>>,
}

impl Paced {
    pub(crate) fn new(memory: Arc<MemoryStore>, turns: Vec<u8>) -> Self {
        Self {
            memory,
            turns: Mutex::new(turns.into()),
        }
    }

    async fn turn(&self) {
        let turns = self.turns.lock().pop_front().unwrap_or_default();
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    async fn asked<T>(&self, asked: impl Future<Output = T>) -> T {
        self.turn().await;
        let answer = asked.await;
        self.turn().await;
        answer
    }
}

#[async_trait]
impl SessionStore for Paced {
    async fn load(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        self.asked(self.memory.load(id)).await
    }

    async fn create(&self, id: SessionId, session: &Session) -> Result<Creation, StoreError> {
        self.asked(self.memory.create(id, session)).await
    }

    async fn touch(&self, id: SessionId, touch: Touch) -> Result<(), StoreError> {
        self.asked(self.memory.touch(id, touch)).await
    }

    async fn end(&self, id: SessionId, ending: Ending) -> Result<EndOutcome, StoreError> {
        self.asked(self.memory.end(id, ending)).await
    }

    async fn age(&self, id: SessionId, by: Duration) -> Result<Option<Session>, StoreError> {
        self.asked(self.memory.age(id, by)).await
    }

    async fn list(
        &self,
        subject: &Subject,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.asked(self.memory.list(subject, after, limit)).await
    }

    async fn confirm(&self, id: SessionId) -> Result<Replication, StoreError> {
        self.asked(self.memory.confirm(id)).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.asked(self.memory.ready()).await
    }
}

#[async_trait]
impl DeadlineQueue for Paced {
    async fn enqueue(&self, id: SessionId, at: Timestamp) -> Result<(), StoreError> {
        self.asked(self.memory.enqueue(id, at)).await
    }

    async fn claim(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<SessionId>, StoreError> {
        self.asked(self.memory.claim(now, until, limit)).await
    }

    async fn upcoming(&self, limit: usize) -> Result<Vec<SessionId>, StoreError> {
        self.asked(self.memory.upcoming(limit)).await
    }

    async fn postpone(&self, id: SessionId, at: Timestamp) -> Result<(), StoreError> {
        self.asked(self.memory.postpone(id, at)).await
    }

    async fn hasten(&self, policies: &Policies) -> Result<(), StoreError> {
        self.asked(self.memory.hasten(policies)).await
    }

    async fn settle(&self, id: SessionId, ended: Option<&Session>) -> Result<bool, StoreError> {
        self.asked(self.memory.settle(id, ended)).await
    }
}
