//! The configuration. Its values come from the environment, from a file, or from the defaults, in this order of
//! precedence. Values of the types in this module are always valid.
//!
//! [`sections`] has a file for each section of the configuration: its keys as text, their defaults, and their parser.
//! [`load`] merges the file and the environment. `validate` runs the parsers of all sections. Every mistake is reported
//! with its key, origin and value.

mod load;
mod mistakes;
mod problem;
mod schema;
mod schema_types;
mod section;
pub mod sections;
mod source;
pub mod text;
mod validate;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use url::Url;

use crate::contract::{CookieSettings, SignInSettings};
use crate::credential::{JwtLocations, KeyRing, NamedToken};
use crate::delegate::DelegateSettings;
use crate::identity::{AssertionSigner, IdentityHeaders};
use crate::jwks::IssuerSettings;
use crate::kubernetes::ClusterSettings;
use crate::kubernetes::KubernetesSettings;
use crate::login::LoginSettings;
use crate::policy::{AddressHeader, Rulebook};
use crate::proxy::ProxySettings;
use crate::store::redis::RedisSettings;
use crate::streams::StreamLimits;
use crate::telemetry::logging::LogFormat;
use crate::telemetry::traces::TraceSettings;
use crate::webhook::WebhookSettings;

pub use crate::listener::{ListenerName, PerListener, Tls};
#[cfg(any(test, feature = "fuzzing"))]
pub use load::load_text;
pub use load::{Environment, Loaded, SessionSettings, load, load_rulebook, load_session_settings};
pub use problem::{ConfigError, ConfigProblem};
pub use schema::schema;
pub use source::{ConfigSource, FileContents};

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Listener addresses and their limits.
    pub listen: Listen,
    /// TLS of each listener; `None` for plaintext.
    pub tls: PerListener<Option<Tls>>,
    /// Whether `ext-authz` over HTTP reads method and path from the headers `Method` and `Path`, not from the request
    /// line of the check. NGINX Gateway Fabric sends these headers.
    pub literal_headers: bool,
    /// Whether `ext-authz` sends the time until the absolute limit as `grpc-timeout`.
    pub stream_deadline: bool,
    /// The sign-in page that browsers are redirected to; `None` to answer browsers with 401 like
    /// other clients.
    pub sign_in: Option<SignInSettings>,
    /// Sign-in with OpenID Connect through Curfew; `None` if it is not configured.
    pub login: Option<LoginSettings>,
    /// The session store.
    pub store: StoreConfig,
    /// The total time that one check may spend on store operations.
    pub check_timeout: Duration,
    /// How long each process keeps its recent session ends, to write them again after a fail-over.
    pub journal_retention: Duration,
    /// The webhook that receives session ends; `None` if no webhook is configured.
    pub webhook: Option<WebhookSettings>,
    /// Whether Curfew also accepts its tokens in `Authorization: Bearer`, not only in the cookie.
    pub bearer: bool,
    /// Whether OpenID Connect Front-Channel Logout is accepted.
    pub front_channel_logout: bool,
    /// JSON Web Tokens of identity providers; `None` if no issuer is configured.
    pub jwt: Option<JwtConfig>,
    /// Delegated authorization services.
    pub delegates: Vec<DelegateSettings>,
    /// Names of the headers that tell the application who signed in.
    pub identity: IdentityHeaders,
    /// The `Clear-Site-Data` header of the sign-out response.
    pub clear_site_data: Option<HeaderValue>,
    /// Signs identity assertions for applications; `None` if no key is configured.
    pub assertion: Option<Arc<AssertionSigner>>,
    /// The keys that sign tokens; `None` if Curfew generates a key for this process.
    pub key_ring: Option<KeyRing>,
    /// Name and attributes of the session cookie.
    pub cookie: CookieSettings,
    /// The policies, the rules, and the hosts that the configuration names.
    pub rulebook: Rulebook,
    /// The header with the client address, and the number of trusted proxies.
    pub address: AddressHeader,
    /// How long Curfew keeps the reason of a session end.
    pub end_retention: Duration,
    /// Admin API and console.
    pub admin: AdminConfig,
    /// The Kubernetes cluster whose policies Curfew reads; `None` if it reads none.
    pub cluster: Option<ClusterSettings>,
    /// The applications behind the proxy listener.
    pub proxy: ProxySettings,
    /// Limits on open streams.
    pub stream_limits: StreamLimits,
    /// Log format and level.
    pub log: LogConfig,
    /// How long a stopping process waits for requests in flight.
    pub shutdown_timeout: Duration,
    /// Trace export; `None` if no collector is configured.
    pub traces: Option<TraceSettings>,
    /// How long a stopping process reports not ready before its listeners close.
    pub shutdown_delay: Duration,
}

/// Listener addresses, with limits that apply to each listener separately.
#[derive(Clone, Debug)]
pub struct Listen {
    /// The addresses of each listener; a listener that is off has none.
    pub addresses: PerListener<Vec<SocketAddr>>,
    /// The maximum number of connections per listener, except `ops`, which has a fixed limit.
    pub max_connections: usize,
    /// The maximum number of concurrent requests per listener, except `ops`.
    pub max_in_flight: usize,
}

/// JSON Web Tokens of identity providers.
#[derive(Clone, Debug)]
pub struct JwtConfig {
    /// Where a request can carry a token.
    pub locations: JwtLocations,
    /// The accepted issuers.
    pub issuers: Vec<IssuerSettings>,
}

/// The session store.
#[derive(Clone, Debug)]
pub enum StoreConfig {
    /// Memory of this process; a restart loses all sessions.
    Memory {
        /// The maximum number of sessions.
        max_sessions: usize,
    },
    /// Redis or a compatible server.
    Redis {
        /// Servers, credentials, TLS and timeouts.
        settings: Box<RedisSettings>,
        /// The approximate size of the near cache (verified records in the memory of this process), in sessions; 0 to
        /// disable the cache.
        near_cache_sessions: usize,
    },
}

/// The admin API and the console.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// The admin tokens; if empty, Curfew generates one for this process.
    pub tokens: Vec<NamedToken>,
    /// Authorization of Kubernetes users with RBAC; `None` if it is off.
    pub kubernetes: Option<KubernetesSettings>,
    /// Whether the API may move the times of a session into the past, for tests of timeouts.
    pub allow_ageing: bool,
    /// The public address of the console.
    pub url: Option<Url>,
    /// Groups whose members may use the console after sign-in with a provider of `login.providers`.
    pub groups: Vec<String>,
    /// The number of trusted proxies in front of the listener.
    pub proxies: usize,
}

/// Log settings.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The format of a log line.
    pub format: LogFormat,
    /// A level, or directives such as `info,curfew_store=debug`.
    pub filter: String,
}

#[cfg(test)]
mod tests;
