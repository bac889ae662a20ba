//! Builds all parts of the service and connects them. No other module uses all of them.

mod assembly;
mod background;
mod limits;
mod reload;
mod store;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::server::NamedService;

use crate::admin::{self, AdminToken};
use crate::browser::BrowserService;
use crate::clock::Clock;
use crate::config::{Listen, Loaded, Source};
use crate::contract::ext_authz_grpc::ExtAuthz;
use crate::contract::spoe::Agent;
use crate::contract::{CheckService, Contracts, UnwritableCookie};
use crate::credential::{KeyError, KeyRing, SigningKey};
use crate::jwks::KeyCache;
use crate::lifecycle::LastKnownSessions;
use crate::listener::{
    ConcurrencyLimit, GrpcServer, GrpcTlsError, LimitKind, Limited, Listener, Service,
};
use crate::live::Live;
use crate::logout::ReplayCache;
use crate::ops::{self, Ops, grpc_health};
use crate::policy::{Contract, OnStoreFailure, Policies};
use crate::revalidation;
use crate::secret::Secret;
use crate::store::redis::ConnectError;
use crate::store::{SessionStore, StoreError};
use crate::sweeper;
use crate::telemetry::audit::Door;
use crate::telemetry::{Diagnostics, Metrics, Replica, Replicas};
use crate::webhook::Webhook;
use assembly::{Foundation, InForce};
use background::Background;
pub use reload::ReloadRequests;
use reload::Reloader;
use store::StoreContext;

/// Minimum time to write pending data when the process stops.
const MIN_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes of a gRPC health request, which contains a service name.
const MAX_HEALTH_REQUEST_BYTES: usize = 4096;

/// Maximum connections and requests of the `ops` listener.
const OPS_LIMIT: usize = 256;

/// The service: built and bound, ready to run.
pub struct App {
    addresses: Addresses,
    made_up: EphemeralSecrets,
    listeners: Vec<Listener>,
    /// The `ops` listener, which stops last.
    ops: Listener,
    background: JoinSet<Result<(), RunError>>,
    /// Stops the background work, after the listeners.
    stop_background: CancellationToken,
    store: Arc<dyn SessionStore>,
    /// Tasks that must finish before the process ends.
    tasks: TaskTracker,
    draining: Arc<AtomicBool>,
    delay: Duration,
    shutdown_timeout: Duration,
    reloader: Reloader,
}

/// The addresses of the listeners.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The contracts over HTTP.
    pub check: SocketAddr,
    /// `ext-authz` over gRPC.
    pub grpc: Option<SocketAddr>,
    /// The SPOE agent.
    pub spoe: Option<SocketAddr>,
    /// The pages for browsers and identity providers.
    pub browser: Option<SocketAddr>,
    /// The admin API.
    pub admin: SocketAddr,
    /// Metrics and probes.
    pub ops: SocketAddr,
}

/// Secrets that the configuration does not have, generated for this process. Only the embedded store allows that.
#[derive(Clone, Debug, Default)]
pub struct EphemeralSecrets {
    /// The generated admin token.
    pub admin_token: Option<Secret<String>>,
    /// Whether the key ring was generated.
    pub key_ring: bool,
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// A listener's address cannot be bound.
    #[error("listen.{name}: could not listen on {address}: {error}")]
    Bind {
        /// The listener.
        name: &'static str,
        /// Its address.
        address: SocketAddr,
        /// The error of the operating system.
        error: io::Error,
    },
    /// The HTTP client of the webhook is invalid.
    #[error("events: {0}")]
    Webhook(#[from] reqwest::Error),
    /// The HTTP client for an identity provider's keys is invalid.
    #[error("jwt.issuers: {0}")]
    Issuer(reqwest::Error),
    /// The HTTP client of another authorization service is invalid.
    #[error("delegated.services: {0}")]
    Delegate(reqwest::Error),
    /// The HTTP client of an identity provider is invalid.
    #[error("login.providers: {0}")]
    Provider(reqwest::Error),
    /// The HTTP client for Kubernetes is invalid.
    #[error("admin.kubernetes: {0}")]
    Kubernetes(reqwest::Error),
    /// A key could not be generated.
    #[error("token.keys: {0}")]
    Key(#[from] KeyError),
    /// An admin token could not be generated.
    #[error("admin.token_hashes: {0}")]
    AdminToken(#[from] getrandom::Error),
    /// The session cookie cannot be written as a header.
    #[error("cookie: {0}")]
    Cookie(#[from] UnwritableCookie),
    /// The TLS settings of the gRPC listener are invalid.
    #[error("grpc: {0}")]
    GrpcTlsSettings(#[from] GrpcTlsError),
    /// The metrics could not be created.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Why the service stopped by itself, or stopped with an error.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A task that must run for ever has ended.
    #[error("background task exited: {0}")]
    TaskExited(String),
    /// Redis has records that this program cannot read.
    #[error(transparent)]
    Schema(#[from] ConnectError),
    /// The HTTP client for Kubernetes is invalid.
    #[error("admin.kubernetes: {0}")]
    Kubernetes(reqwest::Error),
    /// The last touches could not be written.
    #[error("could not write the last activity: {0}")]
    Flush(#[from] StoreError),
}

impl App {
    /// Builds the service from the configuration `loaded` from `source`, and binds its listeners. Redis need not run
    /// yet. Until it does, checks are answered with `store_unavailable`, and `/readyz` reports it.
    ///
    /// # Errors
    /// [`StartupError`] with the configuration key.
    pub async fn start(
        source: Source,
        loaded: Loaded,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartupError> {
        let config = &loaded.config;
        let metrics = Arc::new(Metrics::new()?);
        let advice = Arc::new(Diagnostics::default());
        let replicas = Arc::new(Replicas::new(Replica::this(clock.now())));
        init_metrics(&metrics, &config.book.policies);
        let policies = Live::new(Arc::clone(&config.book.policies));
        let key_ring = match &config.key_ring {
            Some(key_ring) => key_ring.clone(),
            None => KeyRing::new(vec![SigningKey::parse(&SigningKey::generate()?)?])?,
        };
        let key_ring = Live::new(key_ring);
        let stop_background = CancellationToken::new();
        let mut background = Background::new(stop_background.clone());
        let shared = StoreContext {
            metrics: &metrics,
            advice: &advice,
            replicas: &replicas,
            policies: &policies,
            end_journal: config.end_journal,
            key_ring: &key_ring,
        };
        let store = store::build(&config.store, clock, &shared, &mut background);
        let token = AdminToken::generate()?;
        let made_up = EphemeralSecrets {
            key_ring: config.key_ring.is_none(),
            admin_token: (config.admin.tokens.is_empty() && config.admin.kubernetes.is_none())
                .then_some(token.token),
        };
        let mut webhook = None;
        if let Some(settings) = config.webhook.clone() {
            let clock = Arc::clone(&store.clock);
            let (queue, sender) = Webhook::new(settings, clock, Arc::clone(&metrics))?;
            webhook = Some(queue);
            background.spawn(async move |stop| sender.run(stop).await);
        }
        let draining = Arc::new(AtomicBool::new(false));
        let ops = Arc::new(Ops {
            store: Arc::clone(&store.sessions),
            metrics: Arc::clone(&metrics),
            advice: Arc::clone(&advice),
            replicas,
            draining: Arc::clone(&draining),
        });
        let foundation = Foundation {
            ops: Arc::clone(&ops),
            store: store.sessions,
            deadlines: store.deadlines,
            not_before: store.not_before,
            walk: store.walk,
            history: store.history,
            clock: store.clock,
            metrics: Arc::clone(&metrics),
            presented_ends: Arc::default(),
            known: Arc::new(LastKnownSessions::default()),
            recent: Arc::default(),
            webhook,
            tasks: TaskTracker::new(),
            ephemeral_key_ring: key_ring.current(),
            store_key_ring: key_ring,
            ephemeral_token_hash: token.hash,
            key_cache: KeyCache::default(),
            replay_cache: Arc::new(ReplayCache::default()),
            observers: Arc::default(),
            attempts: Arc::default(),
            revalidations: Arc::default(),
            provider_notes: Arc::default(),
        };
        let (store, tasks) = (Arc::clone(&foundation.store), foundation.tasks.clone());
        let in_force = InForce::new(policies, foundation.assemble(config)?);
        let lifecycle = in_force.lifecycle.clone();
        background.spawn(async move |stop| sweeper::run(lifecycle, stop).await);
        let lifecycle = in_force.lifecycle.clone();
        background.spawn(async move |stop| sweeper::follow_policies(lifecycle, stop).await);
        let contracts = in_force.contracts.clone();
        let noted = contracts.clone();
        background.spawn(async move |stop| limits::note(noted, stop).await);
        let (current, diagnostics) = (contracts.clone(), Arc::clone(&advice));
        let work = move || {
            let contracts = current.current();
            revalidation::Work {
                lifecycle: contracts.checker.lifecycle.clone(),
                login: contracts.login.clone(),
                revalidation: contracts.checker.revalidation.clone(),
            }
        };
        background.spawn(async move |stop| revalidation::run(work, diagnostics, stop).await);
        let admin = admin::router(in_force.admin.clone());
        let listen = config.listen;
        let mut listeners = Listeners {
            bound: Vec::new(),
            metrics: Arc::clone(&metrics),
            listen,
        };
        let observers = Arc::clone(&in_force.observers);
        background.spawn(async move |stop| observers.denials.run(stop).await);
        let limit = listeners.limit("check", LimitKind::Requests);
        let check = Service::http(CheckService::new(contracts.clone(), limit));
        let check = listeners.bind("check", listen.check, check).await?;
        let mut grpc = None;
        if let Some(address) = listen.grpc {
            let (reporter, health) = tonic_health::server::health_reporter();
            let health = health.max_decoding_message_size(MAX_HEALTH_REQUEST_BYTES);
            let limit = listeners.limit("grpc", LimitKind::Requests);
            let service = ExtAuthz::new(contracts.clone(), limit);
            let routes = tonic::service::Routes::new(health).add_service(service);
            let server = GrpcServer::new(routes, in_force.encryption.clone());
            let service = Service::Grpc(Box::new(server));
            grpc = Some(listeners.bind("grpc", address, service).await?);
            let ops = Arc::clone(&ops);
            let name = <ExtAuthz as NamedService>::NAME;
            background.spawn(async move |stop| {
                grpc_health::report(ops, reporter, name, stop).await;
            });
        }
        let mut spoe = None;
        if let Some(address) = listen.spoe {
            let limit = listeners.limit("spoe", LimitKind::Requests);
            let agent = Agent::new(contracts.clone(), Arc::clone(&draining), limit);
            let service = Service::Connections(Box::new(move |stream, peer, stop| {
                Box::pin(agent.clone().serve(stream, peer, stop))
            }));
            spoe = Some(listeners.bind("spoe", address, service).await?);
        }
        let mut browser = None;
        if let Some(address) = listen.browser {
            let limit = listeners.limit("browser", LimitKind::Requests);
            let service = BrowserService::new(contracts, in_force.logouts.clone(), &limit);
            let service = Service::http(service);
            browser = Some(listeners.bind("browser", address, service).await?);
        }
        let admin = Limited::new(admin, listeners.limit("admin", LimitKind::Requests));
        let admin = listeners
            .bind("admin", listen.admin, Service::http(admin))
            .await?;
        let limit = listeners.limit("ops", LimitKind::Requests);
        // `/livez` bypasses the limit, so that the kubelet does not restart a saturated process.
        let ops = Limited::new(ops::router(ops), limit).exempt("/livez");
        let ops = Service::http(ops);
        let ops = listeners.bind_one("ops", listen.ops, ops).await?;
        Ok(Self {
            addresses: Addresses {
                check,
                grpc,
                spoe,
                browser,
                admin,
                ops: ops.address(),
            },
            made_up,
            listeners: listeners.bound,
            ops,
            background: background.tasks,
            stop_background,
            store,
            tasks,
            draining,
            delay: config.shutdown_delay,
            shutdown_timeout: config.shutdown_timeout,
            reloader: Reloader {
                source,
                foundation,
                in_force,
                advice,
                started_with: loaded,
            },
        })
    }

    /// The contracts, for a [layer](crate::layer) in this process.
    #[must_use]
    pub fn contracts(&self) -> Live<Contracts> {
        self.reloader.in_force.contracts.clone()
    }

    /// The services of the listeners, without sockets.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn served(&self) -> (CheckService, BrowserService, ExtAuthz, Agent, axum::Router) {
        let InForce {
            contracts,
            logouts,
            admin,
            ..
        } = &self.reloader.in_force;
        let shown = self.reloader.foundation.metrics.requests("check");
        let limit = ConcurrencyLimit::new("check", LimitKind::Requests, OPS_LIMIT, shown);
        (
            CheckService::new(contracts.clone(), limit.clone()),
            BrowserService::new(contracts.clone(), logouts.clone(), &limit),
            ExtAuthz::new(contracts.clone(), limit.clone()),
            Agent::new(contracts.clone(), Arc::clone(&self.draining), limit),
            admin::router(admin.clone()),
        )
    }

    /// The bound addresses. With port 0 the operating system has chosen the port.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The secrets that the configuration does not have.
    #[must_use]
    pub const fn made_up(&self) -> &EphemeralSecrets {
        &self.made_up
    }

    /// Serves until `stop` is cancelled. It reloads the configuration when its file changes, or on a request through
    /// `reload`.
    ///
    /// It stops in two stages. First it reports not ready, and serves as before for `shutdown_delay`, so that clients
    /// can move to another replica. Then it accepts nothing more, waits at most `shutdown_timeout` for requests in
    /// flight, and writes the pending touches. Probes and metrics are answered until the end.
    ///
    /// # Errors
    /// [`RunError`] if a background task has exited, or if pending touches could not be written.
    pub async fn run(
        mut self,
        reload: ReloadRequests,
        stop: CancellationToken,
    ) -> Result<(), RunError> {
        let reloading = self.reloader.run(reload, self.stop_background.clone());
        self.background.spawn(async move {
            reloading.await;
            Ok(())
        });
        let stop_listeners = CancellationToken::new();
        let mut serving = JoinSet::new();
        for listener in self.listeners {
            serving.spawn(listener.serve(stop_listeners.clone(), self.shutdown_timeout));
        }
        let stop_ops = CancellationToken::new();
        let mut serving_ops = JoinSet::new();
        serving_ops.spawn(self.ops.serve(stop_ops.clone(), MIN_FLUSH_TIMEOUT));
        let until_told = async {
            stop.cancelled().await;
            self.draining.store(true, Ordering::Relaxed);
            tokio::time::sleep(self.delay).await;
        };
        let outcome = tokio::select! {
            () = until_told => Ok(()),
            Some(ended) = self.background.join_next() => Err(task_failed(ended)),
            Some(ended) = serving.join_next() => Err(task_failed(ended.map(Ok))),
            Some(ended) = serving_ops.join_next() => Err(task_failed(ended.map(Ok))),
        };
        self.draining.store(true, Ordering::Relaxed);
        stop_listeners.cancel();
        while serving.join_next().await.is_some() {}
        // Flush while the connection to the store is still open.
        self.tasks.close();
        let finishing = async {
            self.tasks.wait().await;
            self.store.flush().await
        };
        let shutdown_timeout = self.shutdown_timeout.max(MIN_FLUSH_TIMEOUT);
        let flushed = tokio::time::timeout(shutdown_timeout, finishing).await;
        self.stop_background.cancel();
        let ending = async { while self.background.join_next().await.is_some() {} };
        if tokio::time::timeout(shutdown_timeout, ending)
            .await
            .is_err()
        {
            tracing::warn!("background tasks did not finish in time");
            self.background.shutdown().await;
        }
        stop_ops.cancel();
        while serving_ops.join_next().await.is_some() {}
        // The reason of the stop matters more than a failed flush.
        outcome?;
        match flushed {
            Ok(flushed) => Ok(flushed?),
            Err(_) => Err(StoreError::Unavailable("timeout".to_owned()).into()),
        }
    }
}

/// Creates the counters of rare events under these policies at zero.
fn init_metrics(metrics: &Metrics, policies: &Policies) {
    let known = policies
        .iter()
        .filter(|(_, policy)| policy.on_store_failure != OnStoreFailure::Deny);
    let contracts = Contract::ALL.iter().map(|contract| contract.as_str());
    metrics.init_checks(contracts, known.map(|(name, _)| name.as_str()));
    metrics.init_credentials(&[Door::Api, Door::Console].map(Door::as_str));
}

/// The error for a task that must run for ever and has ended.
fn task_failed(ended: Result<Result<(), RunError>, tokio::task::JoinError>) -> RunError {
    match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) => RunError::TaskExited("no error".to_owned()),
        Err(error) => RunError::TaskExited(error.to_string()),
    }
}

/// The listeners that are bound so far.
struct Listeners {
    bound: Vec<Listener>,
    metrics: Arc<Metrics>,
    listen: Listen,
}

impl Listeners {
    async fn bind_one(
        &self,
        name: &'static str,
        address: SocketAddr,
        service: Service,
    ) -> Result<Listener, StartupError> {
        let listener = Listener::bind(
            name,
            address,
            service,
            self.limit(name, LimitKind::Connections),
        )
        .await;
        listener.map_err(|error| StartupError::Bind {
            name,
            address,
            error,
        })
    }

    /// The limit of a listener.
    fn limit(&self, name: &'static str, kind: LimitKind) -> ConcurrencyLimit {
        let (max, shown) = match kind {
            LimitKind::Connections => (self.listen.max_connections, self.metrics.connections(name)),
            LimitKind::Requests => (self.listen.max_in_flight, self.metrics.requests(name)),
        };
        let max = if name == "ops" {
            OPS_LIMIT.min(max)
        } else {
            max
        };
        ConcurrencyLimit::new(name, kind, max, shown)
    }

    /// Binds a listener, and returns its address.
    async fn bind(
        &mut self,
        name: &'static str,
        address: SocketAddr,
        service: Service,
    ) -> Result<SocketAddr, StartupError> {
        let listener = self.bind_one(name, address, service).await?;
        let address = listener.address();
        self.bound.push(listener);
        Ok(address)
    }
}
