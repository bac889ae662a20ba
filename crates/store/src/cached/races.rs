//! Race tests of the near cache. Each test runs concurrent tasks in many orders.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::clock::ManualClock;
use crate::memory::MemoryStore;
use crate::testing::race::{ScheduledStore, explore, pause, scheduled_store, spawn};
use crate::testing::{START, session_of};

const ID: SessionId = SessionId::from_bytes([7; SessionId::LEN]);

/// Returns a usable cache in front of a store with one session.
async fn cache_with_session() -> (Arc<CachedStore<ScheduledStore>>, Arc<MemoryStore>) {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(START));
    let memory = Arc::new(MemoryStore::new(10, Arc::clone(&clock)));
    memory
        .create(ID, &session_of("alice", START))
        .await
        .unwrap();
    let metrics = Arc::new(Metrics::new().unwrap());
    let cached = CachedStore::new(
        scheduled_store(&memory),
        100,
        Arc::clone(&clock),
        clock,
        metrics,
    );
    cached.caught_up_to(START);
    (Arc::new(cached), memory)
}

/// Reads the session like a check: from the cache, then from the store. If `has_ended` was set before the read,
/// neither the cache nor the store may return a live session.
async fn check(cached: Arc<CachedStore<ScheduledStore>>, has_ended: Arc<AtomicBool>) {
    for _ in 0..3 {
        let has_ended = has_ended.load(Ordering::SeqCst);
        let cached_session = cached.load_cached(ID);
        assert!(
            !has_ended || cached_session.is_none(),
            "the near cache should not contain an ended session"
        );
        let loaded = cached.load(ID).await.unwrap().unwrap();
        assert!(
            !has_ended || loaded.state != State::Live,
            "the store should not return an ended session as live"
        );
    }
}

/// Runs two checks and an end concurrently. After the end, the cache must not return the session.
fn check_during_end<E>(end: fn(Arc<CachedStore<ScheduledStore>>, Arc<MemoryStore>) -> E)
where
    E: Future<Output = ()> + 'static,
{
    explore(move || async move {
        let (cached, memory) = cache_with_session().await;
        let has_ended = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for _ in 0..2 {
            tasks.push(spawn(check(Arc::clone(&cached), Arc::clone(&has_ended))));
        }
        let (ending, flag) = (end(Arc::clone(&cached), memory), Arc::clone(&has_ended));
        tasks.push(spawn(async move {
            ending.await;
            flag.store(true, Ordering::SeqCst);
        }));
        for task in tasks {
            task.await.unwrap();
        }
        assert!(cached.load_cached(ID).is_none());
        assert!(
            cached.in_flight.lock().by_id.is_empty(),
            "a finished load should not stay in flight"
        );
    });
}

#[test]
fn the_cache_drops_a_session_that_this_process_ended() {
    check_during_end(|cached, _| async move {
        cached.end(ID, EndRequest::revoked(START)).await.unwrap();
    });
}

#[test]
fn the_cache_drops_a_session_after_its_invalidation() {
    check_during_end(|cached, memory| async move {
        memory.end(ID, EndRequest::revoked(START)).await.unwrap();
        pause().await;
        cached.invalidate(ID, START);
    });
}

#[test]
fn the_cache_is_cleared_when_an_invalidation_may_be_lost() {
    check_during_end(|cached, memory| async move {
        memory.end(ID, EndRequest::revoked(START)).await.unwrap();
        pause().await;
        cached.on_lost_invalidation();
        cached.caught_up_to(START);
    });
}

/// When one waiter is dropped, the load must continue for the other waiters. After that, no load may remain in flight,
/// so that a later load starts a new request.
#[test]
fn a_load_completes_when_another_waiter_is_dropped() {
    for awaits_result in [&[true, false, true][..], &[false, false]] {
        explore(move || load_concurrently(awaits_result));
    }
}

/// Starts one load for each entry of `awaits_result`. A load whose entry is `false` is dropped after its first poll.
async fn load_concurrently(awaits_result: &[bool]) {
    let (cached, _) = cache_with_session().await;
    let mut tasks = Vec::new();
    for is_awaited in awaits_result.iter().copied() {
        let cached = Arc::clone(&cached);
        tasks.push(spawn(async move {
            let load = cached.load(ID);
            if is_awaited {
                assert!(load.await.unwrap().is_some());
            } else {
                let _ = load.now_or_never();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert!(cached.in_flight.lock().by_id.is_empty());
    assert!(cached.load(ID).await.unwrap().is_some());
}
