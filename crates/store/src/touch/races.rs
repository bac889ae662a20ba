//! Race tests of write-behind touches. Each test runs concurrent tasks in many orders.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::clock::ManualClock;
use crate::memory::MemoryStore;
use crate::session::{EndReason, State};
use crate::testing::race::{ScheduledStore, explore, pause, scheduled_store, spawn};
use crate::testing::{HOUR, SECOND, START, session_of};

const ID: SessionId = SessionId::from_bytes([7; SessionId::LEN]);

struct Race {
    store: CoalescingStore<ScheduledStore>,
    memory: Arc<MemoryStore>,
    clock: ManualClock,
    /// The latest activity that the store accepted, in seconds since the start.
    latest_activity: AtomicU64,
}

impl Race {
    async fn new() -> Arc<Self> {
        let clock = ManualClock::new(START);
        let memory = Arc::new(MemoryStore::new(10, Arc::new(clock.clone())));
        memory
            .create(ID, &session_of("alice", START))
            .await
            .unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        Arc::new(Self {
            store: CoalescingStore::new(scheduled_store(&memory), Arc::new(clock.clone()), metrics),
            memory,
            clock,
            latest_activity: AtomicU64::new(0),
        })
    }

    /// Records activity `second` seconds after the start. Tests that a load shows all activity so far.
    async fn request(&self, second: u32) {
        let accepted_activity = self.latest_activity.load(Ordering::SeqCst);
        let session = self.store.load(ID).await.unwrap().unwrap();
        if session.state != State::Live {
            return;
        }
        let seen = session.last_seen.since(START).as_secs();
        assert!(
            seen >= accepted_activity,
            "a load should show recorded activity: {seen} < {accepted_activity}"
        );
        let now = START.plus(second * SECOND);
        self.clock.set(now.max(self.clock.now()));
        let touch = Touch {
            at: now,
            last_seen: session.last_seen,
            retention: session.retention,
            interval: 5 * SECOND,
            deadline: START.plus(HOUR),
        };
        self.store.touch(ID, touch).await.unwrap();
        self.latest_activity
            .fetch_max(second.into(), Ordering::SeqCst);
    }

    async fn stored_session(&self) -> Session {
        self.memory.load(ID).await.unwrap().unwrap()
    }
}

/// Runs requests on several connections, and two concurrent flushes.
async fn run_requests(race: &Arc<Race>) {
    let mut tasks = Vec::new();
    for seconds in [[1, 7, 13], [2, 8, 20]] {
        let race = Arc::clone(race);
        tasks.push(spawn(async move {
            for second in seconds {
                race.request(second).await;
            }
        }));
    }
    for _ in 0..2 {
        let race = Arc::clone(race);
        tasks.push(spawn(async move {
            for _ in 0..2 {
                race.store.flush_due(race.clock.now()).await.unwrap();
                pause().await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[test]
fn no_activity_is_hidden_or_lost() {
    explore(|| async {
        let race = Race::new().await;
        run_requests(&race).await;
        race.store.flush().await.unwrap();
        assert_eq!(
            race.stored_session().await.last_seen,
            START.plus(20 * SECOND)
        );
        assert_eq!(race.store.pending_count(), 0);
    });
}

/// A replica decides from an earlier read that a session has timed out. The session ends only if there was no activity
/// since this read.
#[test]
fn an_active_session_does_not_time_out() {
    explore(|| async {
        let race = Race::new().await;
        let replica = Arc::clone(&race);
        let ender = spawn(async move {
            let seen = replica.store.load(ID).await.unwrap().unwrap().last_seen;
            pause().await;
            let latest_activity = replica.latest_activity.load(Ordering::SeqCst);
            let ending = EndRequest {
                reason: EndReason::IdleTimeout,
                at: replica.clock.now(),
                unless_touched_since: Some(seen),
            };
            let outcome = replica.store.end(ID, ending).await.unwrap();
            if matches!(outcome, EndOutcome::Ended(_)) {
                let seen = seen.since(START).as_secs();
                assert!(
                    latest_activity <= seen,
                    "timed out at {seen}, active at {latest_activity}"
                );
            }
        });
        run_requests(&race).await;
        ender.await.unwrap();
        race.store.flush().await.unwrap();
        let stored = race.stored_session().await;
        let is_live = stored.state == State::Live;
        assert!(!is_live || stored.last_seen == START.plus(20 * SECOND));
        assert_eq!(
            race.store.pending_count(),
            0,
            "no touch should stay pending"
        );
    });
}
