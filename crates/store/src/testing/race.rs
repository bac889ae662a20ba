//! Runs race tests in many orders with a deterministic scheduler. A test that fails prints its order, so that a
//! developer can replay it.

use std::cell::Cell;
use std::sync::Arc;

use super::remote::{DelayedStore, NetworkDelay};
use crate::memory::MemoryStore;

/// How many orders each scheduler tries for each race.
const ORDERS_PER_SCHEDULER: usize = 2000;

thread_local! {
    static IN_RACE: Cell<bool> = const { Cell::new(false) };
}

/// Returns whether this thread runs inside [`explore`].
pub(crate) fn is_in_race() -> bool {
    IN_RACE.get()
}

/// Runs a race in many orders: first with a random scheduler, then with a scheduler that gives tasks random priorities.
/// The second scheduler finds bugs that need few context switches (Burckhardt et al., "A Randomized Scheduler with
/// Probabilistic Guarantees of Finding Bugs").
pub(crate) fn explore<F, R>(race: F)
where
    F: Fn() -> R + Send + Sync + Clone + 'static,
    R: Future<Output = ()> + 'static,
{
    IN_RACE.set(true);
    let run_once = move || shuttle::future::block_on(race());
    shuttle::check_random(run_once.clone(), ORDERS_PER_SCHEDULER);
    shuttle::check_pct(run_once, ORDERS_PER_SCHEDULER, 3);
    IN_RACE.set(false);
}

/// Lets the scheduler run other tasks before the current task continues.
pub(crate) async fn pause() {
    shuttle::future::yield_now().await;
}

/// Starts a concurrent task.
pub(crate) fn spawn(task: impl Future<Output = ()> + 'static) -> shuttle::future::JoinHandle<()> {
    shuttle::future::spawn_local(task)
}

/// A network delay during which the scheduler may run other tasks.
pub(crate) struct SchedulerDelay;

impl NetworkDelay for SchedulerDelay {
    async fn wait(&self) {
        pause().await;
    }
}

/// A memory store with a simulated network delay, during which the scheduler can run other tasks.
pub(crate) type ScheduledStore = DelayedStore<SchedulerDelay>;

pub(crate) fn scheduled_store(memory: &Arc<MemoryStore>) -> ScheduledStore {
    DelayedStore {
        memory: Arc::clone(memory),
        delay: SchedulerDelay,
    }
}
