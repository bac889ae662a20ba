//! Builds and connects all parts of the service. Only this module depends on all parts.

mod assembly;
mod background;
mod cluster;
mod errors;
mod limit_history;
mod listeners;
mod reload;
mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[cfg(any(test, feature = "fuzzing"))]
use crate::admin;
use crate::admin::AdminToken;
#[cfg(any(test, feature = "fuzzing"))]
use crate::browser::BrowserService;
use crate::clock::Clock;
use crate::config::{ConfigSource, Loaded};
#[cfg(any(test, feature = "fuzzing"))]
use crate::contract::CheckService;
use crate::contract::Contracts;
#[cfg(any(test, feature = "fuzzing"))]
use crate::contract::ext_authz_grpc::ExtAuthz;
#[cfg(any(test, feature = "fuzzing"))]
use crate::contract::spoe::Agent;
use crate::credential::{KeyRing, SigningKey};
use crate::jwks::KeyCache;
use crate::lifecycle::LastKnownSessions;
use crate::listener::{Listener, ListenerName};
use crate::live::Live;
use crate::logout::ReplayCache;
use crate::ops::Ops;
use crate::policy::{Contract, OnStoreFailure, Policies};
use crate::proxy::check_upstreams;
use crate::revalidation;
use crate::secret::Secret;
use crate::store::{SessionStore, StoreError};
use crate::supervision;
use crate::sweeper;
use crate::telemetry::audit::AdminInterface;
use crate::telemetry::{Diagnostics, Metrics, Replica, Replicas};
use crate::webhook::Webhook;
use assembly::{LiveAssembly, ProcessState};
use background::Background;
use cluster::{WatchedCluster, watch_cluster};
pub use errors::{RunError, StartupError};
pub use listeners::BoundAddresses;
use listeners::ServiceBuilder;
pub use reload::ReloadRequests;
use reload::Reloader;
use store::{BuiltStore, StoreContext};

/// The minimum time that a stopping process has for its last writes, even if `shutdown_timeout` is shorter.
const MIN_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The service, ready to run: all parts exist, and all listeners are bound.
pub struct App {
    addresses: BoundAddresses,
    ephemeral_secrets: EphemeralSecrets,
    listeners: Vec<Listener>,
    /// The `ops` listener, which stops last.
    ops: Listener,
    background: JoinSet<Result<(), RunError>>,
    /// Stops the background work, after the listeners have stopped.
    stop_background: CancellationToken,
    store: Arc<dyn SessionStore>,
    /// Tasks that must finish before the process ends.
    tasks: TaskTracker,
    draining: Arc<AtomicBool>,
    shutdown_delay: Duration,
    shutdown_timeout: Duration,
    reloader: Reloader,
}

/// Secrets that Curfew generated for this process because the configuration has none.
#[derive(Clone, Debug, Default)]
pub struct EphemeralSecrets {
    /// The generated admin token.
    pub admin_token: Option<Secret<String>>,
    /// Whether the key ring was generated.
    pub has_key_ring: bool,
}

impl App {
    /// Builds the service from the configuration `loaded`, which was read from `source`, and binds its listeners.
    /// Redis does not have to run yet. Until Redis runs, checks are denied with `store_unavailable`, and `/readyz`
    /// reports the failure.
    ///
    /// # Errors
    /// [`StartupError`]. Its message begins with the configuration key, if one is the cause.
    pub async fn start(
        source: ConfigSource,
        loaded: Loaded,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartupError> {
        let contents_at_start = reload::read_files(&source.files(&loaded)).await;
        let config = &loaded.config;
        let metrics = Arc::new(Metrics::new()?);
        let diagnostics = Arc::new(Diagnostics::default());
        let replicas = Arc::new(Replicas::new(Replica::this(clock.now())));
        init_metrics(&metrics, &config.rulebook.policies);
        let policies = Live::new(Arc::clone(&config.rulebook.policies));
        let key_ring = match &config.key_ring {
            Some(key_ring) => key_ring.clone(),
            None => KeyRing::new(vec![SigningKey::parse(&SigningKey::generate()?)?])?,
        };
        let key_ring = Live::new(key_ring);
        let stop_background = CancellationToken::new();
        let mut background = Background::new(stop_background.clone());
        let context = StoreContext {
            metrics: &metrics,
            diagnostics: &diagnostics,
            replicas: &replicas,
            policies: &policies,
            journal_retention: config.journal_retention,
            key_ring: &key_ring,
        };
        let BuiltStore {
            stores,
            clock,
            streams,
        } = store::build(&config.store, clock, &context, &mut background);
        let token = AdminToken::generate()?;
        let ephemeral_secrets = EphemeralSecrets {
            has_key_ring: config.key_ring.is_none(),
            admin_token: (config.admin.tokens.is_empty() && config.admin.kubernetes.is_none())
                .then_some(token.token),
        };
        let mut webhook = None;
        if let Some(settings) = config.webhook.clone() {
            let clock = Arc::clone(&clock);
            let (queue, sender) = Webhook::new(settings, clock, Arc::clone(&metrics))?;
            webhook = Some(queue);
            background.spawn(async move |stop| sender.run(stop).await);
        }
        let draining = Arc::new(AtomicBool::new(false));
        let route_checks = &stores.route_checks;
        let WatchedCluster {
            routes,
            reports,
            cookie_domain,
        } = watch_cluster(
            config,
            &diagnostics,
            &metrics,
            &clock,
            route_checks,
            &mut background,
        )?;
        let ops = Arc::new(Ops {
            routes: routes.clone(),
            store: Arc::clone(&stores.sessions),
            metrics: Arc::clone(&metrics),
            diagnostics: Arc::clone(&diagnostics),
            replicas,
            draining: Arc::clone(&draining),
        });
        let process_state = ProcessState {
            routes,
            route_reports: reports,
            cookie_domain,
            ops: Arc::clone(&ops),
            stores,
            clock,
            metrics: Arc::clone(&metrics),
            tombstone_extensions: Arc::default(),
            last_known_sessions: Arc::new(LastKnownSessions::default()),
            recent_events: Arc::default(),
            streams,
            webhook,
            tasks: TaskTracker::new(),
            ephemeral_key_ring: key_ring.current(),
            store_key_ring: key_ring,
            ephemeral_token_hash: token.hash,
            key_cache: KeyCache::default(),
            replay_cache: Arc::new(ReplayCache::default()),
            observers: Arc::default(),
            wrong_credentials: Arc::default(),
            revalidations: Arc::default(),
            provider_diagnostics: Arc::default(),
        };
        let (store, tasks) = (
            Arc::clone(&process_state.stores.sessions),
            process_state.tasks.clone(),
        );
        let live_assembly = LiveAssembly::new(policies, process_state.assemble(config)?);
        let sweeper = live_assembly.sweeper.clone();
        background.spawn(async move |stop| sweeper::run(sweeper, stop).await);
        let sweeper = live_assembly.sweeper.clone();
        background.spawn(async move |stop| sweeper::follow_policies(sweeper, stop).await);
        let supervisor = live_assembly.supervisor.clone();
        background.spawn(async move |stop| supervision::run(supervisor, stop).await);
        let upstreams = live_assembly.upstreams.clone();
        let health_metrics = Arc::clone(&metrics);
        let health_diagnostics = Arc::clone(&diagnostics);
        background.spawn(async move |stop| {
            check_upstreams(upstreams, health_metrics, health_diagnostics, stop).await;
        });
        let contracts = live_assembly.contracts.clone();
        let recorded_contracts = contracts.clone();
        background.spawn(async move |stop| {
            limit_history::record_periodically(recorded_contracts, stop).await
        });
        let revalidation_diagnostics = Arc::clone(&diagnostics);
        let tracker = tasks.clone();
        let worker_context = move || {
            let contracts = contracts.current();
            revalidation::WorkerContext {
                lifecycle: contracts.checker.lifecycle.clone(),
                clock: Arc::clone(&contracts.checker.clock),
                tasks: tracker.clone(),
                login: contracts.login.clone(),
                revalidation: contracts.checker.revalidation.clone(),
            }
        };
        background.spawn(async move |stop| {
            revalidation::run(worker_context, revalidation_diagnostics, stop).await;
        });
        let observers = Arc::clone(&live_assembly.observers);
        background.spawn(async move |stop| observers.denials.run(stop).await);
        let builder = ServiceBuilder {
            live_assembly: &live_assembly,
            ops: &ops,
            listen: &config.listen,
        };
        let bound = builder.bind_all(&mut background)?;
        Ok(Self {
            addresses: bound.addresses,
            ephemeral_secrets,
            listeners: bound.listeners,
            ops: bound.ops,
            background: background.tasks,
            stop_background,
            store,
            tasks,
            draining,
            shutdown_delay: config.shutdown_delay,
            shutdown_timeout: config.shutdown_timeout,
            reloader: Reloader {
                source,
                process_state,
                live_assembly,
                diagnostics,
                started_with: loaded,
                contents_at_start,
            },
        })
    }

    /// Returns the contracts, for a [layer](crate::layer) in this process.
    #[must_use]
    pub fn contracts(&self) -> Live<Contracts> {
        self.reloader.live_assembly.contracts.clone()
    }

    /// Returns the services of the listeners, without sockets.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn services(&self) -> (CheckService, BrowserService, ExtAuthz, Agent, axum::Router) {
        let Reloader { live_assembly, .. } = &self.reloader;
        let builder = ServiceBuilder {
            live_assembly,
            ops: &self.reloader.process_state.ops,
            listen: &self.reloader.started_with.config.listen,
        };
        (
            builder.check_service(),
            builder.browser_service(),
            builder.ext_authz_service(),
            builder.spoe_agent(),
            admin::router(live_assembly.admin.clone()),
        )
    }

    /// Returns the bound addresses of each listener; a listener that is off has none. If the configured port is 0, the
    /// address has the port that the operating system chose.
    #[must_use]
    pub const fn addresses(&self) -> &BoundAddresses {
        &self.addresses
    }

    /// Returns whether new connections of a listener use TLS.
    #[must_use]
    pub fn uses_tls(&self, name: ListenerName) -> bool {
        let encryption = &self.reloader.live_assembly.encryption;
        encryption.get(name).current().is_some()
    }

    /// Returns the generated secrets.
    #[must_use]
    pub const fn ephemeral_secrets(&self) -> &EphemeralSecrets {
        &self.ephemeral_secrets
    }

    /// Serves until `stop` is cancelled. Reloads the configuration when its file changes, or on a request through
    /// `reload`.
    ///
    /// The service stops in two stages. First it reports that it is not ready, but still serves requests for
    /// `shutdown_delay`, so that clients can move to another replica. Then it accepts no more connections, waits at
    /// most `shutdown_timeout` for requests in flight, and writes the pending touches (the activity of sessions). The
    /// `ops` listener answers probes and metrics until these stages are over.
    ///
    /// # Errors
    /// [`RunError`] if a background task has exited, or if pending touches could not be written.
    pub async fn run(
        mut self,
        reload: ReloadRequests,
        stop: CancellationToken,
    ) -> Result<(), RunError> {
        let reload_loop = self.reloader.run(reload, self.stop_background.clone());
        self.background.spawn(async move {
            reload_loop.await;
            Ok(())
        });
        let stop_listeners = CancellationToken::new();
        let mut listener_tasks = JoinSet::new();
        for listener in self.listeners {
            listener_tasks.spawn(listener.serve(stop_listeners.clone(), self.shutdown_timeout));
        }
        let stop_ops = CancellationToken::new();
        let mut ops_tasks = JoinSet::new();
        ops_tasks.spawn(self.ops.serve(stop_ops.clone(), MIN_FLUSH_TIMEOUT));
        let stop_requested = async {
            stop.cancelled().await;
            self.draining.store(true, Ordering::Relaxed);
            tokio::time::sleep(self.shutdown_delay).await;
        };
        let outcome = tokio::select! {
            () = stop_requested => Ok(()),
            Some(ended) = self.background.join_next() => Err(task_failed(ended)),
            Some(ended) = listener_tasks.join_next() => Err(task_failed(ended.map(Ok))),
            Some(ended) = ops_tasks.join_next() => Err(task_failed(ended.map(Ok))),
        };
        self.draining.store(true, Ordering::Relaxed);
        stop_listeners.cancel();
        while listener_tasks.join_next().await.is_some() {}
        // Write the pending touches (the activity of sessions) before the background tasks stop, because these tasks
        // keep the connection to the store open.
        self.tasks.close();
        let final_flush = async {
            self.tasks.wait().await;
            self.store.flush().await
        };
        let shutdown_timeout = self.shutdown_timeout.max(MIN_FLUSH_TIMEOUT);
        let flush_result = tokio::time::timeout(shutdown_timeout, final_flush).await;
        self.stop_background.cancel();
        let background_end = async { while self.background.join_next().await.is_some() {} };
        if tokio::time::timeout(shutdown_timeout, background_end)
            .await
            .is_err()
        {
            tracing::warn!("background tasks did not finish in time; aborting these tasks");
            self.background.shutdown().await;
        }
        stop_ops.cancel();
        while ops_tasks.join_next().await.is_some() {}
        // The error that stopped the service takes precedence over a failed flush.
        outcome?;
        match flush_result {
            Ok(flush_result) => Ok(flush_result?),
            Err(_) => Err(StoreError::Unavailable("timeout".to_owned()).into()),
        }
    }
}

/// Creates the counters of rare events with the value zero, so that `/metrics` contains them before the first event.
fn init_metrics(metrics: &Metrics, policies: &Policies) {
    let fallback_policies = policies
        .iter()
        .filter(|(_, policy)| policy.on_store_failure != OnStoreFailure::Deny);
    let contracts = Contract::ALL.iter().map(|contract| contract.as_str());
    metrics.init_checks(contracts, fallback_policies.map(|(name, _)| name.as_str()));
    metrics.init_credentials(
        &[AdminInterface::Api, AdminInterface::Console].map(AdminInterface::as_str),
    );
}

/// Returns the error for a background task that has ended although it must run until the service stops.
fn task_failed(result: Result<Result<(), RunError>, tokio::task::JoinError>) -> RunError {
    match result {
        Ok(Err(error)) => error,
        Ok(Ok(())) => RunError::TaskExited("it returned no error".to_owned()),
        Err(error) => RunError::TaskExited(error.to_string()),
    }
}
