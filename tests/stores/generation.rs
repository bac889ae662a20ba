//! Curfew detects a loss of data in Redis with the generation marker, an encrypted value in Redis. After a loss, no
//! ended session starts again.

use curfew::clock::{Clock, Stopwatch};
use curfew::store::redis::Migration;
use curfew::store::{CreateOutcome, HistoryStore};
use curfew::telemetry::{Diagnostics, Metrics};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::support::cluster::Cluster;
use crate::support::redis::RedisServer;
use crate::support::sentinel::SentinelGroup;

const GENERATION: &[u8] = b"test:generation";

/// A store with a running maintenance task, as in a replica.
struct MaintainedStore {
    store: ConnectedStore,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
}

impl MaintainedStore {
    async fn start(settings: RedisSettings) -> Self {
        let store = ConnectedStore::connect(settings).await;
        let (metrics, stop) = (Arc::new(Metrics::new().unwrap()), CancellationToken::new());
        let (store_of_task, metrics_of_task, stop_of_task) =
            (Arc::clone(&store), Arc::clone(&metrics), stop.clone());
        tokio::spawn(async move {
            let policies = Live::new(super::migrations::policies());
            let (diagnostics, replicas) = (Diagnostics::default(), no_other_replicas());
            store_of_task
                .run_maintenance(
                    &policies,
                    &diagnostics,
                    &metrics_of_task,
                    &replicas,
                    stop_of_task,
                )
                .await;
        });
        Self {
            store,
            metrics,
            stop,
        }
    }

    /// Returns the time of the last loss of data that affects a session.
    async fn last_loss(&self, id: SessionId) -> Option<Timestamp> {
        last_loss(&self.store, id).await
    }

    async fn stop_gracefully(self) {
        self.stop.cancel();
        self.store.flush().await.unwrap();
    }
}

impl Drop for MaintainedStore {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn last_loss(store: &RedisStore, id: SessionId) -> Option<Timestamp> {
    let mut history = None;
    eventually("the store returns the history", async || {
        history = store.history(id).await.ok();
        history.is_some()
    })
    .await;
    history.unwrap().last_loss()
}

fn id(number: u64) -> SessionId {
    let mut bytes = [0; SessionId::LEN];
    bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    SessionId::from_bytes(bytes)
}

fn record_key(id: SessionId) -> Vec<u8> {
    [b"test:s:", &id.as_bytes()[..]].concat()
}

#[tokio::test]
async fn redis_passes_the_history_suite_and_keeps_the_limits() {
    let server = RedisServer::start();
    let store = ConnectedStore::connect(settings(&server.url())).await;
    conformance::run_history(&**store, now()).await;
    let second_store = ConnectedStore::connect(settings(&server.url())).await;
    let limit = Duration::from_secs(600);
    let history = second_store.history(ID).await.unwrap();
    assert_eq!(history.limit("a", now().minus(MINUTE), limit).as_secs(), 60);
    // The value is encrypted, so only a process with a key of the key ring can read or write it.
    let bytes: Vec<u8> = server.command(&[b"GET", GENERATION]);
    assert!(bytes.is_ascii() && bytes.len() > 100);
}

#[tokio::test]
async fn redis_passes_the_suite_of_route_checks() {
    let server = RedisServer::start();
    let store = ConnectedStore::connect(settings(&server.url())).await;
    conformance::run_route_checks(&**store, now()).await;
}

/// Curfew cannot distinguish a new Redis from a Redis that was emptied.
#[tokio::test]
async fn an_empty_redis_is_a_loss_unless_an_operator_says_that_it_is_new() {
    let server = RedisServer::start();
    let test_start = now();
    let store = ConnectedStore::connect(settings(&server.url())).await;
    let loss_time = last_loss(&store, ID).await.unwrap();
    assert!(loss_time >= test_start.minus(MINUTE) && loss_time <= now().plus(MINUTE));
    let new = RedisServer::start();
    let command = start_command_store(&new).await;
    assert!(
        !command.extend_fresh_marker(false).await.unwrap(),
        "the command must not extend the marker, because no operator declared this Redis new"
    );
    assert!(command.extend_fresh_marker(true).await.unwrap());
    let store = ConnectedStore::connect(settings(&new.url())).await;
    assert_eq!(last_loss(&store, ID).await, None);
}

/// Starts a store as the commands of `curfew` do. Such a store answers no checks.
async fn start_command_store(server: &RedisServer) -> ConnectedStore {
    let store = RedisStore::new(
        settings(&server.url()),
        Arc::new(StoreClock::new()),
        key_ring(),
    );
    let running = ConnectedStore::start_store(Arc::new(store.for_command()));
    eventually("the store is connected", async || {
        running.ready().await.is_ok()
    })
    .await;
    running
}

#[tokio::test]
async fn every_replica_notices_the_loss_of_all_data() {
    let server = RedisServer::start();
    start_command_store(&server)
        .await
        .extend_fresh_marker(true)
        .await
        .unwrap();
    let one = MaintainedStore::start(settings(&server.url())).await;
    let other = MaintainedStore::start(settings(&server.url())).await;
    let (first, second) = (one.last_loss(ID).await, other.last_loss(ID).await);
    assert_eq!((first, second), (None, None));
    let test_start = one.store.clock().now();
    server.command::<()>(&[b"FLUSHALL"]);
    // Every replica notices the loss with its next request.
    let loss_time = other.last_loss(ID).await.unwrap();
    assert!(loss_time >= test_start);
    assert_eq!(one.last_loss(ID).await, Some(loss_time));
    // Replicas that start later detect the loss, too.
    drop((one, other));
    let later = MaintainedStore::start(settings(&server.url())).await;
    assert_eq!(later.last_loss(ID).await, Some(loss_time));
}

#[tokio::test]
async fn a_missing_or_forged_marker_is_a_loss() {
    let server = RedisServer::start();
    let store = ConnectedStore::connect(settings(&server.url())).await;
    let mut before = last_loss(&store, ID).await.unwrap();
    for forged in [None, Some(&b"forged"[..]), Some(b"")] {
        tokio::time::sleep(Duration::from_millis(5)).await;
        match forged {
            None => server.command::<()>(&[b"DEL", GENERATION]),
            Some(bytes) => server.command::<()>(&[b"SET", GENERATION, bytes]),
        }
        let after = last_loss(&store, ID).await.unwrap();
        assert!(after > before, "{forged:?}");
        before = after;
    }
}

/// A running process and a starting process both notice the loss.
#[tokio::test]
async fn a_restored_older_copy_is_a_loss() {
    let mut server = RedisServer::start();
    start_command_store(&server)
        .await
        .extend_fresh_marker(true)
        .await
        .unwrap();
    let running = MaintainedStore::start(settings(&server.url())).await;
    assert_eq!(running.last_loss(ID).await, None);
    server.command::<()>(&[b"SAVE"]);
    let copied = Stopwatch::start();
    eventually("the copy is older than the replication lag", async || {
        copied.seconds() > 9.0
    })
    .await;
    server.kill();
    server.start_again();
    let is_counted = async || running.metrics.store.losses.get() > 0;
    eventually("the maintenance notices the loss", is_counted).await;
    assert!(running.last_loss(ID).await.is_some());
    drop(running);
    server.kill();
    server.start_again();
    let waited = Stopwatch::start();
    eventually("the marker is not refreshed", async || {
        waited.seconds() > 4.0
    })
    .await;
    let started = MaintainedStore::start(settings(&server.url())).await;
    assert!(started.last_loss(ID).await.is_some());
}

/// Neither a planned stop of all replicas nor a migration without a running replica counts as a loss of data.
#[tokio::test]
async fn a_planned_stop_is_no_loss_of_data() {
    let server = RedisServer::start();
    start_command_store(&server)
        .await
        .extend_fresh_marker(true)
        .await
        .unwrap();
    let running = MaintainedStore::start(settings(&server.url())).await;
    assert_eq!(running.last_loss(ID).await, None);
    running.stop_gracefully().await;
    let waited = Stopwatch::start();
    eventually("the marker is too old to count as fresh", async || {
        waited.seconds() > 11.0
    })
    .await;
    let again = MaintainedStore::start(settings(&server.url())).await;
    assert_eq!(again.last_loss(ID).await, None);
    // This time there is no planned stop, but a migration before the next start.
    drop(again);
    let command = start_command_store(&server).await;
    let policies = super::migrations::policies();
    command
        .migrate(Migration::Upgrade, &policies, |_| {})
        .await
        .unwrap();
    assert!(command.extend_fresh_marker(false).await.unwrap());
    drop(command);
    let later = MaintainedStore::start(settings(&server.url())).await;
    assert_eq!(later.last_loss(ID).await, None);
}

/// An older version of Curfew, which has no generation marker, wrote the records.
#[tokio::test]
async fn an_upgrade_is_no_loss_of_data() {
    let server = RedisServer::start();
    server.command::<()>(&[b"SET", b"test:schema", b"2"]);
    let store = ConnectedStore::connect(settings(&server.url())).await;
    assert_eq!(last_loss(&store, ID).await, None);
    drop(store);
    let server = RedisServer::start();
    server.command::<()>(&[b"SET", b"test:schema", b"2"]);
    let command = start_command_store(&server).await;
    assert!(command.extend_fresh_marker(false).await.unwrap());
    let policies = super::migrations::policies();
    command
        .migrate(Migration::Upgrade, &policies, |_| {})
        .await
        .unwrap();
    let store = ConnectedStore::connect(settings(&server.url())).await;
    assert_eq!(last_loss(&store, ID).await, None);
}

#[tokio::test]
async fn a_fail_over_is_no_loss_of_data() {
    let mut group = SentinelGroup::start().await;
    let primary = group.primary_index();
    start_command_store(&group.servers[primary])
        .await
        .extend_fresh_marker(true)
        .await
        .unwrap();
    let store = MaintainedStore::start(settings(&group.url())).await;
    assert_eq!(store.last_loss(ID).await, None);
    group.servers[primary].kill();
    group.wait_for_fail_over(primary).await;
    assert_eq!(store.last_loss(ID).await, None);
    assert_eq!(store.metrics.store.losses.get(), 0);
}

/// Resharding moves generation markers with their slots, so no data is lost. But an emptied shard has lost its
/// markers.
#[tokio::test]
async fn a_cluster_notices_the_loss_of_one_shard_and_resharding_is_no_loss() {
    let mut cluster = Cluster::start().await;
    let cluster_store = RedisStore::new(
        settings(&cluster.url()),
        Arc::new(StoreClock::new()),
        key_ring(),
    );
    let command = ConnectedStore::start_store(Arc::new(cluster_store.for_command()));
    eventually("the store is connected", async || {
        command.ready().await.is_ok()
    })
    .await;
    assert!(command.extend_fresh_marker(true).await.unwrap());
    let one = MaintainedStore::start(settings(&cluster.url())).await;
    let other = MaintainedStore::start(settings(&cluster.url())).await;
    // With 200 sessions, each range of slots has some sessions.
    let ids: Vec<SessionId> = (0..200).map(id).collect();
    let assert_nothing_is_lost = async |when: &str| {
        for id in &ids {
            assert_eq!(one.last_loss(*id).await, None, "{when}");
        }
        let loss_count = one.metrics.store.losses.get() + other.metrics.store.losses.get();
        assert_eq!(loss_count, 0, "{when}");
    };
    assert_nothing_is_lost("at first").await;
    cluster.move_slots(300).await;
    assert_nothing_is_lost("after a move of slots").await;
    cluster.add_shard(200).await;
    assert_nothing_is_lost("after a move of slots to a new shard").await;
    let primary = cluster.primary_indexes()[0];
    cluster.servers[primary].kill();
    cluster.wait_for_fail_over(primary).await;
    assert_nothing_is_lost("after a fail-over").await;
    let emptied = *cluster.primary_indexes().last().unwrap();
    cluster.servers[emptied].command::<()>(&[b"FLUSHALL"]);
    // A request for a session of the emptied shard notices the loss at once.
    let lost_session = ids
        .iter()
        .find(|id| cluster.slot_owner_index(&record_key(**id)) == emptied);
    let lost_session = *lost_session.expect("one of the sessions should be on the emptied shard");
    let loss_time = other.last_loss(lost_session).await;
    assert!(
        loss_time.is_some(),
        "a request for the emptied shard should notice the loss of data"
    );
    eventually("every replica has detected the loss", async || {
        let (first, second) = (one.last_loss(ids[0]).await, other.last_loss(ids[0]).await);
        first.is_some() && second.is_some()
    })
    .await;
    let created = one
        .store
        .create(lost_session, &new_session())
        .await
        .unwrap();
    assert_eq!(created, CreateOutcome::Created);
}
