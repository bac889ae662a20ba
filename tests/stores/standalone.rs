//! Tests with one Redis server: the conformance suite, and behaviour specific to Redis.

use std::collections::{BTreeMap, BTreeSet};

use curfew::clock::ManualClock;
use curfew::policy::{Policies, Policy};
use curfew::session::{EndReason, State};
use curfew::store::measured::MeasuredStore;
use curfew::store::touch::CoalescingStore;
use curfew::store::{DeadlineQueue, EndOutcome, EndRequest, StoreError};
use curfew::telemetry::Metrics;

use super::*;
use crate::support::redis::RedisServer;

#[tokio::test]
async fn redis_passes_the_conformance_suite() {
    let server = RedisServer::start();
    let store = ConnectedStore::start(settings(&server.url()));
    run_all_suites(&store).await;
}

#[tokio::test]
async fn the_measured_store_counts_answers_of_redis() {
    let server = RedisServer::start();
    let metrics = Arc::new(Metrics::new().unwrap());
    let redis = ConnectedStore::start(settings(&server.url()));
    let measured = MeasuredStore::new(Arc::clone(&redis), Arc::clone(&metrics));
    measured.load(ID).await.unwrap();
    let text = metrics.render().unwrap();
    let counted = r#"curfew_store_operations_total{operation="load",result="ok"} 1"#;
    assert!(text.contains(counted), "{text}");
}

#[tokio::test]
async fn a_check_sends_only_plain_commands() {
    let server = RedisServer::start();
    let store = ConnectedStore::start(settings(&server.url()));
    let session = new_session();
    store.create(ID, &session).await.unwrap();
    // Reads the cut-offs before the measurement, because in the service a background task reads them.
    assert_eq!(store.read_cut_offs().await, Ok(true));
    server.command::<()>(&[b"CONFIG", b"RESETSTAT"]);
    for minutes in 1..10 {
        store.load(ID).await.unwrap();
        let later = session.started.plus(minutes * MINUTE);
        store.touch(ID, touch(&session, later)).await.unwrap();
    }
    let stats: String = server.command(&[b"INFO", b"commandstats"]);
    let mut used_commands: BTreeSet<&str> = stats
        .lines()
        .filter_map(|line| line.strip_prefix("cmdstat_")?.split(':').next())
        .collect();
    // Ignores the commands of this test and of the health check.
    for ignored_command in [
        "time",
        "role",
        "config|resetstat",
        "client|setinfo",
        "info",
        "hello",
        "auth",
    ] {
        used_commands.remove(ignored_command);
    }
    assert_eq!(
        used_commands,
        BTreeSet::from(["get", "pexpireat", "pexpiretime"])
    );
}

#[tokio::test]
async fn the_expiry_contains_the_last_activity_and_all_keys_expire() {
    let server = RedisServer::start();
    let store = ConnectedStore::start(settings(&server.url()));
    let session = new_session();
    store.create(ID, &session).await.unwrap();
    let key = [&b"test:s:"[..], ID.as_bytes()].concat();
    let expiry = |key: &[u8]| -> u64 { server.command(&[b"PEXPIRETIME", key]) };
    assert_eq!(expiry(&key), session.expiry_with_margin().as_millis());
    let later = session.started.plus(5 * MINUTE);
    store.touch(ID, touch(&session, later)).await.unwrap();
    assert_eq!(expiry(&key), later.plus(session.retention).as_millis());
    store
        .end(ID, EndRequest::revoked(later.plus(MINUTE)))
        .await
        .unwrap();
    // Redis deletes the record of the ended session according to its own clock. This clock may differ by some
    // milliseconds from the common time of the replicas.
    let tombstone = later.plus(MINUTE).plus(session.tombstone_retention());
    assert!(expiry(&key).abs_diff(tombstone.as_millis()) < 250);
    let keys: Vec<Vec<u8>> = server.command(&[b"KEYS", b"*"]);
    let permanent_keys: [&[u8]; 3] = [b"test:schema", b"test:timeline", b"test:generation"];
    let session_keys = keys.iter().filter(|key| !permanent_keys.contains(&&***key));
    assert_eq!(
        session_keys.clone().count(),
        2,
        "there should be two keys: the session, and the index of its subject"
    );
    for key in session_keys {
        assert!(key.starts_with(b"test:"));
        assert!(
            expiry(key) > 0,
            "every key of a session should have an expiry"
        );
        assert!(
            !key.windows(5).any(|part| part == b"alice"),
            "no key may contain personal data"
        );
    }
}

#[tokio::test]
async fn a_listing_leaves_out_deleted_sessions() {
    let server = RedisServer::start();
    let store = ConnectedStore::start(settings(&server.url()));
    let session = new_session();
    let other = SessionId::from_bytes([7; 16]);
    store.create(ID, &session).await.unwrap();
    store.create(other, &session).await.unwrap();
    let key = [&b"test:s:"[..], ID.as_bytes()].concat();
    server.command::<()>(&[b"DEL", &key]);
    let page = store.list(&session.subject, None, 10).await.unwrap();
    let ids: Vec<SessionId> = page.sessions.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [other]);
}

#[tokio::test]
async fn an_unreadable_record_is_an_error_and_no_logout() {
    let server = RedisServer::start();
    let store = ConnectedStore::start(settings(&server.url()));
    let key = [&b"test:s:"[..], ID.as_bytes()].concat();
    server.command::<()>(&[b"SET", &key, b"garbage", b"EX", b"100"]);
    let error = store.load(ID).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreadable(_)), "{error}");
    server.command::<()>(&[b"PERSIST", &key]);
    assert!(
        store.load(ID).await.is_err(),
        "a record without an expiry is an error"
    );
    assert!(store.end(ID, EndRequest::revoked(now())).await.is_err());
    server.command::<()>(&[b"DEL", &key]);
    server.command::<()>(&[b"LPUSH", &key, b"x"]);
    assert!(
        store.load(ID).await.is_err(),
        "a value of another Redis type is an error"
    );
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let server = RedisServer::start();
    drop(ConnectedStore::connect(settings(&server.url())).await);
    server.command::<()>(&[b"SET", b"test:schema", b"4"]);
    let store = RedisStore::new(
        settings(&server.url()),
        Arc::new(StoreClock::new()),
        key_ring(),
    );
    let error = store.run(Default::default()).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::NewerSchema { found: 4, known: 3 }),
        "{error}"
    );
}

/// The store drops a connection with mixed-up replies, and no client gets another client's session.
#[tokio::test]
async fn a_record_of_another_session_is_an_error_and_closes_the_connection() {
    let server = RedisServer::start();
    let store = ConnectedStore::connect(settings(&server.url())).await;
    store.create(ID, &new_session()).await.unwrap();
    let other = SessionId::from_bytes([9; 16]);
    let key = |id: SessionId| [&b"test:s:"[..], id.as_bytes()].concat();
    server.command::<()>(&[b"COPY", &key(ID), &key(other)]);
    let before = *store.incarnation().unwrap().borrow();
    let error = store.load(other).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreadable(_)), "{error}");
    let incarnation = store.incarnation().unwrap();
    eventually("the store is connected again", async || {
        *incarnation.borrow() > before
    })
    .await;
    assert!(store.load(ID).await.unwrap().is_some());
}

/// Some time after a listing, the index entries of deleted sessions are removed.
#[tokio::test]
async fn an_index_drops_deleted_sessions() {
    let server = RedisServer::start();
    let store = ConnectedStore::connect(settings(&server.url())).await;
    let session = new_session();
    store.create(ID, &session).await.unwrap();
    let key = [&b"test:s:"[..], ID.as_bytes()].concat();
    server.command::<()>(&[b"DEL", &key]);
    let index: Vec<Vec<u8>> = server.command(&[b"KEYS", b"test:u:*"]);
    let index_size = || -> usize { server.command(&[b"ZCARD", &index[0]]) };
    store.list(&session.subject, None, 10).await.unwrap();
    assert_eq!(
        index_size(),
        1,
        "the index entry must stay for now, because another replica may be creating the session"
    );
    eventually("the index entry is removed", async || index_size() == 0).await;
}

/// Another replica may record activity (a touch) after the decision to end the session. The touch changes only the
/// expiry of the record, so the script compares the expiry.
#[tokio::test]
async fn a_timeout_that_races_with_a_touch_loses_no_touch() {
    let server = RedisServer::start();
    let store = ConnectedStore::start(settings(&server.url()));
    for round in 0_u8..50 {
        let id = SessionId::from_bytes([round; 16]);
        let session = new_session();
        store.create(id, &session).await.unwrap();
        let last_use = session.started.plus(14 * MINUTE);
        let ending = EndRequest {
            reason: EndReason::IdleTimeout,
            at: session.started.plus(15 * MINUTE),
            unless_touched_since: Some(session.last_seen),
        };
        let (touched, ended) = tokio::join!(
            store.touch(id, touch(&session, last_use)),
            store.end(id, ending)
        );
        touched.unwrap();
        let after = store.load(id).await.unwrap().unwrap();
        let expected = match ended.unwrap() {
            EndOutcome::Ended(tombstone) => tombstone,
            _ => Session {
                last_seen: last_use,
                ..session
            },
        };
        assert_eq!(
            after, expected,
            "the record should show either the touch or the session end"
        );
    }
}

/// Two replicas collect touches (recorded activities) of one session. The store keeps the latest touch, whichever
/// replica writes first.
#[tokio::test]
async fn two_replicas_write_touches_in_any_order() {
    let server = RedisServer::start();
    let metrics = Arc::new(Metrics::new().unwrap());
    let session = new_session();
    let clock = ManualClock::new(session.started);
    let replica = || {
        let redis = ConnectedStore::start(settings(&server.url()));
        let store = Arc::clone(&redis);
        let clock = Arc::new(clock.clone());
        (
            redis,
            CoalescingStore::new(store, clock, Arc::clone(&metrics)),
        )
    };
    let ((_one, one), (_two, two)) = (replica(), replica());
    one.create(ID, &session).await.unwrap();
    let at = |seconds| session.started.plus(Duration::from_secs(seconds));
    two.touch(ID, touch(&session, at(30))).await.unwrap();
    one.touch(ID, touch(&session, at(20))).await.unwrap();
    two.flush().await.unwrap();
    one.flush().await.unwrap();
    for replica in [&one, &two] {
        assert_eq!(replica.load(ID).await.unwrap().unwrap().last_seen, at(30));
    }
    one.touch(ID, touch(&session, at(40))).await.unwrap();
    two.end(ID, EndRequest::revoked(at(41))).await.unwrap();
    one.flush().await.unwrap();
    let seen = one.load(ID).await.unwrap().unwrap();
    assert!(
        matches!(seen.state, State::Ended(_)),
        "a flush after the session end must not make the session live"
    );
}

/// The deadline queue is rescheduled once for each new set of policies.
#[tokio::test]
async fn the_deadline_queue_follows_tighter_policies() {
    let server = RedisServer::start();
    let store = ConnectedStore::connect(settings(&server.url())).await;
    let start = now();
    let session = session_at(start);
    let ids: Vec<SessionId> = (0..1000_u128)
        .map(|number| SessionId::from_bytes((number << 64).to_be_bytes()))
        .collect();
    let original_deadline = start.plus(15 * MINUTE);
    for id in &ids {
        store.create(*id, &session).await.unwrap();
        store.enqueue(*id, original_deadline).await.unwrap();
    }
    // Makes the first session due sooner than the new policies do, acknowledges the second, and ends the third.
    let sooner_than_policy = start.plus(MINUTE);
    store.postpone(ids[0], sooner_than_policy).await.unwrap();
    store.acknowledge(ids[1], None).await.unwrap();
    store.end(ids[2], EndRequest::revoked(start)).await.unwrap();
    let policies = |idle: Duration| {
        let name = PolicyName::new("default").unwrap();
        let idle = Some(idle);
        let policy = Policy::of(Limits { idle, ..limits() });
        Policies::new(BTreeMap::from([(name.clone(), policy)]), name).unwrap()
    };
    let due = |id: SessionId| {
        let score: Option<f64> = server.command(&[b"ZSCORE", b"test:{q}deadlines", id.as_bytes()]);
        score.map(|score| Timestamp::from_millis(score as u64))
    };
    store
        .tighten_deadlines(&policies(5 * MINUTE))
        .await
        .unwrap();
    let new_deadline = start.plus(5 * MINUTE);
    let expected = [
        Some(sooner_than_policy),
        None,
        Some(original_deadline),
        Some(new_deadline),
        Some(new_deadline),
    ];
    assert_eq!(
        [ids[0], ids[1], ids[2], ids[3], ids[999]].map(due),
        expected
    );
    // Longer limits change no deadline. The same policies again do not make the store read the queue a second time.
    store
        .tighten_deadlines(&policies(10 * MINUTE))
        .await
        .unwrap();
    assert_eq!(due(ids[3]), Some(new_deadline));
    store.postpone(ids[3], original_deadline).await.unwrap();
    store
        .tighten_deadlines(&policies(10 * MINUTE))
        .await
        .unwrap();
    assert_eq!(due(ids[3]), Some(original_deadline));
    store
        .tighten_deadlines(&policies(5 * MINUTE))
        .await
        .unwrap();
    assert_eq!(due(ids[3]), Some(new_deadline));
}
