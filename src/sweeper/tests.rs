use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::*;
use crate::actor::Actor;
use crate::session::{EndReason, PolicyName};
use crate::store::Touch;
use crate::testing::{HOUR, MINUTE, SECOND, START, TestService, policy_name, session_of};

/// A sweeper, and one new session of `alice`.
struct Fixture {
    bench: TestService,
    sweeper: Sweeper,
    id: SessionId,
}

impl Fixture {
    async fn new() -> Self {
        let bench = TestService::new();
        let id = bench.sign_in("default").await.id;
        let sweeper = bench.sweeper();
        Self { bench, sweeper, id }
    }

    /// Sets the clock to the start time plus `after`, and sweeps. Returns the number of sessions that were due.
    async fn sweep(&self, after: Duration) -> usize {
        self.bench.set_time_after_start(after);
        let due = self.sweeper.sweep().await.unwrap();
        self.finish_tasks().await;
        due
    }

    /// Waits for background tasks.
    async fn finish_tasks(&self) {
        let tasks = &self.bench.parts.tasks;
        tasks.close();
        tasks.wait().await;
        tasks.reopen();
    }

    async fn touch_at(&self, after: Duration) {
        let session = self.bench.load_record(self.id).await;
        let touch = Touch {
            at: START.plus(after),
            last_seen: session.last_seen,
            retention: session.retention,
            interval: SECOND,
            deadline: START.plus(HOUR),
        };
        self.bench
            .parts
            .stores
            .sessions
            .touch(self.id, touch)
            .await
            .unwrap();
    }

    async fn end_reason(&self) -> Option<EndReason> {
        match self.bench.load_record(self.id).await.state {
            State::Live => None,
            State::Ended(end) => Some(end.reason),
        }
    }

    /// Returns the numbers of first deliveries and of redeliveries.
    fn delivery_counts(&self) -> (u64, u64) {
        let text = self.bench.parts.metrics.render().unwrap();
        let count = |redelivered: &str| {
            let lines = text.lines().filter(|line| {
                line.starts_with("curfew_sessions_ended_total")
                    && line.contains(&format!("redelivered=\"{redelivered}\""))
            });
            let counts = lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
            counts.sum()
        };
        (count("false"), count("true"))
    }
}

#[tokio::test]
async fn a_session_without_requests_ends_once_at_its_deadline() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.sweep(15 * MINUTE - SECOND / 1000).await, 0);
    assert_eq!(fixture.sweep(15 * MINUTE).await, 1);
    assert_eq!(fixture.end_reason().await, Some(EndReason::IdleTimeout));
    for minutes in 16..40 {
        assert_eq!(fixture.sweep(minutes * MINUTE).await, 0);
    }
    assert_eq!(fixture.delivery_counts(), (1, 0));
}

#[tokio::test]
async fn a_used_session_is_processed_once_per_idle_period() {
    let fixture = Fixture::new().await;
    let mut claims = 0;
    for minute in 1..=60 {
        fixture.touch_at(minute * MINUTE).await;
        claims += fixture.sweep(minute * MINUTE).await;
    }
    assert_eq!(fixture.end_reason().await, None);
    assert!((3..=5).contains(&claims), "{claims}");
    fixture.sweep(75 * MINUTE).await;
    assert_eq!(fixture.end_reason().await, Some(EndReason::IdleTimeout));
}

#[tokio::test]
async fn a_used_session_ends_at_the_absolute_limit() {
    let fixture = Fixture::new().await;
    for minute in (0..480).step_by(10) {
        fixture.touch_at(minute * MINUTE).await;
        fixture.sweep(minute * MINUTE).await;
    }
    fixture.touch_at(8 * HOUR - SECOND).await;
    fixture.sweep(8 * HOUR).await;
    assert_eq!(fixture.end_reason().await, Some(EndReason::AbsoluteTimeout));
    assert_eq!(fixture.delivery_counts(), (1, 0));
}

#[tokio::test]
async fn an_acknowledged_end_is_not_published_again() {
    let fixture = Fixture::new().await;
    fixture.bench.set_time_after_start(MINUTE);
    fixture
        .bench
        .lifecycle
        .revoke(fixture.id, &Actor::CURFEW)
        .await
        .unwrap();
    fixture.finish_tasks().await;
    assert_eq!(
        fixture.sweep(20 * MINUTE).await,
        0,
        "an acknowledged session must not be due"
    );
    assert_eq!(fixture.delivery_counts(), (1, 0));
}

/// The process that ended the session stopped before it published the end.
#[tokio::test]
async fn an_unpublished_end_is_redelivered_once() {
    let fixture = Fixture::new().await;
    let ending = EndRequest::revoked(START.plus(15 * MINUTE));
    fixture
        .bench
        .store
        .memory
        .end_unpublished(fixture.id, ending)
        .await;
    assert_eq!(fixture.sweep(15 * MINUTE + SECOND).await, 1);
    assert_eq!(
        fixture.delivery_counts(),
        (0, 0),
        "nothing must be published while the process may still publish the end"
    );
    assert_eq!(fixture.sweep(15 * MINUTE + 9 * SECOND).await, 0);
    assert_eq!(fixture.sweep(15 * MINUTE + DELIVERY_GRACE).await, 1);
    assert_eq!(fixture.delivery_counts(), (0, 1));
    assert_eq!(fixture.sweep(17 * MINUTE).await, 0);
    assert_eq!(fixture.delivery_counts(), (0, 1));
}

/// A process claimed a session and stopped.
#[tokio::test]
async fn the_claim_of_a_dead_process_expires() {
    let fixture = Fixture::new().await;
    let (now, lease) = (
        START.plus(15 * MINUTE),
        START.plus(15 * MINUTE + CLAIM_LEASE),
    );
    let queue = &fixture.bench.parts.stores.deadlines;
    assert_eq!(queue.claim(now, lease, 9).await.unwrap(), [fixture.id]);
    assert_eq!(fixture.sweep(15 * MINUTE + SECOND).await, 0);
    assert_eq!(fixture.sweep(15 * MINUTE + CLAIM_LEASE).await, 1);
    assert_eq!(fixture.end_reason().await, Some(EndReason::IdleTimeout));
}

#[tokio::test]
async fn a_missing_session_leaves_the_queue() {
    let fixture = Fixture::new().await;
    let missing_id = SessionId::from_bytes([9; SessionId::LEN]);
    let queue = &fixture.bench.parts.stores.deadlines;
    queue.enqueue(missing_id, START).await.unwrap();
    assert_eq!(fixture.sweep(SECOND).await, 1);
    assert_eq!(fixture.sweep(HOUR / 5).await, 0);
    assert_eq!(fixture.delivery_counts(), (0, 0));
}

#[tokio::test]
async fn unindexed_sessions_of_a_revoked_subject_end() {
    let fixture = Fixture::new().await;
    let subject = fixture.bench.load_record(fixture.id).await.subject;
    let not_before = START.plus(SECOND);
    fixture
        .bench
        .parts
        .stores
        .cut_offs
        .set_cut_off(&subject, not_before, START)
        .await
        .unwrap();
    fixture.sweep(15 * MINUTE - SECOND).await;
    assert_eq!(
        fixture.end_reason().await,
        None,
        "a session that is not due must not end"
    );
    fixture.sweep(15 * MINUTE).await;
    assert_eq!(fixture.end_reason().await, Some(EndReason::Revoked));
}

#[tokio::test]
async fn a_session_is_processed_again_after_a_store_failure() {
    let fixture = Fixture::new().await;
    fixture.bench.store.all_fail.store(true, Ordering::SeqCst);
    assert_eq!(fixture.sweep(15 * MINUTE).await, 1);
    assert_eq!(fixture.end_reason().await, None);
    fixture.bench.store.all_fail.store(false, Ordering::SeqCst);
    assert_eq!(fixture.sweep(15 * MINUTE + CLAIM_LEASE).await, 1);
    assert_eq!(fixture.end_reason().await, Some(EndReason::IdleTimeout));
    assert_eq!(fixture.delivery_counts(), (1, 0));
}

#[tokio::test]
async fn many_sessions_end_in_one_sweep() {
    let fixture = Fixture::new().await;
    let (stores, policies) = (&fixture.sweeper.stores, &fixture.sweeper.policies);
    for number in 0..3 * BATCH_SIZE as u128 {
        let id = SessionId::from_bytes(number.to_be_bytes());
        let session = Session {
            policy: PolicyName::new("strict").unwrap(),
            ..session_of("bob", START)
        };
        stores.sessions.create(id, &session).await.unwrap();
        let deadline = policies.deadline(&session);
        stores.deadlines.enqueue(id, deadline).await.unwrap();
    }
    assert_eq!(fixture.sweep(5 * MINUTE).await, 3 * BATCH_SIZE);
    assert_eq!(fixture.delivery_counts(), (3 * BATCH_SIZE as u64, 0));
}

#[tokio::test]
async fn a_shorter_limit_takes_effect_without_requests() {
    let mut fixture = Fixture::new().await;
    let (_, default) = fixture.bench.parts.policies.get("default").unwrap();
    let mut shortened = default.clone();
    shortened.limits.idle = Some(5 * MINUTE);
    let policies = BTreeMap::from([(policy_name("default"), shortened)]);
    fixture.bench.set_policies(policies);
    fixture.sweeper = fixture.bench.sweeper();
    assert_eq!(
        fixture.sweep(6 * MINUTE).await,
        0,
        "the session must keep its deadline at 15 minutes for now"
    );
    let Sweeper {
        stores, policies, ..
    } = &fixture.sweeper;
    stores.deadlines.tighten_deadlines(policies).await.unwrap();
    assert_eq!(fixture.sweep(6 * MINUTE).await, 1);
    assert_eq!(fixture.end_reason().await, Some(EndReason::IdleTimeout));
    assert_ended_sessions_are_not_due(&fixture).await;
}

/// Asserts that an acknowledged session end is never due again, even if the policies change.
async fn assert_ended_sessions_are_not_due(fixture: &Fixture) {
    let Sweeper {
        stores, policies, ..
    } = &fixture.sweeper;
    stores.deadlines.tighten_deadlines(policies).await.unwrap();
    assert_eq!(fixture.sweep(HOUR).await, 0);
}
