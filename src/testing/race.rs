//! Races, tried in many orders by a deterministic scheduler: a failure names the order, which can be run again.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::session::{Session, SessionId, Subject};
use crate::store::memory::MemoryStore;
use crate::store::{
    Creation, Cursor, EndOutcome, Ending, Page, Replication, SessionStore, StoreError, Touch,
};

/// How many orders of each race are tried.
const ORDERS: usize = 2000;

thread_local! {
    static EXPLORED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs a race.
pub(crate) fn is_explored() -> bool {
    EXPLORED.get()
}

/// Runs a race in many orders: by chance, and by priorities that change a few times, which finds what takes few
/// changes of turn (Burckhardt et al., "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs").
pub(crate) fn explore<F, R>(race: F)
where
    F: Fn() -> R + Send + Sync + Clone + 'static,
    R: Future<Output = ()> + 'static,
{
    EXPLORED.set(true);
    let run = move || shuttle::future::block_on(race());
    shuttle::check_random(run.clone(), ORDERS);
    shuttle::check_pct(run, ORDERS, 3);
    EXPLORED.set(false);
}

/// Others may go first.
pub(crate) async fn pause() {
    shuttle::future::yield_now().await;
}

/// Somebody who acts at the same time.
pub(crate) fn spawn(act: impl Future<Output = ()> + 'static) -> shuttle::future::JoinHandle<()> {
    shuttle::future::spawn_local(act)
}

/// A store that is some way off: each question takes a while to get there, and each answer to come back.
pub(crate) struct Distant(pub(crate) Arc<MemoryStore>);

async fn there_and_back<T>(asked: impl Future<Output = T>) -> T {
    pause().await;
    let answer = asked.await;
    pause().await;
    answer
}

#[async_trait]
impl SessionStore for Distant {
    async fn load(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        there_and_back(self.0.load(id)).await
    }

    async fn create(&self, id: SessionId, session: &Session) -> Result<Creation, StoreError> {
        there_and_back(self.0.create(id, session)).await
    }

    async fn touch(&self, id: SessionId, touch: Touch) -> Result<(), StoreError> {
        there_and_back(self.0.touch(id, touch)).await
    }

    async fn end(&self, id: SessionId, ending: Ending) -> Result<EndOutcome, StoreError> {
        there_and_back(self.0.end(id, ending)).await
    }

    async fn age(&self, id: SessionId, by: Duration) -> Result<Option<Session>, StoreError> {
        there_and_back(self.0.age(id, by)).await
    }

    async fn list(
        &self,
        subject: &Subject,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        there_and_back(self.0.list(subject, after, limit)).await
    }

    async fn confirm(&self, id: SessionId) -> Result<Replication, StoreError> {
        there_and_back(self.0.confirm(id)).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        there_and_back(self.0.ready()).await
    }
}
