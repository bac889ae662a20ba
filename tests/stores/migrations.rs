//! Migrations upgrade records of version 1 while replicas serve checks.

use std::collections::{BTreeMap, BTreeSet};

use curfew::policy::{Policies, Policy};
use curfew::session::State;
use curfew::store::redis::{Migration, Schema};
use curfew::store::{DeadlineQueue, EndRequest};
use curfew::telemetry::{Diagnostics, Metrics};
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::support::redis::RedisServer;

const SESSION_COUNT: u64 = 100_000;

pub fn policies() -> Policies {
    let name = PolicyName::new("default").unwrap();
    let policy = Policy::of(limits());
    Policies::new(BTreeMap::from([(name.clone(), policy)]), name).unwrap()
}

fn id(number: u64) -> SessionId {
    let mut bytes = [7; SessionId::LEN];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    SessionId::from_bytes(bytes)
}

fn record_key(id: SessionId) -> Vec<u8> {
    [&b"test:s:"[..], id.as_bytes()].concat()
}

/// Returns a store with the schema version of an older program.
async fn start_store_of_older_version(server: &RedisServer) -> ConnectedStore {
    server.command::<()>(&[b"SET", b"test:schema", b"2"]);
    ConnectedStore::connect(settings(&server.url())).await
}

/// Returns the session with the values that a record of version 1 can store.
fn as_stored_in_version_1(session: Session) -> Session {
    Session {
        retention: session.tombstone_retention(),
        margin: Duration::ZERO,
        ..session
    }
}

/// Returns the record of a session in version 1, which has no bytes of the session ID.
async fn version_1_record(server: &RedisServer, store: &RedisStore, session: &Session) -> Vec<u8> {
    store.create(ID, session).await.unwrap();
    let record: Vec<u8> = server.command(&[b"GET", &record_key(ID)]);
    assert_eq!((record[0], &record[2..6]), (2, &ID.as_bytes()[..4]));
    server.command::<()>(&[b"FLUSHDB"]);
    [&[1, record[1]], &record[6..]].concat()
}

/// Writes `count` sessions as version 1 did.
fn write_version_1_sessions(server: &RedisServer, record: &[u8], session: &Session, count: u64) {
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let numbers: Vec<u64> = (0..count).collect();
    for chunk in numbers.chunks(1000) {
        let mut pipeline = redis::pipe();
        for number in chunk {
            let set = pipeline.cmd("SET").arg(record_key(id(*number))).arg(record);
            let expires = as_stored_in_version_1(session.clone()).expires();
            set.arg("PXAT").arg(expires.as_millis()).ignore();
        }
        pipeline.exec(&mut connection).unwrap();
    }
    server.command::<()>(&[b"SET", b"test:schema", b"1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_upgrade_100_000_live_sessions_while_checks_go_on() {
    let server = RedisServer::start();
    let session = new_session();
    let store = start_store_of_older_version(&server).await;
    let record = version_1_record(&server, &store, &session).await;
    write_version_1_sessions(&server, &record, &session, SESSION_COUNT);
    let expected = Schema {
        found: 1,
        known: 3,
        is_unfinished: false,
    };
    assert_eq!(store.schema().await.unwrap(), expected);

    // A timeout interrupts the first migration.
    let policies = policies();
    let mut seen = 0;
    let migration = store.migrate(Migration::Upgrade, &policies, |progress| {
        seen = progress.seen
    });
    // A migration first waits until all replicas write the new version.
    let _ = tokio::time::timeout(Duration::from_millis(6_500), migration).await;
    assert!(seen > 0 && seen < SESSION_COUNT as usize, "{seen}");
    let schema_after_timeout = store.schema().await.unwrap();
    assert!(
        schema_after_timeout.found == 3 && schema_after_timeout.is_unfinished,
        "{schema_after_timeout:?}"
    );

    // Two more migrations run at the same time, while sessions are checked, touched and ended.
    let other = ConnectedStore::connect(settings(&server.url())).await;
    let checks = ConnectedStore::connect(settings(&server.url())).await;
    let done = CancellationToken::new();
    let checking = tokio::spawn({
        let (done, session) = (done.clone(), session.clone());
        async move {
            let (mut number, mut checked, mut ended) = (0, 0, BTreeSet::new());
            while !done.is_cancelled() {
                number = (number + 7919) % SESSION_COUNT;
                let loaded = checks.load(id(number)).await.unwrap();
                let loaded = loaded.unwrap_or_else(|| panic!("session {number} is lost"));
                let is_ended = matches!(loaded.state, State::Ended(_));
                assert_eq!(is_ended, ended.contains(&number), "session {number}");
                checked += 1;
                if number % 10 == 0 && !is_ended {
                    let ending = EndRequest::revoked(session.started);
                    checks.end(id(number), ending).await.unwrap();
                    ended.insert(number);
                } else if number % 3 == 0 && !is_ended {
                    let later = session.started.plus(MINUTE);
                    checks
                        .touch(id(number), touch(&session, later))
                        .await
                        .unwrap();
                }
            }
            (checked, ended)
        }
    });
    let (one, two) = tokio::join!(
        store.migrate(Migration::Upgrade, &policies, |_| {}),
        other.migrate(Migration::Upgrade, &policies, |_| {}),
    );
    done.cancel();
    let (checked, ended) = checking.await.unwrap();
    println!(
        "{checked} checks meanwhile, {} ended; {one:?}, {two:?}",
        ended.len()
    );
    assert_eq!((one.unwrap().unreadable, two.unwrap().unreadable), (0, 0));
    assert!(!store.schema().await.unwrap().is_outdated());
    assert!(checked > 100, "{checked}");

    let numbers: Vec<u64> = (0..SESSION_COUNT).collect();
    for chunk in numbers.chunks(500) {
        let loads = chunk.iter().map(|number| store.load(id(*number)));
        for (number, loaded) in chunk.iter().zip(join_all(loads).await) {
            let loaded = loaded.unwrap();
            let loaded = loaded.unwrap_or_else(|| panic!("session {number} is lost"));
            let is_ended = matches!(loaded.state, State::Ended(_));
            assert_eq!(is_ended, ended.contains(number), "session {number}");
        }
    }
    let live = SESSION_COUNT as usize - ended.len();
    let dry_run = store
        .migrate(Migration::DryRun, &policies, |_| {})
        .await
        .unwrap();
    assert_eq!(
        dry_run.upgraded, 0,
        "no record of an old version should be left"
    );
    let queued: usize = server.command(&[b"ZCARD", b"test:{q}deadlines"]);
    assert!(
        queued >= live,
        "{queued} of {live} are in the deadline queue"
    );
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_unreadable_records_stay() {
    let server = RedisServer::start();
    let session = new_session();
    let store = start_store_of_older_version(&server).await;
    let record = version_1_record(&server, &store, &session).await;
    write_version_1_sessions(&server, &record, &session, 20);
    server.command::<()>(&[b"SET", &record_key(id(3)), b"garbage", b"KEEPTTL"]);
    let policies = policies();
    for _ in 0..2 {
        let found = store
            .migrate(Migration::DryRun, &policies, |_| {})
            .await
            .unwrap();
        assert_eq!((found.seen, found.upgraded, found.unreadable), (20, 19, 1));
    }
    let first: Vec<u8> = server.command(&[b"GET", &record_key(id(1))]);
    assert_eq!(first[0], 1);
    store
        .migrate(Migration::Upgrade, &policies, |_| {})
        .await
        .unwrap();
    let garbage: Vec<u8> = server.command(&[b"GET", &record_key(id(3))]);
    assert_eq!(garbage, b"garbage");
    assert!(!store.schema().await.unwrap().is_outdated());
    let session = Some(as_stored_in_version_1(session));
    assert_eq!(
        store.load(id(1)).await.unwrap(),
        session,
        "the last activity is kept"
    );
}

/// Maintenance restores index entries that a fail-over lost, and upgrades older records.
#[tokio::test]
async fn maintenance_upgrades_records_and_rebuilds_the_indexes() {
    let server = RedisServer::start();
    let session = new_session();
    let store = start_store_of_older_version(&server).await;
    let record = version_1_record(&server, &store, &session).await;
    write_version_1_sessions(&server, &record, &session, 50);
    let (diagnostics, metrics) = (Diagnostics::default(), Metrics::new().unwrap());
    let policies = Live::new(policies());
    let replicas = no_other_replicas();
    let maintenance = store.run_maintenance(
        &policies,
        &diagnostics,
        &metrics,
        &replicas,
        CancellationToken::new(),
    );
    let assertions = async {
        let is_complete = async || {
            let listed = store.list(&session.subject, None, 100).await.unwrap();
            let queued: usize = server.command(&[b"ZCARD", b"test:{q}deadlines"]);
            listed.sessions.len() == 50 && queued == 50
        };
        eventually(
            "all sessions are in the deadline queue and in the index",
            is_complete,
        )
        .await;
        let upgraded = async || !store.schema().await.unwrap().is_outdated();
        eventually("the schema version is written", upgraded).await;
        // Deletes the indexes, as if a new primary did not have them.
        let index: Vec<Vec<u8>> = server.command(&[b"KEYS", b"test:u:*"]);
        server.command::<()>(&[b"DEL", b"test:{q}deadlines", &index[0]]);
        server.command::<()>(&[b"SET", b"test:progress:rebuilt", b"another"]);
        server.command::<()>(&[b"CLIENT", b"KILL", b"TYPE", b"normal"]);
        eventually("the indexes are rebuilt", is_complete).await;
        let due = session.idle_deadline(&limits());
        let claimed = store.claim(due, due.plus(MINUTE), 100).await.unwrap();
        assert_eq!(
            claimed.len(),
            50,
            "each session should be in the queue at its own deadline"
        );
    };
    tokio::select! {
        () = maintenance => unreachable!("the maintenance ended although it was not stopped"),
        () = assertions => {}
    }
    let lines = diagnostics.recommendations();
    assert!(
        lines.iter().any(|line| line.contains("appendonly")),
        "{lines:?}"
    );
}
