//! A store that is some way off: each question takes a while to get there, and each answer to come back.

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
    Change, ChangeOutcome, Creation, Cursor, DeadlineQueue, EndOutcome, Ending, Page, Replication,
    SessionStore, StoreError, Touch,
};

/// What happens on the way.
pub trait Way: Send + Sync + 'static {
    /// Lets others go first.
    fn pass(&self) -> impl Future<Output = ()> + Send;
}

/// The store at the end of a way.
pub struct Remote<W> {
    /// The store at the other end.
    pub memory: Arc<MemoryStore>,
    /// What happens on the way.
    pub way: W,
}

impl<W: Way> Remote<W> {
    async fn asked<T>(&self, asked: impl Future<Output = T>) -> T {
        self.way.pass().await;
        let answer = asked.await;
        self.way.pass().await;
        answer
    }
}

/// As many turns as were drawn, one after the other: on a runtime with one thread, that decides who goes first.
pub struct Drawn(Mutex<VecDeque<u8>>);

impl Drawn {
    /// These turns, in this order.
    #[must_use]
    pub fn new(turns: Vec<u8>) -> Self {
        Self(Mutex::new(turns.into()))
    }
}

impl Way for Drawn {
    async fn pass(&self) {
        let turns = self.0.lock().pop_front().unwrap_or_default();
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait]
impl<W: Way> SessionStore for Remote<W> {
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

    async fn keep_tombstone(&self, id: SessionId, until: Timestamp) -> Result<(), StoreError> {
        self.asked(self.memory.keep_tombstone(id, until)).await
    }

    async fn withdraw(&self, id: SessionId, session: &Session) -> Result<bool, StoreError> {
        self.asked(self.memory.withdraw(id, session)).await
    }

    async fn change(&self, id: SessionId, change: &Change) -> Result<ChangeOutcome, StoreError> {
        self.asked(self.memory.change(id, change)).await
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

    fn incarnation(&self) -> Option<tokio::sync::watch::Receiver<u64>> {
        None
    }

    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// It keeps nothing in this process.
impl<W: Way> LocalStore for Remote<W> {
    fn load_cached(&self, _: SessionId) -> Option<Session> {
        None
    }

    fn try_buffer_touch(&self, _: SessionId, _: Touch) -> bool {
        false
    }
}

#[async_trait]
impl<W: Way> DeadlineQueue for Remote<W> {
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

    async fn settle(
        &self,
        id: SessionId,
        ended: Option<&SessionEnded>,
    ) -> Result<bool, StoreError> {
        self.asked(self.memory.settle(id, ended)).await
    }
}
