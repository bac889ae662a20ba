//! An invalidation is the message that a session has ended. It must reach the near caches of all processes, which keep
//! session records in memory.

use curfew::clock::SteadyClock;
use curfew::session::State;
use curfew::store::cached::{CachedStore, LEASE};
use curfew::store::{EndRequest, InvalidationListener, LocalStore};
use curfew::telemetry::{Diagnostics, Metrics, Replica, Replicas};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::support::cluster::Cluster;
use crate::support::fault_proxy::{Fault, FaultProxy};
use crate::support::redis::RedisServer;
use crate::support::sentinel::SentinelGroup;

/// Runs `operation` while `cached` receives invalidations.
pub async fn while_receiving_invalidations<T>(
    store: &RedisStore,
    cached: &impl InvalidationListener,
    steady: &SteadyClock,
    metrics: &Metrics,
    operation: impl Future<Output = T>,
) -> T {
    let diagnostics = Diagnostics::default();
    let replicas = Replicas::new(Replica::this(now()));
    let stop = CancellationToken::new();
    let follow = store.follow_invalidations(cached, steady, &diagnostics, &replicas, stop);
    let operation = async {
        let usable = async || metrics.near_cache.usable.get() == 1;
        eventually("the near cache is usable", usable).await;
        operation.await
    };
    tokio::select! {
        () = follow => unreachable!("the task ended although it was not stopped"),
        done = operation => done,
    }
}

struct Process {
    redis: ConnectedStore,
    near_cache: Arc<CachedStore<Arc<RedisStore>>>,
    metrics: Arc<Metrics>,
    diagnostics: Arc<Diagnostics>,
    follow_task: JoinHandle<()>,
}

impl Process {
    async fn start(settings: RedisSettings) -> Self {
        let redis = ConnectedStore::connect(settings).await;
        let metrics = Arc::new(Metrics::new().unwrap());
        let steady = Arc::new(SteadyClock::new());
        let clock = Arc::clone(redis.clock());
        let near_cache = Arc::new(CachedStore::new(
            Arc::clone(&redis),
            1000,
            clock,
            steady.clone(),
            Arc::clone(&metrics),
        ));
        let diagnostics = Arc::new(Diagnostics::default());
        let (store, listener, diagnostics_of_task) = (
            Arc::clone(&redis),
            Arc::clone(&near_cache),
            Arc::clone(&diagnostics),
        );
        let follow_task = tokio::spawn(async move {
            let stop = CancellationToken::new();
            let replicas = Replicas::new(Replica::this(now()));
            store
                .follow_invalidations(&*listener, &*steady, &diagnostics_of_task, &replicas, stop)
                .await;
        });
        Self {
            redis,
            near_cache,
            metrics,
            diagnostics,
            follow_task,
        }
    }

    fn is_usable(&self) -> bool {
        self.metrics.near_cache.usable.get() == 1
    }

    async fn wait_until_usable(&self) {
        eventually("the near cache is usable", async || self.is_usable()).await;
    }

    /// Waits until the cache has received this many invalidations. A process receives its own invalidations last.
    async fn wait_for_invalidations(&self, ends: u64) {
        let received = || self.metrics.near_cache.end_delay.get_sample_count();
        eventually("all invalidations are received", async || {
            received() >= ends
        })
        .await;
        assert_eq!(received(), ends);
    }

    /// Loads a session until the near cache has it.
    async fn load_into_cache(&self, id: SessionId) {
        eventually("the session is in the near cache", async || {
            let _ = self.near_cache.load(id).await;
            self.near_cache.load_cached(id).is_some()
        })
        .await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.follow_task.abort();
    }
}

async fn start_processes(count: usize, settings: impl Fn() -> RedisSettings) -> Vec<Process> {
    let mut processes = Vec::new();
    for _ in 0..count {
        let process = Process::start(settings()).await;
        process.wait_until_usable().await;
        processes.push(process);
    }
    processes
}

fn session_id(number: u8) -> SessionId {
    // Distributes the session IDs over the servers of a cluster.
    SessionId::from_bytes([number.wrapping_mul(37); 16])
}

/// Each process ends some sessions that are in the near caches of all processes. Then no cache may allow them.
async fn end_sessions_and_check_all_caches(processes: &[Process], numbers: std::ops::Range<u8>) {
    for number in numbers {
        let (ending_process, id) = (
            &processes[usize::from(number) % processes.len()],
            session_id(number),
        );
        ending_process
            .near_cache
            .create(id, &new_session())
            .await
            .unwrap();
        for process in processes {
            process.load_into_cache(id).await;
        }
        ending_process
            .near_cache
            .end(id, EndRequest::revoked(now()))
            .await
            .unwrap();
        assert_eq!(ending_process.near_cache.load_cached(id), None);
        let since_end = Stopwatch::start();
        for process in processes {
            while process.near_cache.load_cached(id).is_some() {
                assert!(since_end.seconds() < LEASE.as_secs_f64(), "{number}");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let state = process.near_cache.load(id).await.unwrap().unwrap().state;
            assert!(matches!(state, State::Ended(_)), "{state:?}");
            assert_eq!(process.near_cache.load_cached(id), None);
        }
    }
}

#[tokio::test]
async fn every_replica_receives_every_invalidation() {
    let server = RedisServer::start();
    let processes = start_processes(4, || settings(&server.url())).await;
    end_sessions_and_check_all_caches(&processes, 0..40).await;
    for process in &processes {
        process.wait_for_invalidations(40).await;
    }
}

#[tokio::test]
async fn processes_receive_invalidations_in_a_cluster_and_after_its_fail_over() {
    let mut cluster = Cluster::start().await;
    let processes = start_processes(2, || settings(&cluster.url())).await;
    end_sessions_and_check_all_caches(&processes, 0..20).await;
    processes[0].wait_for_invalidations(20).await;
    let flushes = |process: &Process| process.metrics.near_cache.flushes.get();
    let before: Vec<u64> = processes.iter().map(flushes).collect();
    let primary = cluster.primary_indexes()[0];
    cluster.servers[primary].kill();
    cluster.wait_for_fail_over(primary).await;
    for (process, before) in processes.iter().zip(before) {
        let is_emptied = async || flushes(process) > before;
        eventually("the near cache is emptied", is_emptied).await;
        process.wait_until_usable().await;
    }
    end_sessions_and_check_all_caches(&processes, 20..40).await;
}

#[tokio::test]
async fn processes_receive_invalidations_after_a_sentinel_fail_over() {
    let mut group = SentinelGroup::start().await;
    let processes = start_processes(2, || settings(&group.url())).await;
    end_sessions_and_check_all_caches(&processes, 0..5).await;
    let primary = group.primary_index();
    group.servers[primary].kill();
    group.wait_for_fail_over(primary).await;
    for process in &processes {
        eventually("the store works again", async || {
            process.redis.ready().await.is_ok()
        })
        .await;
        process.wait_until_usable().await;
    }
    end_sessions_and_check_all_caches(&processes, 5..10).await;
}

#[tokio::test]
async fn stops_using_the_near_cache_when_the_connection_breaks() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(([127, 0, 0, 1], server.public_port()).into()).await;
    let ending_process = Process::start(settings(&server.url())).await;
    let cut_off = Process::start(RedisSettings {
        connect_timeout: Duration::from_millis(500),
        ..settings(&proxy.url())
    })
    .await;
    for (number, fault) in [Fault::HalfOpen, Fault::Cut].into_iter().enumerate() {
        let id = session_id(number as u8);
        ending_process
            .near_cache
            .create(id, &new_session())
            .await
            .unwrap();
        cut_off.wait_until_usable().await;
        cut_off.load_into_cache(id).await;
        proxy.set_fault(fault);
        ending_process
            .near_cache
            .end(id, EndRequest::revoked(now()))
            .await
            .unwrap();
        let since_end = Stopwatch::start();
        let is_removed = async || cut_off.near_cache.load_cached(id).is_none();
        eventually("the session leaves the near cache", is_removed).await;
        let seconds_after_lease = since_end.seconds() - LEASE.as_secs_f64();
        assert!(
            seconds_after_lease < 0.5,
            "{fault:?}: the near cache kept the session for {seconds_after_lease} s after the lease"
        );
        proxy.set_fault(Fault::None);
        cut_off.wait_until_usable().await;
        assert_eq!(cut_off.near_cache.load_cached(id), None, "{fault:?}");
        let state = cut_off.near_cache.load(id).await.unwrap().unwrap().state;
        assert!(matches!(state, State::Ended(_)), "{fault:?}: {state:?}");
    }
}

/// The ACL rights of an older version do not include the invalidation channel.
#[tokio::test]
async fn without_the_right_to_subscribe_each_check_asks_redis() {
    let server = RedisServer::start();
    let rights = documented_rights();
    let mut words: Vec<&[u8]> = vec![b"ACL", b"SETUSER", b"curfew", b"on", b">s3cret"];
    let is_not_channel = |word: &&str| !word.starts_with('&');
    words.extend(
        rights
            .split_whitespace()
            .filter(is_not_channel)
            .map(str::as_bytes),
    );
    server.command::<()>(&words);
    let process = Process::start(RedisSettings {
        username: Some("curfew".to_owned()),
        password: Password::Inline(Secret::new("s3cret".to_owned())),
        ..settings(&server.url())
    })
    .await;
    let is_reported = async || {
        let lines = process.diagnostics.recommendations();
        lines.iter().any(|line| line.contains("&test:ends"))
    };
    eventually("the diagnostics contain the warning", is_reported).await;
    process.near_cache.create(ID, &new_session()).await.unwrap();
    assert!(process.near_cache.load(ID).await.unwrap().is_some());
    assert_eq!(process.near_cache.load_cached(ID), None);
    let ended = process.near_cache.end(ID, EndRequest::revoked(now())).await;
    assert!(
        matches!(ended, Ok(curfew::store::EndOutcome::Ended(_))),
        "{ended:?}"
    );
    assert!(!process.is_usable());
}
