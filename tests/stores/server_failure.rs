//! Tests the store with a Redis that is absent, hangs, is full or rejects writes.

use curfew::clock::Stopwatch;
use curfew::store::{EndOutcome, EndRequest, StoreError};

use super::*;
use crate::support::redis::RedisServer;

#[tokio::test]
async fn the_store_reconnects_after_a_lost_connection() {
    let mut server = RedisServer::start();
    let store = ConnectedStore::start(RedisSettings {
        command_timeout: Duration::from_millis(200),
        ..settings(&server.url())
    });
    eventually("the store is connected", async || {
        store.ready().await.is_ok()
    })
    .await;
    let session = new_session();
    store.create(ID, &session).await.unwrap();
    server.command::<()>(&[b"CLIENT", b"KILL", b"TYPE", b"normal"]);
    eventually("the store is connected again", async || {
        store.ready().await.is_ok()
    })
    .await;
    for _ in 0..2 {
        server.stop();
        let error = store.load(ID).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        server.start_again();
        eventually("the store is connected again", async || {
            store.ready().await.is_ok()
        })
        .await;
        assert_eq!(store.load(ID).await.unwrap().as_ref(), Some(&session));
    }
}

#[tokio::test]
async fn a_hanging_server_costs_no_more_than_the_command_timeout() {
    let server = RedisServer::start();
    let store = ConnectedStore::start(RedisSettings {
        command_timeout: Duration::from_millis(100),
        ..settings(&server.url())
    });
    eventually("the store is connected", async || {
        store.ready().await.is_ok()
    })
    .await;
    server.freeze();
    let waited = Stopwatch::start();
    assert!(store.load(ID).await.is_err());
    assert!(waited.seconds() < 2.0, "{} s", waited.seconds());
    server.thaw();
    eventually("the store answers again", async || {
        store.load(ID).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn an_absent_server_is_an_error() {
    let port = crate::support::free_port();
    let store = ConnectedStore::start(RedisSettings {
        command_timeout: Duration::from_millis(500),
        ..settings(&format!("redis://127.0.0.1:{port}/"))
    });
    let error = store.load(ID).await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_full_server_accepts_no_new_session_and_lets_existing_sessions_end() {
    let server = RedisServer::start();
    let store = ConnectedStore::connect(settings(&server.url())).await;
    let session = new_session();
    store.create(ID, &session).await.unwrap();
    server.command::<()>(&[b"CONFIG", b"SET", b"maxmemory", b"1"]);
    let other = SessionId::from_bytes([9; 16]);
    let refused = store.create(other, &session).await.unwrap_err();
    assert!(matches!(refused, StoreError::OutOfMemory(_)), "{refused}");
    let later = session.started.plus(MINUTE);
    store.touch(ID, touch(&session, later)).await.unwrap();
    assert_eq!(store.load(ID).await.unwrap().unwrap().last_seen, later);
    let ended = store.end(ID, EndRequest::revoked(later)).await.unwrap();
    assert!(matches!(ended, EndOutcome::Ended(_)), "{ended:?}");
}

/// If Redis rejects writes because it has too little memory or too few replicas, checks continue, even after a
/// reconnect.
#[tokio::test]
async fn the_store_connects_to_a_server_that_rejects_writes() {
    let server = RedisServer::start();
    let first = ConnectedStore::connect(settings(&server.url())).await;
    first.create(ID, &new_session()).await.unwrap();
    for (setting, rejecting_value, accepting_value) in
        [("maxmemory", "1", "0"), ("min-replicas-to-write", "1", "0")]
    {
        let set = |value: &str| {
            let words = ["CONFIG", "SET", setting, value].map(str::as_bytes);
            server.command::<()>(&words);
        };
        set(rejecting_value);
        let store = ConnectedStore::connect(settings(&server.url())).await;
        assert!(store.load(ID).await.unwrap().is_some(), "{setting}");
        set(accepting_value);
        let other_prefix = RedisSettings {
            prefix: format!("{setting}:"),
            ..settings(&server.url())
        };
        set(rejecting_value);
        let store = ConnectedStore::connect(other_prefix).await;
        assert_eq!(
            store.load(ID).await,
            Ok(None),
            "no key with that prefix exists"
        );
        set(accepting_value);
    }
}
