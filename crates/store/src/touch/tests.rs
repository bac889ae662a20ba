use std::sync::atomic::Ordering;

use super::*;
use crate::clock::ManualClock;
use crate::conformance;
use crate::memory::MemoryStore;
use crate::session::{EndReason, Limits, NewSession, PolicyName};
use crate::testing::{ProbedStore, SECOND, START};

const INTERVAL: Duration = Duration::from_secs(15);
const IDLE_LIMIT: Duration = Duration::from_secs(900);
const ID: SessionId = SessionId::from_bytes([7; SessionId::LEN]);

struct Fixture {
    store: CoalescingStore<ProbedStore>,
    clock: ManualClock,
    metrics: Arc<Metrics>,
}

impl Fixture {
    /// Creates a store with one session that started at `START`.
    async fn new() -> Self {
        let clock = ManualClock::new(START);
        let metrics = Arc::new(Metrics::new().unwrap());
        let inner = ProbedStore::new(&clock);
        let store = CoalescingStore::new(inner, Arc::new(clock.clone()), Arc::clone(&metrics));
        let limits = Limits {
            idle: Some(IDLE_LIMIT),
            absolute: 1000 * INTERVAL,
            max_auth_age: None,
        };
        let new = NewSession {
            remembered: false,
            binding: crate::session::Binding::default(),
            subject: Subject::new("alice").unwrap(),
            attributes: crate::session::Attributes::default(),
            policy: PolicyName::new("default").unwrap(),
        };
        let session = Session::start(new, &limits, 60 * SECOND, START);
        store.create(ID, &session).await.unwrap();
        Self {
            store,
            clock,
            metrics,
        }
    }

    /// Records activity at `START` plus `seconds`, and then writes the touches that are due.
    async fn request(&self, seconds: u32) {
        self.clock.set(START.plus(seconds * SECOND));
        let session = self.store.load(ID).await.unwrap().unwrap();
        let touch = Touch {
            at: self.clock.now(),
            last_seen: session.last_seen,
            retention: session.retention,
            interval: INTERVAL,
            deadline: session.last_seen.plus(IDLE_LIMIT),
        };
        self.store.touch(ID, touch).await.unwrap();
        let _ = self.store.flush_due(self.clock.now()).await;
    }

    async fn flush_at(&self, seconds: u32) {
        self.clock.set(START.plus(seconds * SECOND));
        let _ = self.store.flush_due(self.clock.now()).await;
    }

    /// Returns the seconds from `START` to the last activity in the inner store.
    async fn stored_activity_seconds(&self) -> u64 {
        let session = self.store.inner.memory.load(ID).await.unwrap().unwrap();
        session.last_seen.since(START).as_secs()
    }
}

#[tokio::test]
async fn many_touches_are_one_write_per_interval() {
    let fixture = Fixture::new().await;
    for second in 1..=14 {
        fixture.request(second).await;
    }
    assert_eq!(
        fixture.store.inner.touch_count(),
        0,
        "no touch should be written before the interval is over"
    );
    fixture.flush_at(15).await;
    assert_eq!(
        (
            fixture.store.inner.touch_count(),
            fixture.stored_activity_seconds().await
        ),
        (1, 14)
    );
    for second in 16..=44 {
        fixture.request(second).await;
    }
    fixture.flush_at(60).await;
    assert_eq!(
        (
            fixture.store.inner.touch_count(),
            fixture.stored_activity_seconds().await
        ),
        (3, 44)
    );
    assert_eq!(fixture.store.pending_count(), 0);
}

#[tokio::test]
async fn after_a_pause_the_first_activity_is_written_at_once() {
    let fixture = Fixture::new().await;
    fixture.request(100).await;
    assert_eq!(
        (
            fixture.store.inner.touch_count(),
            fixture.stored_activity_seconds().await
        ),
        (1, 100)
    );
}

#[tokio::test]
async fn this_replica_sees_its_unwritten_activity() {
    let fixture = Fixture::new().await;
    fixture.request(9).await;
    assert_eq!(fixture.stored_activity_seconds().await, 0);
    let seen = START.plus(9 * SECOND);
    assert_eq!(
        fixture.store.load(ID).await.unwrap().unwrap().last_seen,
        seen
    );
    let alice = Subject::new("alice").unwrap();
    let page = fixture.store.list(&alice, None, 10).await.unwrap();
    assert_eq!(page.sessions[0].1.last_seen, seen);
}

#[tokio::test]
async fn an_end_includes_unwritten_activity() {
    let fixture = Fixture::new().await;
    fixture.request(9).await;
    let ending = EndRequest {
        reason: EndReason::IdleTimeout,
        at: START.plus(909 * SECOND),
        unless_touched_since: Some(START.plus(9 * SECOND)),
    };
    let outcome = fixture.store.end(ID, ending).await.unwrap();
    assert!(matches!(outcome, EndOutcome::Ended(_)), "{outcome:?}");
    assert_eq!(
        fixture.store.pending_count(),
        0,
        "the end should flush the touch first"
    );
}

#[tokio::test]
async fn activity_near_the_deadline_is_written_at_once() {
    let fixture = Fixture::new().await;
    let session = fixture.store.load(ID).await.unwrap().unwrap();
    let mut touch = Touch {
        at: START.plus(2 * SECOND),
        last_seen: session.last_seen,
        retention: session.retention,
        interval: INTERVAL,
        deadline: START.plus(18 * SECOND),
    };
    fixture.store.touch(ID, touch).await.unwrap();
    fixture.flush_at(2).await;
    assert_eq!(
        fixture.stored_activity_seconds().await,
        0,
        "more than one interval before the deadline, the touch should wait"
    );
    touch.at = START.plus(4 * SECOND);
    fixture.store.touch(ID, touch).await.unwrap();
    fixture.flush_at(4).await;
    assert_eq!(
        fixture.stored_activity_seconds().await,
        4,
        "less than one interval before the deadline, the touch should be written"
    );
}

#[tokio::test]
async fn a_failing_session_does_not_block_others() {
    let fixture = Fixture::new().await;
    let other = SessionId::from_bytes([8; SessionId::LEN]);
    let session = fixture.store.load(ID).await.unwrap().unwrap();
    fixture.store.create(other, &session).await.unwrap();
    *fixture.store.inner.failing_session.lock() = Some(ID);
    for id in [ID, other] {
        let touch = Touch {
            at: START.plus(20 * SECOND),
            last_seen: START,
            retention: session.retention,
            interval: INTERVAL,
            deadline: START.plus(IDLE_LIMIT),
        };
        fixture.store.touch(id, touch).await.unwrap();
    }
    assert!(fixture.store.flush().await.is_err(), "a touch should fail");
    let stored = fixture.store.inner.memory.load(other).await.unwrap();
    assert_eq!(stored.unwrap().last_seen, START.plus(20 * SECOND));
    assert_eq!(
        (
            fixture.stored_activity_seconds().await,
            fixture.store.pending_count()
        ),
        (0, 1)
    );
}

#[tokio::test]
async fn a_failed_write_is_tried_again_and_keeps_the_latest_activity() {
    let fixture = Fixture::new().await;
    fixture
        .store
        .inner
        .touches_fail
        .store(true, Ordering::SeqCst);
    fixture.request(20).await;
    fixture.request(25).await;
    assert_eq!(
        (
            fixture.stored_activity_seconds().await,
            fixture.store.pending_count()
        ),
        (0, 1)
    );
    fixture
        .store
        .inner
        .touches_fail
        .store(false, Ordering::SeqCst);
    fixture.flush_at(26).await;
    assert_eq!(
        (
            fixture.stored_activity_seconds().await,
            fixture.store.pending_count()
        ),
        (25, 0)
    );
    assert_eq!(fixture.metrics.store.touches_dropped.get(), 0);
}

#[tokio::test]
async fn an_expired_touch_is_dropped_and_counted() {
    let fixture = Fixture::new().await;
    fixture
        .store
        .inner
        .touches_fail
        .store(true, Ordering::SeqCst);
    fixture.request(20).await;
    fixture.flush_at(20 + 960).await;
    assert_eq!(fixture.store.pending_count(), 0);
    assert_eq!(fixture.metrics.store.touches_dropped.get(), 1);
}

#[tokio::test]
async fn a_flush_writes_every_pending_touch() {
    let fixture = Fixture::new().await;
    fixture.request(9).await;
    fixture.store.flush().await.unwrap();
    assert_eq!(
        (
            fixture.stored_activity_seconds().await,
            fixture.store.pending_count()
        ),
        (9, 0)
    );
}

#[tokio::test]
async fn a_cancelled_flush_loses_nothing() {
    let fixture = Fixture::new().await;
    fixture.request(9).await;
    drop(fixture.store.flush());
    let mut flush = Box::pin(fixture.store.flush());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let _ = flush.as_mut().poll(&mut context);
    drop(flush);
    fixture.store.flush().await.unwrap();
    assert_eq!(fixture.stored_activity_seconds().await, 9);
}

#[tokio::test(start_paused = true)]
async fn the_background_task_writes_touches_and_stops_on_request() {
    let fixture = Fixture::new().await;
    fixture.clock.set(START.plus(100 * SECOND));
    let session = fixture.store.load(ID).await.unwrap().unwrap();
    let touch = Touch {
        at: fixture.clock.now(),
        last_seen: session.last_seen,
        retention: session.retention,
        interval: INTERVAL,
        deadline: session.last_seen.plus(IDLE_LIMIT),
    };
    fixture.store.touch(ID, touch).await.unwrap();
    let stop = CancellationToken::new();
    let wait_and_stop = async {
        while fixture.stored_activity_seconds().await != 100 {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        stop.cancel();
    };
    tokio::join!(fixture.store.run(stop.clone()), wait_and_stop);
}

#[tokio::test]
async fn passes_the_conformance_suite() {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(START));
    let metrics = Arc::new(Metrics::new().unwrap());
    let memory = MemoryStore::new(10_000, Arc::clone(&clock));
    conformance::run(&CoalescingStore::new(memory, clock, metrics), START).await;
}

/// A load that started before the activity was written returns an older record. The activity must still be visible.
#[tokio::test]
async fn a_stale_load_hides_no_activity() {
    let fixture = Fixture::new().await;
    let stale_session = fixture.store.load(ID).await.unwrap().unwrap();
    fixture.request(1).await;
    fixture.request(20).await;
    fixture.request(25).await;
    let current = fixture.store.load(ID).await.unwrap().unwrap();
    assert_eq!(current.last_seen, START.plus(25 * SECOND));
    *fixture.store.inner.stale_record.lock() = Some(stale_session);
    fixture.clock.set(START.plus(60 * SECOND));
    let (loaded, _) = tokio::join!(
        fixture.store.load(ID),
        fixture.store.flush_due(fixture.clock.now())
    );
    assert_eq!(
        fixture.stored_activity_seconds().await,
        25,
        "the flush should be faster than the load"
    );
    assert_eq!(loaded.unwrap().unwrap().last_seen, current.last_seen);
}
