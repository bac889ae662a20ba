//! Runs the conformance suite on every topology of Redis, and tests fail-overs. The suite runs on the plain store and
//! with each store wrapper, such as the near cache.

use curfew::clock::SteadyClock;
use curfew::secret::Secret;
use curfew::session::State;
use curfew::store::cached::CachedStore;
use curfew::store::journal::JournaledStore;
use curfew::store::measured::MeasuredStore;
use curfew::store::touch::CoalescingStore;
use curfew::store::{CutOffStore, EndOutcome, EndRequest};
use curfew::telemetry::Metrics;

use super::ends::while_receiving_invalidations;
use super::*;
use crate::support::cluster::Cluster;
use crate::support::redis::RedisServer;
use crate::support::sentinel::SentinelGroup;

/// Runs the suite on the plain store, with each wrapper, and with all wrappers in the order that the service uses.
async fn run_suite_with_each_wrapper(store: &Arc<RedisStore>) {
    run_all_suites(store).await;
    let metrics = || Arc::new(Metrics::new().unwrap());
    let clock = || Arc::new(SteadyClock::new());
    let unwrapped = || Arc::clone(store);
    let measured = MeasuredStore::new(unwrapped(), metrics());
    conformance::run(&measured, now()).await;
    let journaled = JournaledStore::new(unwrapped(), MINUTE, clock(), metrics());
    conformance::run(&journaled, now()).await;
    let steady = Arc::new(SteadyClock::new());
    let cache_metrics = metrics();
    let cached = CachedStore::new(
        unwrapped(),
        1000,
        clock(),
        steady.clone(),
        Arc::clone(&cache_metrics),
    );
    conformance::run(&cached, now()).await;
    let suite = conformance::run(&cached, now());
    while_receiving_invalidations(store, &cached, &steady, &cache_metrics, suite).await;
    let coalescing = CoalescingStore::new(unwrapped(), clock(), metrics());
    conformance::run(&coalescing, now()).await;
    let journaled = JournaledStore::new(measured, MINUTE, clock(), metrics());
    let cache_metrics = metrics();
    let cached = CachedStore::new(
        journaled,
        1000,
        clock(),
        steady.clone(),
        Arc::clone(&cache_metrics),
    );
    let cached = Arc::new(cached);
    let all = CoalescingStore::new(Arc::clone(&cached), clock(), metrics());
    let suite = conformance::run(&all, now());
    while_receiving_invalidations(store, &*cached, &steady, &cache_metrics, suite).await;
}

#[tokio::test]
async fn suite_passes_on_a_standalone_server() {
    let server = RedisServer::start();
    let store = ConnectedStore::connect(settings(&server.url())).await;
    run_suite_with_each_wrapper(&store).await;
}

/// `scripts/test.sh` installs Valkey.
#[tokio::test]
async fn suite_passes_on_valkey() {
    let server = RedisServer::start_program(&crate::valkey_server(), &[]);
    let url = server.url().replace("redis://", "valkey://");
    let store = ConnectedStore::connect(settings(&url)).await;
    run_suite_with_each_wrapper(&store).await;
}

/// Adds a user with the documented rights and the rights `extra_rights` to each server.
fn add_restricted_user(servers: &[RedisServer], extra_rights: &str) {
    let rights = format!("{} {extra_rights}", crate::documented_rights());
    for server in servers {
        let mut words: Vec<&[u8]> = vec![b"ACL", b"SETUSER", b"curfew", b"on", b">s3cret"];
        words.extend(rights.split_whitespace().map(str::as_bytes));
        server.command::<()>(&words);
    }
}

fn assert_no_acl_denials(servers: &[RedisServer]) {
    for server in servers {
        let denied = server.command::<Vec<redis::Value>>(&[b"ACL", b"LOG"]);
        assert!(denied.is_empty(), "{denied:?}");
    }
}

#[tokio::test]
async fn suite_passes_with_sentinel_and_after_a_fail_over() {
    let mut group = SentinelGroup::start().await;
    add_restricted_user(&group.servers, "");
    let rights = "+sentinel|master +sentinel|get-master-addr-by-name";
    group.add_user("curfew", "sentinel-pw", rights);
    let password = |text: &str| Password::Inline(Secret::new(text.to_owned()));
    let store = ConnectedStore::connect(RedisSettings {
        username: Some("curfew".to_owned()),
        password: password("s3cret"),
        sentinel_username: Some("curfew".to_owned()),
        sentinel_password: password("sentinel-pw"),
        ..settings(&group.url())
    })
    .await;
    run_suite_with_each_wrapper(&store).await;
    assert_no_acl_denials(&group.servers);
    let session = new_session();
    store.create(ID, &session).await.unwrap();
    let before = store.incarnation().unwrap();
    for _ in 0..2 {
        let primary = group.primary_index();
        eventually("both replicas have the session", async || {
            let offset =
                crate::support::redis::info_field(&group.servers[primary], "master_repl_offset");
            ["slave0", "slave1"].iter().all(|replica| {
                let state = crate::support::redis::info_field(&group.servers[primary], replica);
                state.contains(&format!("offset={offset},"))
            })
        })
        .await;
        group.servers[primary].kill();
        group.wait_for_fail_over(primary).await;
        eventually("the store works again", async || {
            store.load(ID).await.is_ok()
        })
        .await;
        assert_eq!(store.load(ID).await.unwrap().as_ref(), Some(&session));
        group.servers[primary].start_again();
        add_restricted_user(&group.servers[primary..=primary], "");
        group.wait_until_stable().await;
    }
    assert!(before.has_changed().unwrap());
    let ended = store.end(ID, EndRequest::revoked(now())).await.unwrap();
    assert!(matches!(ended, EndOutcome::Ended(_)), "{ended:?}");
}

#[tokio::test]
async fn suite_passes_on_a_cluster_and_after_a_fail_over() {
    let mut cluster = Cluster::start().await;
    add_restricted_user(&cluster.servers, "+cluster|slots +ping");
    let store = ConnectedStore::connect(RedisSettings {
        username: Some("curfew".to_owned()),
        password: Password::Inline(Secret::new("s3cret".to_owned())),
        wait_replicas: 1,
        stream_length: Some(100),
        ..settings(&cluster.url())
    })
    .await;
    run_suite_with_each_wrapper(&store).await;
    assert_no_acl_denials(&cluster.servers);
    let session = new_session();
    store.create(ID, &session).await.unwrap();
    let before = store.incarnation().unwrap();
    let key = [&b"test:s:"[..], ID.as_bytes()].concat();
    let primary = cluster.primary_index_of(&key);
    let confirmed = async || store.wait_replicated(ID).await.unwrap().is_confirmed();
    eventually("a replica has the session", confirmed).await;
    cluster.servers[primary].kill();
    cluster.wait_for_fail_over(primary).await;
    eventually("the store works again", async || {
        store.load(ID).await.is_ok()
    })
    .await;
    assert_eq!(store.load(ID).await.unwrap().as_ref(), Some(&session));
    eventually("the incarnation changes", async || {
        before.has_changed().unwrap()
    })
    .await;
    cluster.servers[primary].start_again();
    cluster.wait_until_stable().await;
    store.end(ID, EndRequest::revoked(now())).await.unwrap();
    let state = store.load(ID).await.unwrap().unwrap().state;
    assert!(matches!(state, State::Ended(_)), "{state:?}");
}

/// When a primary hangs, the sessions of the other primaries stay available until the cluster notices the failure.
#[tokio::test]
async fn a_hanging_server_of_a_cluster_does_not_affect_the_others() {
    let cluster = Cluster::start().await;
    for server in &cluster.servers {
        server.command::<()>(&[b"CONFIG", b"SET", b"cluster-node-timeout", b"60000"]);
    }
    let store = ConnectedStore::connect(RedisSettings {
        command_timeout: Duration::from_secs(1),
        connect_timeout: Duration::from_secs(2),
        ..settings(&cluster.url())
    })
    .await;
    let alice = new_session().subject;
    store
        .set_cut_off(&alice, Timestamp::default(), Timestamp::default())
        .await
        .unwrap();
    // A cut-off ends all earlier sessions of a subject. The server with the cut-offs must not hang, because every check
    // needs them.
    let cut_offs = cluster.primary_index_of(b"test:not-before");
    let others = cluster
        .primary_indexes()
        .into_iter()
        .filter(|index| *index != cut_offs);
    let hanging = others
        .min_by_key(|index| cluster.servers[*index].port)
        .unwrap();
    let (mut on_hanging_server, mut on_other_server) = (None, None);
    for number in 0..100 {
        let id = SessionId::from_bytes([number; SessionId::LEN]);
        store.create(id, &new_session()).await.unwrap();
        let key = [&b"test:s:"[..], id.as_bytes()].concat();
        let session_id = if cluster.primary_index_of(&key) == hanging {
            &mut on_hanging_server
        } else {
            &mut on_other_server
        };
        *session_id = Some(id);
        if on_hanging_server.is_some() && on_other_server.is_some() {
            break;
        }
    }
    let (on_hanging_server, on_other_server) =
        (on_hanging_server.unwrap(), on_other_server.unwrap());
    cluster.servers[hanging].freeze();
    let stopwatch = Stopwatch::start();
    while stopwatch.seconds() < 6.0 {
        let (on_hanging_result, on_other_result) =
            tokio::join!(store.load(on_hanging_server), store.load(on_other_server));
        assert!(on_hanging_result.is_err());
        assert!(
            store.ready().await.is_ok(),
            "the store should stay ready, because it can serve the other sessions"
        );
        assert!(on_other_result.unwrap().is_some());
    }
    cluster.servers[hanging].thaw();
    eventually("the server answers again", async || {
        store.load(on_hanging_server).await.is_ok()
    })
    .await;
    // While the cut-offs cannot be read, no session is allowed.
    assert_eq!(store.read_cut_offs().await, Ok(true));
    let on_other_server = if cluster
        .primary_index_of(&[&b"test:s:"[..], on_hanging_server.as_bytes()].concat())
        == cut_offs
    {
        on_other_server
    } else {
        on_hanging_server
    };
    cluster.servers[cut_offs].freeze();
    eventually("the copy of the cut-offs is too old", async || {
        !store.is_fresh()
    })
    .await;
    assert!(store.load(on_other_server).await.is_err());
    cluster.servers[cut_offs].thaw();
    eventually("the server answers again", async || {
        store.load(on_other_server).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn suite_passes_with_sentinel_over_tls() {
    let certificates = Certificates::generate();
    let group = SentinelGroup::start_with_tls(&certificates).await;
    let store = ConnectedStore::connect(RedisSettings {
        tls: Some(tls_settings(&certificates)),
        ..settings(&group.url().replace("redis+", "rediss+"))
    })
    .await;
    run_all_suites(&store).await;
}

#[tokio::test]
async fn suite_passes_on_a_cluster_over_tls() {
    let certificates = Certificates::generate();
    let cluster = Cluster::start_with_tls(&certificates).await;
    let store = ConnectedStore::connect(RedisSettings {
        tls: Some(tls_settings(&certificates)),
        ..settings(&cluster.url().replace("redis+", "rediss+"))
    })
    .await;
    run_all_suites(&store).await;
}
