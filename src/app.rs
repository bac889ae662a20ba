//! Builds everything and joins it: the only place that knows all parts.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Admin, AdminToken, AdminTokens};
use crate::check::Checker;
use crate::clock::Clock;
use crate::config::{Config, StoreConfig};
use crate::contract::spoe::Agent;
use crate::contract::{self, Contracts, SessionCookie, SignIn, ext_authz_grpc};
use crate::credential::{KeyError, KeyRing, SigningKey};
use crate::lifecycle::Lifecycle;
use crate::listener::{GrpcServer, GrpcTlsError, Listener, Service};
use crate::ops::{self, Ops, grpc_health};
use crate::secret::Secret;
use crate::store::measured::MeasuredStore;
use crate::store::memory::MemoryStore;
use crate::store::redis::{ConnectError, RedisSettings, RedisStore};
use crate::store::touch::CoalescingStore;
use crate::store::{SessionStore, StoreError};
use crate::telemetry::Metrics;

/// How often the embedded store forgets what may be forgotten.
const RECLAIM_EVERY: Duration = Duration::from_secs(30);
/// How long after a failure Redis is looked at again.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// The service, built and bound, ready to run.
pub struct App {
    addresses: Addresses,
    made_up: MadeUp,
    listeners: Vec<Listener>,
    background: JoinSet<Result<(), RunError>>,
    /// Stops the background work, after the listeners.
    stop_background: CancellationToken,
    store: Arc<dyn SessionStore>,
    draining: Arc<AtomicBool>,
    patience: Duration,
}

/// Where the service listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The contracts over HTTP.
    pub check: SocketAddr,
    /// `ext-authz` over gRPC.
    pub grpc: Option<SocketAddr>,
    /// The SPOE agent.
    pub spoe: Option<SocketAddr>,
    /// The admin API.
    pub admin: SocketAddr,
    /// Metrics and probes.
    pub ops: SocketAddr,
}

/// What the configuration left out and was made up for this process, which only the embedded
/// store allows.
#[derive(Clone, Debug, Default)]
pub struct MadeUp {
    /// The admin token.
    pub admin_token: Option<Secret<String>>,
    /// Whether the key ring was made up.
    pub key_ring: bool,
}

/// Why the service can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address can't be bound.
    #[error("listen.{name}: can't listen on {address}: {error}")]
    Bind {
        /// The listener.
        name: &'static str,
        /// Its address.
        address: SocketAddr,
        /// The system's reason.
        error: io::Error,
    },
    /// Redis can't be used.
    #[error("store: {0}")]
    Store(#[from] ConnectError),
    /// No key could be made.
    #[error("token.keys: {0}")]
    Key(#[from] KeyError),
    /// No token could be made.
    #[error("admin.token_hashes: {0}")]
    AdminToken(#[from] getrandom::Error),
    /// The cookie can't be written.
    #[error("cookie: {0}")]
    Cookie(#[from] contract::UnwritableCookie),
    /// The gRPC listener's TLS can't be set up.
    #[error("grpc: {0}")]
    GrpcTls(#[from] GrpcTlsError),
    /// The metrics can't be set up.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Why the service stopped by itself, or did not stop well.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A part that must run for ever has ended.
    #[error("a part of the service has ended: {0}")]
    Died(String),
    /// Redis holds records that this program does not know.
    #[error(transparent)]
    Schema(#[from] ConnectError),
    /// The last activities could not be written.
    #[error("activity was lost: {0}")]
    Flush(#[from] StoreError),
}

impl App {
    /// Builds the service and binds its listeners. Redis need not be there yet: until it is, checks
    /// are answered with `store_unavailable`, and `/readyz` says so.
    ///
    /// # Errors
    /// [`StartError`] with what to change.
    pub async fn start(config: Config, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::new()?);
        let mut background = JoinSet::new();
        let stop_background = CancellationToken::new();
        let mut made_up = MadeUp::default();
        let store = build_store(
            &config.store,
            &clock,
            &metrics,
            &mut background,
            &stop_background,
        )
        .await?;
        let key_ring = match config.key_ring {
            Some(key_ring) => key_ring,
            None => {
                made_up.key_ring = true;
                KeyRing::new(vec![SigningKey::parse(&SigningKey::generate()?)?])?
            }
        };
        let mut token_hashes = config.admin.token_hashes;
        if token_hashes.is_empty() {
            let token = AdminToken::generate()?;
            token_hashes.push(token.hash);
            made_up.admin_token = Some(token.token);
        }
        let cookie = SessionCookie::new(config.cookie)?;
        let lifecycle = Lifecycle {
            store: Arc::clone(&store),
            clock,
            key_ring: Arc::new(key_ring),
            policies: Arc::new(config.policies),
            end_retention: config.end_retention,
            metrics: Arc::clone(&metrics),
        };
        let draining = Arc::new(AtomicBool::new(false));
        let checker = Checker {
            lifecycle: lifecycle.clone(),
            extractor: config.extractor,
        };
        let contracts = Arc::new(Contracts {
            checker,
            cookie: cookie.clone(),
            sign_in: config.sign_in.map(SignIn::new),
            literal_headers: config.literal_headers,
        });
        let admin = admin::router(Arc::new(Admin {
            lifecycle,
            cookie,
            tokens: AdminTokens::new(token_hashes),
            allow_ageing: config.admin.allow_ageing,
        }));
        let ops = Arc::new(Ops {
            store: Arc::clone(&store),
            metrics,
            draining: Arc::clone(&draining),
        });
        let mut listeners = Listeners::default();
        let listen = config.listen;
        let check = Service::Http(contract::router(Arc::clone(&contracts)));
        let check = listeners.bind("check", listen.check, check).await?;
        let mut grpc = None;
        if let Some(address) = listen.grpc {
            let (reporter, health) = tonic_health::server::health_reporter();
            let routes = tonic::service::Routes::new(health)
                .add_service(ext_authz_grpc::service(Arc::clone(&contracts)));
            let server = GrpcServer::new(routes, config.grpc_tls.as_ref())?;
            let service = Service::Grpc(Box::new(server));
            grpc = Some(listeners.bind("grpc", address, service).await?);
            let (ops, stop) = (Arc::clone(&ops), stop_background.clone());
            background.spawn(async move {
                grpc_health::report(ops, reporter, stop).await;
                Ok(())
            });
        }
        let mut spoe = None;
        if let Some(address) = listen.spoe {
            let agent = Agent::new(contracts);
            let service = Service::Connections(Box::new(move |stream, peer, stop| {
                Box::pin(agent.clone().serve(stream, peer, stop))
            }));
            spoe = Some(listeners.bind("spoe", address, service).await?);
        }
        let admin = listeners
            .bind("admin", listen.admin, Service::Http(admin))
            .await?;
        let ops = Service::Http(ops::router(ops));
        let ops = listeners.bind("ops", listen.ops, ops).await?;
        Ok(Self {
            addresses: Addresses {
                check,
                grpc,
                spoe,
                admin,
                ops,
            },
            made_up,
            listeners: listeners.0,
            background,
            stop_background,
            store,
            draining,
            patience: config.shutdown_timeout,
        })
    }

    /// Where it listens; port 0 in the configuration is the one that the system chose here.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What the configuration left out.
    #[must_use]
    pub const fn made_up(&self) -> &MadeUp {
        &self.made_up
    }

    /// Serves until stopped, then stops gracefully: accepts nothing more, lets what is in flight
    /// finish within the configured time, and writes the last activities.
    ///
    /// # Errors
    /// [`RunError`] when a part of the service has ended by itself, or when activity was lost.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), RunError> {
        let stop_listeners = CancellationToken::new();
        let mut serving = JoinSet::new();
        for listener in self.listeners {
            serving.spawn(listener.serve(stop_listeners.clone(), self.patience));
        }
        let outcome = tokio::select! {
            () = stop.cancelled() => Ok(()),
            Some(ended) = self.background.join_next() => Err(death(ended)),
            Some(ended) = serving.join_next() => Err(death(ended.map(Ok))),
        };
        self.draining.store(true, Ordering::Relaxed);
        stop_listeners.cancel();
        while serving.join_next().await.is_some() {}
        self.stop_background.cancel();
        while self.background.join_next().await.is_some() {}
        self.store.flush().await?;
        outcome
    }
}

/// What it means that a part which must run for ever has ended.
fn death(ended: Result<Result<(), RunError>, tokio::task::JoinError>) -> RunError {
    match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) => RunError::Died("without a reason".to_owned()),
        Err(error) => RunError::Died(error.to_string()),
    }
}

/// Those that are bound.
#[derive(Default)]
struct Listeners(Vec<Listener>);

impl Listeners {
    /// Binds one more, and says where.
    async fn bind(
        &mut self,
        name: &'static str,
        address: SocketAddr,
        service: Service,
    ) -> Result<SocketAddr, StartError> {
        let listener = Listener::bind(name, address, service).await;
        let listener = listener.map_err(|error| StartError::Bind {
            name,
            address,
            error,
        })?;
        let address = listener.address();
        self.0.push(listener);
        Ok(address)
    }
}

/// Builds the store with its wrappers, and spawns what works for it in the background.
async fn build_store(
    config: &StoreConfig,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
    background: &mut JoinSet<Result<(), RunError>>,
    stop: &CancellationToken,
) -> Result<Arc<dyn SessionStore>, StartError> {
    match config {
        StoreConfig::Memory { max_sessions } => {
            let store = Arc::new(MemoryStore::new(*max_sessions, Arc::clone(clock)));
            background.spawn(reclaim(Arc::clone(&store), stop.clone()));
            Ok(Arc::new(MeasuredStore::new(store, Arc::clone(metrics))))
        }
        StoreConfig::Redis(settings) => {
            let redis = Arc::new(RedisStore::new(settings)?);
            background.spawn(await_redis(
                Arc::clone(&redis),
                (**settings).clone(),
                stop.clone(),
            ));
            let measured = MeasuredStore::new(redis, Arc::clone(metrics));
            let store = CoalescingStore::new(measured, Arc::clone(clock), Arc::clone(metrics));
            let store = Arc::new(store);
            let (flusher, stop) = (Arc::clone(&store), stop.clone());
            background.spawn(async move {
                flusher.run(stop).await;
                Ok(())
            });
            Ok(store)
        }
    }
}

/// Forgets, from time to time, what the embedded store may forget.
async fn reclaim(store: Arc<MemoryStore>, stop: CancellationToken) -> Result<(), RunError> {
    while stop
        .run_until_cancelled(tokio::time::sleep(RECLAIM_EVERY))
        .await
        .is_some()
    {
        let reclaimed = store.reclaim();
        tracing::debug!(reclaimed, sessions = store.len(), "forgot old sessions");
    }
    Ok(())
}

/// Waits until Redis has been seen once, and tells why it can't be used until then.
async fn await_redis(
    redis: Arc<RedisStore>,
    settings: RedisSettings,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let mut told = String::new();
    loop {
        match stop.run_until_cancelled(redis.probe(&settings)).await {
            None => return Ok(()),
            Some(Ok(())) => {
                tracing::info!("Redis is there");
                break;
            }
            Some(Err(error @ ConnectError::NewerSchema { .. })) => return Err(error.into()),
            Some(Err(error)) => {
                let error = error.to_string();
                if error != told {
                    tracing::error!(%error, "Redis can't be used; trying again every second");
                    told = error;
                }
            }
        }
        stop.run_until_cancelled(tokio::time::sleep(PROBE_PAUSE))
            .await;
    }
    // A part that ends is a part that died; this one has nothing left to do.
    stop.cancelled().await;
    Ok(())
}
