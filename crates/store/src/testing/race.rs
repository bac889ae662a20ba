//! Races, tried in many orders by a deterministic scheduler: a failure names the order, which can be run again.

use std::cell::Cell;
use std::sync::Arc;

use super::remote::{Remote, Way};
use crate::memory::MemoryStore;

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

/// A way on which the scheduler may go on with others.
pub(crate) struct Scheduled;

impl Way for Scheduled {
    async fn pass(&self) {
        pause().await;
    }
}

/// The store at the end of it.
pub(crate) type Distant = Remote<Scheduled>;

pub(crate) fn distant(memory: &Arc<MemoryStore>) -> Distant {
    Remote {
        memory: Arc::clone(memory),
        way: Scheduled,
    }
}
