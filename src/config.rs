//! Configuration: defaults, then a file, then the environment, parsed into types that can't be
//! wrong.
//!
//! [`raw`] is what may be written, all of it text; [`load`] lays the sources over each other;
//! `validate` turns the text into the types of this module and tells every mistake with its key,
//! its place and its value.

mod load;
mod problem;
pub mod raw;
mod schema;
mod source;
mod validate;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use url::Url;

use crate::contract::{CookieSettings, SignInSettings};
use crate::credential::{JwtPlaces, KeyRing, NamedToken};
use crate::delegate::DelegateSettings;
use crate::identity::{AssertionSigner, IdentityHeaders};
use crate::jwks::IssuerSettings;
use crate::kubernetes::KubernetesSettings;
use crate::listener::GrpcTlsSettings;
use crate::login::LoginSettings;
use crate::policy::{AddressHeader, Rulebook};
use crate::store::redis::RedisSettings;
use crate::telemetry::logging::LogFormat;
use crate::telemetry::traces::TraceSettings;
use crate::webhook::WebhookSettings;

#[cfg(any(test, feature = "fuzzing"))]
pub use load::load_text;
pub use load::{Environment, Loaded, load, load_book, load_book_and_sign_ins};
pub use problem::{ConfigError, Problem};
pub use schema::schema;
pub use source::{Contents, Source};

/// A configuration that makes sense.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// TLS on the gRPC listener, unless it speaks in the clear.
    pub grpc_tls: Option<GrpcTlsSettings>,
    /// Whether `ext-authz` over HTTP finds the original request in headers named `Method` and
    /// `Path`, as NGINX Gateway Fabric sends them, and not in its own request line.
    pub literal_headers: bool,
    /// Where browsers are sent to sign in; `None` to answer them like everybody else.
    pub sign_in: Option<SignInSettings>,
    /// Sign-in by Curfew itself, if it does that.
    pub login: Option<LoginSettings>,
    /// Where sessions live.
    pub store: StoreConfig,
    /// The most time that one check spends on the store.
    pub check_timeout: Duration,
    /// How long each process remembers the ends that it has written.
    pub end_journal: Duration,
    /// Where the ends of sessions are sent, if anywhere.
    pub webhook: Option<WebhookSettings>,
    /// Whether Curfew's own tokens are looked for in `Authorization: Bearer`, too.
    pub bearer: bool,
    /// Whether OpenID Connect Front-Channel Logout is taken.
    pub front_channel_logout: bool,
    /// The tokens of identity providers, where there are any.
    pub jwt: Option<JwtConfig>,
    /// Other authorization services.
    pub delegates: Vec<DelegateSettings>,
    /// Under which names the backend is told who is there.
    pub identity: IdentityHeaders,
    /// What a browser is to forget when its user signs out (`Clear-Site-Data`).
    pub clear_site_data: Option<HeaderValue>,
    /// Signs who is there for applications, if anybody does.
    pub assertion: Option<Arc<AssertionSigner>>,
    /// The keys that tokens are signed with; `None` to make one for this process.
    pub key_ring: Option<KeyRing>,
    /// How the session cookie is written.
    pub cookie: CookieSettings,
    /// The policies and rules.
    pub book: Rulebook,
    /// Where the address of a client is found.
    pub address: AddressHeader,
    /// How long the reason of a session's end can be told.
    pub end_retention: Duration,
    /// The admin API.
    pub admin: AdminConfig,
    /// Logs.
    pub log: LogConfig,
    /// The most time that requests in flight get to finish when the process is told to stop.
    pub shutdown_timeout: Duration,
    /// Where traces go, if anywhere.
    pub traces: Option<TraceSettings>,
    /// How long it goes on before that, and only says that it is not ready.
    pub shutdown_delay: Duration,
}

/// Addresses to listen on.
#[derive(Clone, Copy, Debug)]
pub struct Listen {
    /// The contracts over HTTP, for proxies.
    pub check: SocketAddr,
    /// `ext-authz` over gRPC.
    pub grpc: Option<SocketAddr>,
    /// The SPOE agent.
    pub spoe: Option<SocketAddr>,
    /// What browsers and identity providers ask.
    pub browser: Option<SocketAddr>,
    /// The admin API.
    pub admin: SocketAddr,
    /// Metrics and probes.
    pub ops: SocketAddr,
    /// The most connections at once on each of them but `ops`, which few have to do with.
    pub max_connections: usize,
    /// The most requests that each of them answers at once.
    pub max_in_flight: usize,
}

/// The tokens of identity providers.
#[derive(Clone, Debug)]
pub struct JwtConfig {
    /// Where they are in a request.
    pub places: JwtPlaces,
    /// Who issues them.
    pub issuers: Vec<IssuerSettings>,
}

/// Where sessions live.
#[derive(Clone, Debug)]
pub enum StoreConfig {
    /// In this process.
    Memory {
        /// The most sessions to hold.
        max_sessions: usize,
    },
    /// In Redis.
    Redis {
        /// How to reach it.
        settings: Box<RedisSettings>,
        /// About how many sessions the near cache holds; 0 where there is none.
        near_cache_sessions: usize,
    },
}

/// The admin API.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// The tokens that open it; none to make a token for this process.
    pub tokens: Vec<NamedToken>,
    /// Kubernetes, where its users may use the API as its roles say.
    pub kubernetes: Option<KubernetesSettings>,
    /// Whether sessions may be aged.
    pub allow_ageing: bool,
    /// Where browsers find the console.
    pub url: Option<Url>,
    /// Whose members may use the console, by the login's providers.
    pub groups: Vec<String>,
    /// How many trusted proxies stand in front of the listener.
    pub proxies: usize,
}

/// Logs.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// How a line is written.
    pub format: LogFormat,
    /// What is written: a level, or directives such as `info,curfew_store=debug`.
    pub filter: String,
}

#[cfg(test)]
mod tests;
