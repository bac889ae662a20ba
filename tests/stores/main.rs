//! Tests of the stores on a real Redis: the conformance suite, and behaviour specific to Redis.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use curfew_testkit as support;

mod access;
mod cut_offs;
mod ends;
mod generation;
mod histories;
mod migrations;
mod replicas;
mod rules;
mod server_failure;
mod standalone;
mod topologies;

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use curfew::clock::{Stopwatch, StoreClock};
use curfew::credential::{KeyRing, SigningKey};
use curfew::live::Live;
use curfew::secret::Secret;
use curfew::session::{
    Attributes, Binding, Limits, NewSession, PolicyName, Session, SessionId, Subject, Timestamp,
};
use curfew::store::redis::{ConnectError, Password, RedisSettings, RedisStore, RedisTarget, Tls};
use curfew::store::{SessionStore, Touch, conformance};
use curfew::telemetry::{Replica, Replicas};
use support::tls::Certificates;
use support::{eventually, now};
use tokio::task::JoinHandle;

const MINUTE: Duration = Duration::from_secs(60);
const ID: SessionId = SessionId::from_bytes(*b"0123456789abcdef");

/// Returns the settings of a store at this URL.
fn settings(url: &str) -> RedisSettings {
    RedisSettings {
        prefix: "test:".to_owned(),
        connect_timeout: Duration::from_secs(10),
        command_timeout: Duration::from_secs(5),
        wait_timeout: Duration::from_secs(1),
        ..RedisSettings::new(
            RedisTarget::parse(url).unwrap(),
            curfew::migrations::SCRIPTS,
        )
    }
}

/// Returns TLS settings that trust the CA of `certificates` and present its client certificate.
fn tls_settings(certificates: &Certificates) -> Tls {
    crate::support::tls::install_provider();
    let read = |name: &str| std::fs::read(certificates.path(name)).unwrap();
    Tls {
        ca: Some(read("ca.pem")),
        client: Some((read("client.pem"), Secret::new(read("client.key")))),
    }
}

/// The key ring of every store in these tests.
fn key_ring() -> Live<KeyRing> {
    let key = SigningKey::parse(&"A".repeat(43)).unwrap();
    Live::new(KeyRing::new(vec![key]).unwrap())
}

/// Returns the list of replicas for a process that is the only replica.
fn no_other_replicas() -> Replicas {
    let replicas = Replicas::new(Replica::this(now()));
    replicas.mark_channel_complete();
    replicas
}

/// A store that is connected until this value is dropped.
struct ConnectedStore {
    store: Arc<RedisStore>,
    task: JoinHandle<Result<(), ConnectError>>,
}

impl ConnectedStore {
    fn start(settings: RedisSettings) -> Self {
        Self::start_with_clock(settings, StoreClock::new())
    }

    fn start_with_clock(settings: RedisSettings, clock: StoreClock) -> Self {
        Self::start_with_keys(settings, clock, key_ring())
    }

    fn start_with_keys(
        settings: RedisSettings,
        clock: StoreClock,
        key_ring: Live<KeyRing>,
    ) -> Self {
        Self::start_store(Arc::new(RedisStore::new(
            settings,
            Arc::new(clock),
            key_ring,
        )))
    }

    fn start_store(store: Arc<RedisStore>) -> Self {
        let store_of_task = Arc::clone(&store);
        let task = tokio::spawn(async move { store_of_task.run(Default::default()).await });
        Self { store, task }
    }

    async fn connect(settings: RedisSettings) -> Self {
        let running = Self::start(settings);
        let waited = Stopwatch::start();
        while let Err(error) = running.ready().await {
            assert!(waited.seconds() < 20.0, "not connected: {error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        running
    }

    /// Waits until connecting fails, and returns the error.
    async fn connection_error(&self) -> String {
        let mut connection_error = String::new();
        eventually("connecting fails", async || {
            connection_error = self
                .ready()
                .await
                .map_or_else(|error| error.to_string(), |()| String::new());
            !connection_error.is_empty() && !connection_error.contains("not connected yet")
        })
        .await;
        connection_error
    }
}

impl Deref for ConnectedStore {
    type Target = Arc<RedisStore>;

    fn deref(&self) -> &Self::Target {
        &self.store
    }
}

impl Drop for ConnectedStore {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn limits() -> Limits {
    Limits {
        idle: Some(15 * MINUTE),
        absolute: 720 * MINUTE,
        max_auth_age: None,
    }
}

/// Runs all conformance suites, and then asserts that the cut-offs can be read.
async fn run_all_suites(store: &RedisStore) {
    conformance::run(store, now()).await;
    conformance::run_queue(store, now()).await;
    conformance::run_cut_offs(store, now()).await;
    conformance::run_rules(store, now()).await;
    assert_eq!(store.read_cut_offs().await, Ok(true));
}

/// Returns the ACL rights that docs/redis.md recommends.
fn documented_rights() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/redis.md");
    let text = std::fs::read_to_string(path).unwrap();
    let start = "ACL SETUSER curfew on >PASSWORD ";
    let acl_command = text.lines().find_map(|line| line.strip_prefix(start));
    let rights = acl_command.expect("docs/redis.md should contain the ACL command");
    // The keys of these tests have another prefix.
    rights.replace("curfew:", "test:")
}

/// Returns the path of the Valkey server that `scripts/test.sh` installs.
fn valkey_server() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/proxies/valkey-server")
}

/// Returns a session of `alice` that starts now.
fn new_session() -> Session {
    session_at(now())
}

fn session_at(start: Timestamp) -> Session {
    let new = NewSession {
        remembered: false,
        binding: Binding::default(),
        subject: Subject::new("alice").unwrap(),
        attributes: Attributes::default(),
        policy: PolicyName::new("default").unwrap(),
    };
    Session::start(new, &limits(), 60 * MINUTE, start)
}

fn touch(session: &Session, at: Timestamp) -> Touch {
    Touch {
        at,
        last_seen: session.last_seen,
        retention: session.retention,
        interval: MINUTE,
        deadline: session.idle_deadline(&limits()),
    }
}
