use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::RunError;
use super::background::Background;
use crate::clock::{Clock, SteadyClock, StoreClock};
use crate::config::StoreConfig;
use crate::credential::KeyRing;
use crate::live::Live;
use crate::policy::Policies;
use crate::store::cached::CachedStore;
use crate::store::journal::JournaledStore;
use crate::store::measured::MeasuredStore;
use crate::store::memory::MemoryStore;
use crate::store::redis::RedisStore;
use crate::store::touch::CoalescingStore;
use crate::store::{
    CutOffStore, InvalidationListener, InvalidationListeners, SessionStore, Stores,
};
use crate::streams::OpenStreams;
use crate::telemetry::{Diagnostics, Metrics, Replicas};

/// The interval at which the store in memory deletes expired records.
const RECLAIM_INTERVAL: Duration = Duration::from_secs(30);

/// The parts that the store uses.
pub(super) struct StoreContext<'a> {
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) diagnostics: &'a Arc<Diagnostics>,
    pub(super) replicas: &'a Arc<Replicas>,
    pub(super) policies: &'a Live<Policies>,
    /// How long the journal keeps a session end, to write it again after a fail-over.
    pub(super) journal_retention: Duration,
    pub(super) key_ring: &'a Live<KeyRing>,
}

/// The store, its clock, and the registry of open streams, which receives the invalidations of the store.
pub(super) struct BuiltStore {
    pub(super) stores: Stores,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) streams: Arc<OpenStreams>,
}

/// Builds the store with its wrappers (for example the near cache, the journal and the metrics) and its clock. Spawns
/// the background tasks of the store.
pub(super) fn build(
    config: &StoreConfig,
    clock: Arc<dyn Clock>,
    context: &StoreContext<'_>,
    background: &mut Background,
) -> BuiltStore {
    let metrics = || Arc::clone(context.metrics);
    match config {
        StoreConfig::Memory { max_sessions } => {
            let memory = MemoryStore::new(*max_sessions, Arc::clone(&clock));
            let memory = Arc::new(memory.after_loss(clock.now()));
            let store = Arc::clone(&memory);
            let task_metrics = metrics();
            background
                .spawn(async move |stop| reclaim_periodically(store, &task_metrics, stop).await);
            let stores = Stores {
                sessions: Arc::new(MeasuredStore::new(Arc::clone(&memory), metrics())),
                ..Stores::from(memory)
            };
            let streams = Arc::new(OpenStreams::new(Arc::clone(&clock), None, metrics()));
            BuiltStore {
                stores,
                clock,
                streams,
            }
        }
        StoreConfig::Redis {
            settings,
            near_cache_sessions,
        } => {
            let store_clock = Arc::new(StoreClock::new());
            let clock: Arc<dyn Clock> = Arc::clone(&store_clock) as Arc<dyn Clock>;
            let redis = Arc::new(RedisStore::new(
                (**settings).clone(),
                store_clock,
                context.key_ring.clone(),
            ));
            let (store, stop) = (Arc::clone(&redis), background.stop.clone());
            background
                .tasks
                .spawn(async move { store.run(stop).await.map_err(RunError::from) });
            let store = Arc::clone(&redis);
            let (diagnostics, policies) =
                (Arc::clone(context.diagnostics), context.policies.clone());
            let (task_metrics, replicas) = (metrics(), Arc::clone(context.replicas));
            background.spawn(async move |stop| {
                store
                    .run_maintenance(&policies, &diagnostics, &task_metrics, &replicas, stop)
                    .await;
            });
            let store = Arc::clone(&redis);
            let (diagnostics, policies) =
                (Arc::clone(context.diagnostics), context.policies.clone());
            let task_metrics = metrics();
            background.spawn(async move |stop| {
                store
                    .follow_cut_offs(&policies, &diagnostics, &task_metrics, stop)
                    .await;
            });
            let measured_store = MeasuredStore::new(Arc::clone(&redis), metrics());
            let retention = context.journal_retention;
            // The journal writes recent session ends again after a fail-over. Its clock is steady, because the clock
            // must not jump during a fail-over.
            let steady = Arc::new(SteadyClock::new());
            let journal = JournaledStore::new(measured_store, retention, steady, metrics());
            let journal = Arc::new(journal);
            let store = Arc::clone(&journal);
            background.spawn(async move |stop| store.run(stop).await);
            let steady = Arc::new(SteadyClock::new());
            let streams = OpenStreams::new(
                Arc::clone(&clock),
                Some(Arc::clone(&steady) as Arc<dyn Clock>),
                metrics(),
            );
            let streams = Arc::new(streams);
            let mut listeners = vec![Arc::clone(&streams) as Arc<dyn InvalidationListener>];
            let mut inner_store: Arc<dyn SessionStore> = journal.clone();
            if *near_cache_sessions > 0 {
                let cached = Arc::new(CachedStore::new(
                    journal,
                    *near_cache_sessions,
                    Arc::clone(&clock),
                    Arc::clone(&steady) as Arc<dyn Clock>,
                    metrics(),
                ));
                // The near cache drops a record before the supervisor of the streams reads it again.
                listeners.insert(0, Arc::clone(&cached) as Arc<dyn InvalidationListener>);
                inner_store = cached;
            }
            let listener = InvalidationListeners(listeners);
            let store = Arc::clone(&redis);
            let (diagnostics, replicas) = (
                Arc::clone(context.diagnostics),
                Arc::clone(context.replicas),
            );
            background.spawn(async move |stop| {
                store
                    .follow_invalidations(&listener, &*steady, &diagnostics, &replicas, stop)
                    .await;
            });
            let sessions = CoalescingStore::new(inner_store, Arc::clone(&clock), metrics());
            let sessions = Arc::new(sessions);
            let store = Arc::clone(&sessions);
            background.spawn(async move |stop| store.run(stop).await);
            let stores = Stores {
                sessions,
                ..Stores::from(redis)
            };
            BuiltStore {
                stores,
                clock,
                streams,
            }
        }
    }
}

/// Deletes expired records of the store in memory at regular intervals, and updates the metrics.
async fn reclaim_periodically(store: Arc<MemoryStore>, metrics: &Metrics, stop: CancellationToken) {
    metrics.store.cut_offs_fresh.set(1);
    while stop
        .run_until_cancelled(tokio::time::sleep(RECLAIM_INTERVAL))
        .await
        .is_some()
    {
        let reclaimed = store.reclaim();
        let cut_offs = i64::try_from(store.usage().entries);
        metrics.store.cut_offs.set(cut_offs.unwrap_or(i64::MAX));
        tracing::debug!(
            reclaimed,
            sessions = store.len(),
            "expired sessions deleted"
        );
    }
}
