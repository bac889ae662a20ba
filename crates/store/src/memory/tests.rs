use super::*;
use crate::clock::ManualClock;
use crate::session::{Attributes, Limits, NewSession, PolicyName, Timestamp};
use crate::{Touch, conformance};

const MINUTE: Duration = Duration::from_secs(60);
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn id(number: u8) -> SessionId {
    SessionId::from_bytes([number; SessionId::LEN])
}

fn session(now: Timestamp) -> Session {
    let limits = Limits {
        idle: Some(MINUTE),
        absolute: 60 * MINUTE,
        max_auth_age: None,
    };
    let new = NewSession {
        remembered: false,
        binding: crate::session::Binding::default(),
        subject: Subject::new("alice").unwrap(),
        attributes: Attributes::default(),
        policy: PolicyName::new("default").unwrap(),
    };
    Session::start(new, &limits, MINUTE, now)
}

#[tokio::test]
async fn passes_the_conformance_suite() {
    let store = MemoryStore::new(10_000, Arc::new(ManualClock::new(START)));
    conformance::run(&store, START).await;
    conformance::run_queue(&store, START).await;
    conformance::run_cut_offs(&store, START).await;
    conformance::run_rules(&store, START).await;
    conformance::run_route_checks(&store, START).await;
}

#[tokio::test]
async fn a_full_store_rejects_sessions_until_records_expire() {
    let clock = ManualClock::new(START);
    let store = MemoryStore::new(2, Arc::new(clock.clone()));
    store.create(id(1), &session(START)).await.unwrap();
    store.create(id(2), &session(START)).await.unwrap();
    let result = store.create(id(3), &session(START)).await;
    assert!(matches!(result, Err(StoreError::Full(2))), "{result:?}");
    assert!(
        store.load(id(1)).await.unwrap().is_some(),
        "a full store should not drop a live session"
    );

    let retention = session(START).tombstone_retention();
    let touch = Touch {
        at: START.plus(MINUTE / 2),
        last_seen: START,
        retention,
        interval: MINUTE,
        deadline: START.plus(MINUTE),
    };
    store.touch(id(1), touch).await.unwrap();
    clock.advance(retention);
    assert_eq!(
        store.create(id(3), &session(clock.now())).await.unwrap(),
        CreateOutcome::Created
    );
    assert!(store.load(id(1)).await.unwrap().is_some());
    assert!(store.load(id(2)).await.unwrap().is_none());
}

#[tokio::test]
async fn expired_records_leave_no_index_entries() {
    let clock = ManualClock::new(START);
    let store = MemoryStore::new(10, Arc::new(clock.clone()));
    for number in 0..5 {
        store.create(id(number), &session(START)).await.unwrap();
    }
    assert_eq!(store.reclaim(), 0);
    clock.advance(session(START).tombstone_retention());
    assert_eq!(store.reclaim(), 5);
    assert!(store.is_empty());
    assert!(store.tables.read().subjects.is_empty());
}
