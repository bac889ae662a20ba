//! The stores on a real Redis: the conformance suite on each, and what is Redis' own.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use curfew::clock::{ManualClock, Stopwatch, SystemClock};
use curfew::secret::Secret;
use curfew::session::{
    Attributes, EndReason, Limits, NewSession, PolicyName, Session, SessionId, Subject,
};
use curfew::store::measured::MeasuredStore;
use curfew::store::redis::{ConnectError, RedisSettings, RedisStore, Tls};
use curfew::store::touch::CoalescingStore;
use curfew::store::{Ending, SessionStore, StoreError, Touch, conformance};
use curfew::telemetry::Metrics;
use support::redis::RedisServer;
use support::tls::Certificates;
use support::{eventually, now};

const MINUTE: Duration = Duration::from_secs(60);
const ID: SessionId = SessionId::from_bytes(*b"0123456789abcdef");

fn settings(url: &str) -> RedisSettings {
    RedisSettings {
        url: Secret::new(url.to_owned()),
        username: None,
        password: None,
        tls: Tls::default(),
        prefix: "test:".to_owned(),
        connect_timeout: Duration::from_secs(10),
        command_timeout: Duration::from_secs(10),
    }
}

fn store(settings: &RedisSettings) -> RedisStore {
    RedisStore::new(settings).unwrap()
}

fn session() -> Session {
    let limits = Limits {
        idle: Some(15 * MINUTE),
        absolute: 720 * MINUTE,
        max_auth_age: None,
    };
    let new = NewSession {
        subject: Subject::new("alice").unwrap(),
        attributes: Attributes::new(BTreeMap::new()).unwrap(),
        policy: PolicyName::new("default").unwrap(),
    };
    Session::start(new, &limits, 60 * MINUTE, now())
}

const fn touch(session: &Session, at: curfew::session::Timestamp) -> Touch {
    Touch {
        at,
        last_seen: session.last_seen,
        retention: session.retention,
        interval: MINUTE,
    }
}

const fn revoke(at: curfew::session::Timestamp) -> Ending {
    Ending {
        reason: EndReason::Revoked,
        at,
        unless_touched_since: None,
    }
}

#[tokio::test]
async fn redis_passes_the_conformance_suite() {
    let server = RedisServer::start();
    conformance::run(&store(&settings(&server.url())), now()).await;
}

#[tokio::test]
async fn every_wrapper_passes_the_conformance_suite_on_redis() {
    let server = RedisServer::start();
    let metrics = Arc::new(Metrics::new().unwrap());
    let measured = MeasuredStore::new(store(&settings(&server.url())), Arc::clone(&metrics));
    conformance::run(&measured, now()).await;
    let clock = Arc::new(SystemClock);
    let coalescing = CoalescingStore::new(measured, clock, Arc::clone(&metrics));
    conformance::run(&coalescing, now()).await;
    let text = metrics.render().unwrap();
    let counted = r#"curfew_store_operations_total{operation="load",result="ok"}"#;
    assert!(text.contains(counted), "{text}");
}

#[tokio::test]
async fn an_acl_user_needs_no_more_than_the_documented_rights() {
    let server = RedisServer::start();
    let rights = documented_rights();
    let mut words: Vec<&[u8]> = vec![b"ACL", b"SETUSER", b"curfew", b"on", b">s3cret"];
    words.extend(rights.split_whitespace().map(str::as_bytes));
    server.command::<()>(&words);
    let settings = RedisSettings {
        username: Some("curfew".to_owned()),
        password: Some(Secret::new("s3cret".to_owned())),
        prefix: "curfew:".to_owned(),
        ..settings(&server.url())
    };
    let store = store(&settings);
    store.probe(&settings).await.unwrap();
    conformance::run(&store, now()).await;
    let denied: i64 = server.command::<Vec<redis::Value>>(&[b"ACL", b"LOG"]).len() as i64;
    assert_eq!(denied, 0, "nothing was tried that is not allowed");

    let wrong = RedisSettings {
        password: Some(Secret::new("not-the-password".to_owned())),
        ..settings
    };
    let error = store.probe(&wrong).await.unwrap_err().to_string();
    assert!(error.contains("authentication failed"), "{error}");
    assert!(!error.contains("not-the-password"), "{error}");
}

/// The rights that docs/configuration.md tells the reader to grant.
fn documented_rights() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let text = std::fs::read_to_string(path).unwrap();
    let start = "ACL SETUSER curfew on >PASSWORD ";
    let line = text.lines().find_map(|line| line.strip_prefix(start));
    line.expect("the page has the command").to_owned()
}

#[tokio::test]
async fn redis_over_tls_passes_the_conformance_suite() {
    let certificates = Certificates::generate();
    let port = support::free_port().to_string();
    let _server = RedisServer::with(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &certificates.text("server.pem"),
        "--tls-key-file",
        &certificates.text("server.key"),
        "--tls-ca-cert-file",
        &certificates.text("ca.pem"),
        "--tls-auth-clients",
        "no",
    ]);
    install_tls();
    let trusting = RedisSettings {
        tls: Tls {
            ca: Some(std::fs::read(certificates.path("ca.pem")).unwrap()),
        },
        ..settings(&format!("rediss://127.0.0.1:{port}/"))
    };
    let store = store(&trusting);
    store.probe(&trusting).await.unwrap();
    conformance::run(&store, now()).await;

    let other = Certificates::generate();
    let doubting = RedisSettings {
        tls: Tls {
            ca: Some(std::fs::read(other.path("ca.pem")).unwrap()),
        },
        ..trusting.clone()
    };
    let error = store.probe(&doubting).await.unwrap_err();
    assert!(matches!(error, ConnectError::Server(_)), "{error}");
    let unsafe_settings = RedisSettings {
        url: Secret::new(format!("rediss://127.0.0.1:{port}/#insecure")),
        ..trusting
    };
    assert!(unsafe_settings.check().is_err());
}

/// As the program does it.
fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[tokio::test]
async fn a_check_is_plain_commands() {
    let server = RedisServer::start();
    let store = store(&settings(&server.url()));
    let session = session();
    store.create(ID, &session).await.unwrap();
    server.command::<()>(&[b"CONFIG", b"RESETSTAT"]);
    for minutes in 1..10 {
        store.load(ID).await.unwrap();
        let later = session.started.plus(minutes * MINUTE);
        store.touch(ID, touch(&session, later)).await.unwrap();
    }
    let stats: String = server.command(&[b"INFO", b"commandstats"]);
    let mut used: BTreeSet<&str> = stats
        .lines()
        .filter_map(|line| line.strip_prefix("cmdstat_")?.split(':').next())
        .collect();
    // This test's own.
    for own in [
        "config|resetstat",
        "client|setinfo",
        "info",
        "hello",
        "auth",
    ] {
        used.remove(own);
    }
    assert_eq!(used, BTreeSet::from(["get", "pexpireat", "pexpiretime"]));
}

#[tokio::test]
async fn last_activity_lives_in_the_expiry_and_the_keys_go_by_themselves() {
    let server = RedisServer::start();
    let store = store(&settings(&server.url()));
    let session = session();
    store.create(ID, &session).await.unwrap();
    let key = [&b"test:s:"[..], ID.as_bytes()].concat();
    let expiry = |key: &[u8]| -> u64 { server.command(&[b"PEXPIRETIME", key]) };
    assert_eq!(expiry(&key), session.expires().as_millis());
    let later = session.started.plus(5 * MINUTE);
    store.touch(ID, touch(&session, later)).await.unwrap();
    assert_eq!(expiry(&key), later.plus(session.retention).as_millis());
    store.end(ID, revoke(later.plus(MINUTE))).await.unwrap();
    let tombstone = later.plus(MINUTE).plus(session.retention);
    assert_eq!(expiry(&key), tombstone.as_millis());
    let keys: Vec<Vec<u8>> = server.command(&[b"KEYS", b"*"]);
    assert_eq!(keys.len(), 2, "the session and its subject's index");
    for key in &keys {
        assert!(key.starts_with(b"test:"));
        assert!(expiry(key) > 0, "every key of a session goes by itself");
        assert!(
            !key.windows(5).any(|part| part == b"alice"),
            "no personal data in a key"
        );
    }
}

#[tokio::test]
async fn a_listing_leaves_out_what_is_gone() {
    let server = RedisServer::start();
    let store = store(&settings(&server.url()));
    let session = session();
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
async fn a_record_that_can_not_be_read_is_an_error_and_no_logout() {
    let server = RedisServer::start();
    let store = store(&settings(&server.url()));
    let key = [&b"test:s:"[..], ID.as_bytes()].concat();
    server.command::<()>(&[b"SET", &key, b"garbage", b"EX", b"100"]);
    let error = store.load(ID).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreadable(_)), "{error}");
    server.command::<()>(&[b"PERSIST", &key]);
    assert!(store.load(ID).await.is_err(), "without an expiry");
    assert!(store.end(ID, revoke(now())).await.is_err());
    server.command::<()>(&[b"DEL", &key]);
    server.command::<()>(&[b"LPUSH", &key, b"x"]);
    assert!(store.load(ID).await.is_err(), "of another type");
}

#[tokio::test]
async fn a_lost_connection_is_made_again() {
    let mut server = RedisServer::start();
    let store = store(&RedisSettings {
        command_timeout: Duration::from_millis(200),
        ..settings(&server.url())
    });
    eventually("connected", async || store.ready().await.is_ok()).await;
    let session = session();
    store.create(ID, &session).await.unwrap();
    server.command::<()>(&[b"CLIENT", b"KILL", b"TYPE", b"normal"]);
    eventually("connected again", async || store.ready().await.is_ok()).await;
    for _ in 0..2 {
        server.stop();
        let error = store.load(ID).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        server.start_again();
        eventually("connected again", async || store.ready().await.is_ok()).await;
        assert_eq!(store.load(ID).await.unwrap().as_ref(), Some(&session));
    }
}

#[tokio::test]
async fn a_server_that_hangs_costs_no_more_than_the_budget() {
    let server = RedisServer::start();
    let store = store(&RedisSettings {
        command_timeout: Duration::from_millis(100),
        ..settings(&server.url())
    });
    eventually("connected", async || store.ready().await.is_ok()).await;
    server.freeze();
    let waited = Stopwatch::start();
    assert!(store.load(ID).await.is_err());
    assert!(waited.seconds() < 2.0, "{} s", waited.seconds());
    server.thaw();
    eventually("answers again", async || store.load(ID).await.is_ok()).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error() {
    let store = store(&settings(&format!(
        "redis://127.0.0.1:{}/",
        support::free_port()
    )));
    let waited = tokio::time::timeout(Duration::from_secs(15), store.load(ID)).await;
    let error = waited.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let server = RedisServer::start();
    let settings = settings(&server.url());
    let store = store(&settings);
    store.probe(&settings).await.unwrap();
    store.probe(&settings).await.unwrap();
    server.command::<()>(&[b"SET", b"test:schema", b"2"]);
    let error = store.probe(&settings).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::NewerSchema { found: 2, known: 1 }),
        "{error}"
    );
}

/// Between the decision and its record another replica may have seen the session used: only the
/// expiry shows that, and the script compares it.
#[tokio::test]
async fn a_time_out_and_a_touch_race_without_losing_the_touch() {
    let server = RedisServer::start();
    let store = store(&settings(&server.url()));
    for round in 0_u8..50 {
        let id = SessionId::from_bytes([round; 16]);
        let session = session();
        store.create(id, &session).await.unwrap();
        let used = session.started.plus(14 * MINUTE);
        let ending = Ending {
            reason: EndReason::IdleTimeout,
            at: session.started.plus(15 * MINUTE),
            unless_touched_since: Some(session.last_seen),
        };
        let (touched, ended) = tokio::join!(
            store.touch(id, touch(&session, used)),
            store.end(id, ending)
        );
        touched.unwrap();
        let after = store.load(id).await.unwrap().unwrap();
        let expected = match ended.unwrap() {
            curfew::store::EndOutcome::Ended(tombstone) => tombstone,
            _ => Session {
                last_seen: used,
                ..session
            },
        };
        assert_eq!(after, expected, "either it was used, or it has ended");
    }
}

/// Two replicas gather activity for one session; whatever order their writes come in, the store
/// keeps the latest.
#[tokio::test]
async fn two_replicas_flush_in_any_order() {
    let server = RedisServer::start();
    let metrics = Arc::new(Metrics::new().unwrap());
    let session = session();
    let clock = ManualClock::new(session.started);
    let replica = || {
        let redis = store(&settings(&server.url()));
        CoalescingStore::new(redis, Arc::new(clock.clone()), Arc::clone(&metrics))
    };
    let (one, two) = (replica(), replica());
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
    two.end(ID, revoke(at(41))).await.unwrap();
    one.flush().await.unwrap();
    let seen = one.load(ID).await.unwrap().unwrap();
    assert!(
        matches!(seen.state, curfew::session::State::Ended(_)),
        "a late flush revives nobody"
    );
}
