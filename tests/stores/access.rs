//! Tests the rights, the password and the certificates with which Curfew connects to Redis.

use curfew::secret::Secret;
use curfew::store::DeadlineQueue;
use curfew::store::redis::Migration;
use curfew::telemetry::{Diagnostics, Metrics};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::support::redis::RedisServer;
use crate::support::tls::Certificates;

#[tokio::test]
async fn an_acl_user_needs_no_more_than_the_documented_rights() {
    let server = RedisServer::start();
    let rights = documented_rights();
    let mut words: Vec<&[u8]> = vec![b"ACL", b"SETUSER", b"curfew", b"on", b">s3cret"];
    words.extend(rights.split_whitespace().map(str::as_bytes));
    server.command::<()>(&words);
    let settings = RedisSettings {
        username: Some("curfew".to_owned()),
        password: Password::Inline(Secret::new("s3cret".to_owned())),
        wait_replicas: 1,
        wait_timeout: Duration::from_millis(1),
        stream_length: Some(10),
        ..settings(&server.url())
    };
    let store = ConnectedStore::connect(settings.clone()).await;
    run_all_suites(&store).await;
    let policies = Live::new(super::migrations::policies());
    let diagnostics = Diagnostics::default();
    let (metrics, stop) = (Metrics::new().unwrap(), CancellationToken::new());
    let is_rebuilt = async || -> bool {
        let rebuilt: bool = server.command(&[b"EXISTS", b"test:progress:rebuilt"]);
        rebuilt && metrics.store.cut_offs_fresh.get() == 1
    };
    let replicas = no_other_replicas();
    tokio::select! {
        () = store.follow_cut_offs(&policies, &diagnostics, &metrics, stop.clone()) => {
            unreachable!("the maintenance ended although it was not stopped")
        }
        () = store.run_maintenance(&policies, &diagnostics, &metrics, &replicas, stop) => unreachable!("the maintenance ended although it was not stopped"),
        () = eventually("the indexes are rebuilt", is_rebuilt) => {}
    }
    store
        .migrate(Migration::Upgrade, &policies.current(), |_| {})
        .await
        .unwrap();
    store.tighten_deadlines(&policies.current()).await.unwrap();
    let denied = server.command::<Vec<redis::Value>>(&[b"ACL", b"LOG"]);
    assert!(
        denied.is_empty(),
        "the ACL denied these commands: {denied:?}"
    );

    let wrong = ConnectedStore::start(RedisSettings {
        password: Password::Inline(Secret::new("not-the-password".to_owned())),
        ..settings
    });
    let connection_error = wrong.connection_error().await;
    assert!(
        connection_error.contains("authentication failed"),
        "{connection_error}"
    );
    assert!(
        !connection_error.contains("not-the-password"),
        "{connection_error}"
    );
}

/// After the password file changes, the store reconnects with the new password. If the server rejects the new
/// password, the store keeps the old connection.
#[tokio::test]
async fn a_password_file_is_read_again_when_it_changes() {
    let server = RedisServer::start_with_options(&["--requirepass", "first"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "first\n").unwrap();
    let store = ConnectedStore::connect(RedisSettings {
        password: Password::File(file.path().to_owned()),
        ..settings(&server.url())
    })
    .await;
    store.create(ID, &new_session()).await.unwrap();
    let admin = |words: &[&[u8]]| server.command_with_password::<()>("first", words);
    std::fs::write(file.path(), "second\n").unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(store.load(ID).await.is_ok(), "the old connection is kept");
    admin(&[b"CONFIG", b"SET", b"requirepass", b"second"]);
    std::fs::write(file.path(), "second").unwrap();
    server.command_with_password::<()>(
        "second",
        &[b"CLIENT", b"KILL", b"TYPE", b"normal", b"SKIPME", b"yes"],
    );
    eventually("the store is connected with the new password", async || {
        store.load(ID).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn redis_over_tls_requires_certificates_of_both_sides() {
    let certificates = Certificates::generate();
    let options = certificates.redis_options();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let server = RedisServer::start_with_options(&options);
    let client_settings = RedisSettings {
        tls: Some(tls_settings(&certificates)),
        // The default timeout would make the test wait long for rejected connections.
        command_timeout: Duration::from_secs(1),
        ..settings(&format!("rediss://127.0.0.1:{}/", server.public_port()))
    };
    let store = ConnectedStore::connect(client_settings.clone()).await;
    run_all_suites(&store).await;

    let other = Certificates::generate();
    let other_ca = std::fs::read(other.path("ca.pem")).unwrap();
    for (tls, why) in [
        (
            Tls {
                ca: Some(other_ca),
                ..client_settings.tls.clone().unwrap()
            },
            "another server",
        ),
        (
            Tls {
                client: None,
                ..client_settings.tls.clone().unwrap()
            },
            "no client certificate",
        ),
    ] {
        let refused = ConnectedStore::start(RedisSettings {
            tls: Some(tls),
            ..client_settings.clone()
        });
        assert!(!refused.connection_error().await.is_empty(), "{why}");
    }
}
