use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::task::TaskTracker;
use url::Url;

use super::StartupError;
use crate::admin::{self, Admin, AdminTokens, ConsoleLogin, WrongCredentialLimiter};
use crate::check::{Checker, Observers, StreamRegistry};
use crate::clock::Clock;
use crate::config::{Config, StoreConfig};
use crate::contract::{Contracts, SessionCookie, SignInRedirect};
use crate::credential::jwt::LogoutScope;
use crate::credential::{CredentialExtractor, KeyRing, NamedToken};
use crate::delegate::Delegate;
use crate::jwks::{HttpFetcher, IssuerKeys, KeyCache};
use crate::jwks::{IssuerSettings, KeySource};
use crate::kubernetes::Kubernetes;
use crate::lifecycle::{LastKnownSessions, Lifecycle, LifecycleParts, TombstoneExtensions};
use crate::listener::{Encryption, ListenerName, PerListener, is_less_protected};
use crate::live::Live;
use crate::login::{Login, LoginSettings, Provider, ProviderSettings};
use crate::logout::{LogoutEndpoints, ReplayCache};
use crate::ops::Ops;
use crate::policy::{AddressHeader, MaxAge, Policies, Routes, Rulebook};
use crate::proxy::Upstreams;
use crate::revalidation::{ProviderDiagnostics, Revalidation, RevalidationQueue};
use crate::route_reports::RouteReports;
use crate::sources::{JwtSource, Sources};
use crate::store::Stores;
use crate::streams::OpenStreams;
use crate::supervision::Supervisor;
use crate::sweeper::Sweeper;
use crate::telemetry::{Metrics, RecentEvents};
use crate::webhook::Webhook;

/// The path of the redirect URI that Curfew sends to identity providers.
const CALLBACK_PATH: &str = "/.curfew/callback";

/// The parts that a reload of the configuration keeps.
pub(super) struct ProcessState {
    pub(super) ops: Arc<Ops>,
    pub(super) stores: Stores,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tombstone_extensions: Arc<TombstoneExtensions>,
    pub(super) last_known_sessions: Arc<LastKnownSessions>,
    pub(super) recent_events: Arc<RecentEvents>,
    pub(super) streams: Arc<OpenStreams>,
    /// The routes of the cluster.
    pub(super) routes: Live<Routes>,
    pub(super) route_reports: Option<RouteReports>,
    pub(super) cookie_domain: Live<Option<String>>,
    pub(super) webhook: Option<Webhook>,
    pub(super) tasks: TaskTracker,
    /// Signs tokens if no key ring is configured.
    pub(super) ephemeral_key_ring: Arc<KeyRing>,
    /// Encrypts records in the store.
    pub(super) store_key_ring: Live<KeyRing>,
    /// The keys of identity providers.
    pub(super) key_cache: KeyCache,
    /// The `jti` of the accepted notices (logout messages of identity providers), to refuse a replay.
    pub(super) replay_cache: Arc<ReplayCache>,
    /// Writes denials to the audit log, records checks, and warns about misconfigured proxies.
    pub(super) observers: Arc<Observers>,
    /// Recent wrong credentials for the admin API and the console, by address.
    pub(super) wrong_credentials: Arc<WrongCredentialLimiter>,
    /// Sessions that wait for revalidation with their identity provider.
    pub(super) revalidations: Arc<RevalidationQueue>,
    /// Diagnostics about identity providers.
    pub(super) provider_diagnostics: Arc<ProviderDiagnostics>,
    /// The hash of the generated admin token, which is accepted if no token is configured.
    pub(super) ephemeral_token_hash: [u8; 32],
}

/// The parts that are built from the configuration. A reload replaces all of them.
pub(super) struct Assembly {
    pub(super) key_ring: Arc<KeyRing>,
    pub(super) sweeper: Sweeper,
    pub(super) supervisor: Supervisor,
    pub(super) contracts: Contracts,
    pub(super) upstreams: Upstreams,
    pub(super) admin: Admin,
    pub(super) logout_endpoints: LogoutEndpoints,
    /// The TLS configuration of each listener.
    pub(super) encryption: PerListener<Encryption>,
}

/// The parts of the [`Assembly`] that the process currently uses. Each part is a [`Live`] value that a reload replaces.
#[derive(Clone)]
pub(super) struct LiveAssembly {
    pub(super) policies: Live<Policies>,
    pub(super) sweeper: Live<Sweeper>,
    pub(super) supervisor: Live<Supervisor>,
    pub(super) contracts: Live<Contracts>,
    pub(super) upstreams: Live<Upstreams>,
    pub(super) admin: Live<Admin>,
    pub(super) logout_endpoints: Live<LogoutEndpoints>,
    pub(super) encryption: PerListener<Live<Encryption>>,
    pub(super) observers: Arc<Observers>,
}

impl ProcessState {
    /// Builds the parts that depend on the configuration.
    pub(super) fn assemble(&self, config: &Config) -> Result<Assembly, StartupError> {
        let key_ring = config.key_ring.clone().map(Arc::new);
        let rulebook = Arc::new(Rulebook {
            routes: self.routes.clone(),
            ..config.rulebook.clone()
        });
        let key_ring = key_ring.unwrap_or_else(|| Arc::clone(&self.ephemeral_key_ring));
        let lifecycle = Lifecycle::new(LifecycleParts {
            stores: self.stores.clone(),
            clock: Arc::clone(&self.clock),
            key_ring: Arc::clone(&key_ring),
            policies: Arc::clone(&rulebook.policies),
            routes: self.routes.clone(),
            end_retention: config.end_retention,
            metrics: Arc::clone(&self.metrics),
            tombstone_extensions: Arc::clone(&self.tombstone_extensions),
            last_known_sessions: Arc::clone(&self.last_known_sessions),
            recent_events: Arc::clone(&self.recent_events),
            streams: Arc::clone(&self.streams),
            webhook: self.webhook.clone(),
            tasks: self.tasks.clone(),
        });
        let sweeper = Sweeper {
            lifecycle: lifecycle.clone(),
            stores: self.stores.clone(),
            clock: Arc::clone(&self.clock),
            policies: Arc::clone(&rulebook.policies),
        };
        let supervisor = Supervisor {
            lifecycle: lifecycle.clone(),
            stores: self.stores.clone(),
            clock: Arc::clone(&self.clock),
            rulebook: Arc::clone(&rulebook),
            streams: Arc::clone(&self.streams),
            store_timeout: config.check_timeout,
            metrics: Arc::clone(&self.metrics),
        };
        let sources = self.create_sources(config, Arc::clone(&key_ring))?;
        let logout_endpoints = LogoutEndpoints {
            lifecycle: lifecycle.clone(),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            issuers: self.collect_logout_issuers(config, &sources.jwt)?,
            front_channel: config.front_channel_logout,
            address: config.address.clone(),
            replay_cache: Arc::clone(&self.replay_cache),
        };
        let login = self.create_login(config, &key_ring)?.map(Arc::new);
        let checker = Checker {
            lifecycle: lifecycle.clone(),
            stores: self.stores.clone(),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            last_known_sessions: Arc::clone(&self.last_known_sessions),
            rulebook: Arc::clone(&rulebook),
            sources,
            address: config.address.clone(),
            store_timeout: config.check_timeout,
            observers: Arc::clone(&self.observers),
            revalidation: self.create_revalidation(login.as_deref()),
            stream_registry: StreamRegistry {
                streams: Arc::clone(&self.streams),
                limits: config.stream_limits,
            },
        };
        let cookie = SessionCookie::new(config.cookie.clone())?;
        let sign_in = config.sign_in.clone();
        let contracts = Contracts {
            checker,
            cookie: cookie.clone(),
            sign_in: sign_in.map(|it| SignInRedirect::new(it, config.cookie.secure)),
            login,
            identity: config.identity.clone(),
            assertion_signer: config.assertion.clone(),
            clear_site_data: config.clear_site_data.clone(),
            literal_headers: config.literal_headers,
            stream_deadline: config.stream_deadline,
        };
        let kubernetes = config.admin.kubernetes.clone().map(Kubernetes::new);
        let kubernetes = kubernetes.transpose().map_err(StartupError::Kubernetes)?;
        let mut tokens = config.admin.tokens.clone();
        if tokens.is_empty() && kubernetes.is_none() {
            tokens.push(NamedToken::unnamed(self.ephemeral_token_hash));
        }
        let admin = Admin {
            route_reports: self.route_reports.clone(),
            lifecycle,
            stores: self.stores.clone(),
            streams: Arc::clone(&self.streams),
            clock: Arc::clone(&self.clock),
            recent_events: Arc::clone(&self.recent_events),
            rulebook,
            cookie,
            tokens: AdminTokens::new(tokens),
            kubernetes: kubernetes.map(Arc::new),
            allow_ageing: config.admin.allow_ageing,
            secure: match &config.admin.url {
                Some(url) => url.scheme() == "https",
                None => config.tls.get(ListenerName::Admin).is_some(),
            },
            login: Self::create_console_login(config, &key_ring)?,
            ops: Arc::clone(&self.ops),
            observers: Arc::clone(&self.observers),
            store_kind: match config.store {
                StoreConfig::Memory { .. } => "memory",
                StoreConfig::Redis { .. } => "Redis",
            },
            wrong_credentials: Arc::clone(&self.wrong_credentials),
            key_ring: Arc::clone(&key_ring),
            address_header: (config.admin.proxies > 0).then(|| AddressHeader {
                proxies: config.admin.proxies,
                ..config.address.clone()
            }),
        };
        let upstreams = Upstreams::new(config.proxy.clone());
        let upstreams =
            upstreams.map_err(|(index, error)| StartupError::Upstream { index, error })?;
        Ok(Assembly {
            key_ring,
            sweeper,
            supervisor,
            contracts,
            upstreams,
            admin,
            logout_endpoints,
            encryption: PerListener::from_fn(|name| {
                let tls = config.tls.get(name).as_ref();
                tls.map(|tls| tls.with_protocols(name.protocols()))
            }),
        })
    }
}

impl ProcessState {
    /// Creates the sources of credentials. An issuer that the previous configuration also had keeps its fetched keys.
    fn create_sources(
        &self,
        config: &Config,
        key_ring: Arc<KeyRing>,
    ) -> Result<Sources, StartupError> {
        let jwt = config.jwt.as_ref();
        let issuers = jwt.map_or(&[][..], |jwt| &jwt.issuers);
        let sources = issuers.iter().map(|config| self.create_jwt_source(config));
        Ok(Sources {
            extractor: CredentialExtractor {
                cookie: config.cookie.name.clone(),
                bearer: config.bearer,
                jwt: jwt.map(|jwt| jwt.locations.clone()),
            },
            key_ring,
            delegates: self
                .create_delegates(config)
                .map_err(StartupError::Delegate)?,
            jwt: sources
                .collect::<Result<_, reqwest::Error>>()
                .map_err(StartupError::Issuer)?,
        })
    }
}

impl ProcessState {
    /// Creates the source for the JWTs of one issuer, with its keys.
    fn create_jwt_source(&self, config: &IssuerSettings) -> Result<JwtSource, reqwest::Error> {
        let keys = match &config.keys {
            KeySource::File(keys) => {
                self.metrics.count_keys_fetch(&config.name, true);
                IssuerKeys::from_static(keys.clone())
            }
            KeySource::Fetched(settings) => {
                let fetcher = HttpFetcher::new(settings)?;
                self.key_cache.get(settings, || {
                    IssuerKeys::start_fetching(
                        fetcher,
                        settings.freshness,
                        Arc::clone(&self.clock),
                        Arc::clone(&self.metrics),
                        config.name.clone(),
                    )
                })
            }
        };
        Ok(JwtSource {
            issuer: config.issuer.clone(),
            keys,
            policy: config.policy.clone(),
        })
    }

    /// Creates the sign-in with identity providers; `None` if it is not configured.
    fn create_login(
        &self,
        config: &Config,
        key_ring: &Arc<KeyRing>,
    ) -> Result<Option<Login>, StartupError> {
        let Some(settings) = &config.login else {
            return Ok(None);
        };
        for provider in &settings.providers {
            self.metrics.init_logins(&provider.issuer.name);
        }
        Ok(Some(Login {
            url: settings.url.clone(),
            purpose: "sign-in",
            max_age: settings.max_age,
            revalidation_interval: settings.revalidation_interval,
            providers: create_providers(settings, &settings.url, CALLBACK_PATH)?,
            key_ring: Arc::clone(key_ring),
            secure: config.cookie.secure,
            domain: config.cookie.domain.clone(),
        }))
    }

    /// Creates the revalidation of sessions; `None` if it is off.
    fn create_revalidation(&self, login: Option<&Login>) -> Option<Revalidation> {
        let (queue, diagnostics) = (&self.revalidations, &self.provider_diagnostics);
        let revalidation = Revalidation::for_login(login?, queue, diagnostics, &self.metrics)?;
        for name in revalidation.providers.values() {
            self.metrics.init_revalidations(name);
        }
        Some(revalidation)
    }

    /// Creates the console sign-in with identity providers; `None` if it is not configured, or if no group has access.
    fn create_console_login(
        config: &Config,
        key_ring: &Arc<KeyRing>,
    ) -> Result<Option<ConsoleLogin>, StartupError> {
        let (Some(settings), Some(url)) = (&config.login, &config.admin.url) else {
            return Ok(None);
        };
        if config.admin.groups.is_empty() {
            return Ok(None);
        }
        Ok(Some(ConsoleLogin {
            login: Login {
                url: url.clone(),
                purpose: "console",
                max_age: MaxAge::Of(admin::max_console_auth_age(&config.rulebook.policies)),
                // Operator sessions are not revalidated, because they are short and have no refresh token.
                revalidation_interval: None,
                providers: create_providers(settings, url, admin::CALLBACK_PATH)?,
                key_ring: Arc::clone(key_ring),
                secure: url.scheme() == "https",
                domain: None,
            },
            groups: config.admin.groups.clone(),
        }))
    }

    /// Returns the issuers that may send logout notices: the JWT issuers and the login providers. An issuer that is
    /// in both lists appears once, and its notices can have the audience of the JWT issuer or of the login provider.
    fn collect_logout_issuers(
        &self,
        config: &Config,
        jwt: &[JwtSource],
    ) -> Result<Vec<JwtSource>, StartupError> {
        let mut logout_issuers = jwt.to_vec();
        let providers = config.login.iter().flat_map(|login| &login.providers);
        for ProviderSettings { issuer, .. } in providers {
            let mut sources = logout_issuers.iter_mut();
            let existing = sources.find(|source| source.issuer.issuer == issuer.issuer.issuer);
            match existing {
                Some(source) => {
                    let audiences = issuer.issuer.audiences.iter().cloned();
                    source.issuer.audiences.extend(audiences);
                    // If one of the two configurations requires it, each notice ends all sessions of the subject.
                    if issuer.issuer.logout_scope == LogoutScope::User {
                        source.issuer.logout_scope = LogoutScope::User;
                    }
                }
                None => logout_issuers.push(
                    self.create_jwt_source(issuer)
                        .map_err(StartupError::Provider)?,
                ),
            }
        }
        Ok(logout_issuers)
    }

    /// Creates the clients of other authorization services.
    fn create_delegates(&self, config: &Config) -> Result<Vec<Delegate>, reqwest::Error> {
        let settings = config.delegates.iter().cloned();
        let delegates = settings.map(|it| Delegate::new(it, Arc::clone(&self.metrics)));
        delegates.collect()
    }
}

/// Creates the providers. After a sign-in, a provider redirects the browser to a path below `path` on the host of
/// `base`.
fn create_providers(
    settings: &LoginSettings,
    base: &Url,
    path: &str,
) -> Result<BTreeMap<String, Provider>, StartupError> {
    let all = settings.providers.iter().map(|provider| {
        let name = provider.issuer.name.clone();
        Ok((name, Provider::new(provider.clone(), base, path)?))
    });
    let all: Result<_, reqwest::Error> = all.collect();
    all.map_err(StartupError::Provider)
}

impl LiveAssembly {
    pub(super) fn new(policies: Live<Policies>, assembly: Assembly) -> Self {
        let observers = Arc::clone(&assembly.contracts.checker.observers);
        Self {
            observers,
            policies,
            sweeper: Live::new(assembly.sweeper),
            supervisor: Live::new(assembly.supervisor),
            contracts: Live::new(assembly.contracts),
            upstreams: Live::new(assembly.upstreams),
            admin: Live::new(assembly.admin),
            logout_endpoints: Live::new(assembly.logout_endpoints),
            encryption: assembly.encryption.map(Live::new),
        }
    }

    /// Replaces all live parts with the parts of `assembly`. Does not turn off TLS or client certificates of a
    /// listener.
    pub(super) fn replace(&self, assembly: Assembly) {
        self.policies
            .replace(Arc::clone(&assembly.sweeper.policies));
        self.sweeper.replace(assembly.sweeper);
        self.supervisor.replace(assembly.supervisor);
        self.contracts.replace(assembly.contracts);
        self.upstreams.replace(assembly.upstreams);
        self.admin.replace(assembly.admin);
        self.logout_endpoints.replace(assembly.logout_endpoints);
        for (name, encryption) in assembly.encryption.iter() {
            let live_encryption = self.encryption.get(name);
            if is_less_protected(&live_encryption.current(), encryption) {
                tracing::warn!(
                    listener = name.as_str(),
                    "tls.{0}: restart required, because a reload does not turn off TLS or the verification of client \
                     certificates",
                    name.as_str()
                );
            } else {
                live_encryption.replace(encryption.clone());
            }
        }
    }
}
