//! What may be written in a configuration: every key with its default, all values as text.

mod admin;
mod delegated;
mod identity;
mod jwt;
mod login;
mod policy;
mod rule;
mod shape;
mod telemetry;
mod text;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::secret::Secret;

pub use admin::{
    AdminTokenList, RawAdmin, RawAdminToken, RawConsole, RawKubernetes, RawNamedToken,
};
pub use delegated::{RawDelegated, RawService};
pub use identity::{RawAssertion, RawIdentity};
pub use jwt::{RawIssuer, RawJwt};
pub use login::{RawLogin, RawProvider};
pub use policy::{RawPolicy, RawRemember, RawVariant};
pub use rule::RawRule;
pub use telemetry::{RawLog, RawTraces};
pub use text::{FromText, OneOrMany, RawUrl, TextList, redacted_url};

/// The whole configuration.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// The policy of a session that names none.
    pub default_policy: String,
    /// Hosts that requests are judged for, besides those that are named elsewhere: `app.example.com`, or
    /// `*.example.com` for all below.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::Texts")]
    pub hosts: TextList<String>,
    /// `deny` or `allow`: what becomes of requests for other hosts, once a host is named anywhere.
    #[schemars(extend("enum" = ["deny", "allow"]))]
    pub unknown_hosts: String,
    /// `protected` or `public`: whether CORS preflights need a session where no rule says more.
    #[schemars(extend("enum" = ["protected", "public"]))]
    pub cors_preflight: String,
    /// How long the reason of a session's end can be told.
    #[schemars(with = "shape::Duration")]
    pub end_retention: String,
    /// How long the process goes on as before when it is told to stop, and only says that it is not ready.
    #[schemars(with = "shape::Duration")]
    pub shutdown_delay: String,
    /// The most time that requests in flight get to finish when the process is told to stop.
    #[schemars(with = "shape::Duration")]
    pub shutdown_timeout: String,
    /// Where to listen.
    pub listen: RawListen,
    /// TLS on the gRPC listener.
    pub grpc: RawGrpc,
    /// What is peculiar to `ext-authz` over HTTP.
    pub ext_authz: RawExtAuthz,
    /// Where browsers are sent to sign in.
    pub sign_in: RawSignIn,
    /// Sign-in by OpenID Connect, by Curfew itself.
    pub login: RawLogin,
    /// What browsers ask of Curfew itself.
    pub browser: RawBrowser,
    /// Where sessions live.
    pub store: RawStore,
    /// Opaque session tokens.
    pub token: RawToken,
    /// The tokens of identity providers.
    pub jwt: RawJwt,
    /// Other authorization services.
    pub delegated: RawDelegated,
    /// The session cookie.
    pub cookie: RawCookie,
    /// Under which names the backend is told who is there.
    pub identity: RawIdentity,
    /// Who is there, signed for applications.
    pub assertion: RawAssertion,
    /// The admin API.
    pub admin: RawAdmin,
    /// The ends of sessions, for other programs.
    pub events: RawEvents,
    /// Logs.
    pub log: RawLog,
    /// Traces, for OpenTelemetry.
    pub traces: RawTraces,
    /// Where the address of a client is found.
    pub client_address: RawClientAddress,
    /// What counts as activity, under every policy.
    pub activity: RawActivity,
    /// The policies, by name.
    pub policies: BTreeMap<String, RawPolicy>,
    /// What applies to which request; the first that matches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RawRule>,
}

/// What browsers ask of Curfew itself, below `/.curfew/`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawBrowser {
    /// What a browser is to forget of the application when its user signs out: `cache`, `cookies`,
    /// `storage`, `executionContexts`.
    #[schemars(with = "shape::Texts")]
    pub clear_site_data: TextList<String>,
}

/// Where the address of a client is found, for sessions that are bound to it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawClientAddress {
    /// The header with the list of addresses that every proxy adds to.
    pub header: String,
    /// How many trusted proxies add to it.
    pub proxies: usize,
}

/// What counts as activity, under every policy.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawActivity {
    /// More headers by which clients say that a request happens in the background, with the value.
    pub background_headers: BTreeMap<String, String>,
}

/// Where to listen, each an address and a port.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawListen {
    /// The contracts over HTTP, for proxies.
    pub check: String,
    /// `ext-authz` over gRPC, for Envoy; `off` for none.
    pub grpc: String,
    /// The SPOE agent, for HAProxy; `off` for none.
    pub spoe: String,
    /// What browsers and identity providers ask: `/.curfew/`, `/oidc/`, `/ssf/`, the keys of assertions; `off` for
    /// none.
    pub browser: String,
    /// The admin API.
    pub admin: String,
    /// Metrics and probes.
    pub ops: String,
    /// The most connections at once on each of `check`, `grpc`, `spoe`, `browser` and `admin`.
    pub max_connections: usize,
    /// The most requests that each of `check`, `grpc`, `spoe`, `browser` and `admin` answers at once.
    pub max_in_flight: usize,
}

/// TLS on the gRPC listener.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawGrpc {
    /// A file with the PEM certificate chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    /// A file with its PEM private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// A file with PEM certificates of the authorities that client certificates must come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<String>,
}

/// What is peculiar to `ext-authz` over HTTP.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawExtAuthz {
    /// Whether the original request is in headers named `Method` and `Path`.
    pub literal_headers: bool,
}

/// Where browsers are sent to sign in.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawSignIn {
    /// The address of the sign-in page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The query parameter that gets the address of the page that was asked for.
    pub return_parameter: String,
    /// Hosts that the sign-in page may send browsers back to.
    #[schemars(with = "shape::Texts")]
    pub allowed_hosts: TextList<String>,
}

/// Where sessions live.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawStore {
    /// `memory:`, `redis://…`, `redis+sentinel://…`, `redis+cluster://…`; `rediss…` for TLS.
    #[schemars(with = "String")]
    pub url: RawUrl,
    /// The ACL user, instead of the URL's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password, instead of the URL's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub password: Option<Secret<String>>,
    /// A file that holds the password; read again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
    /// The ACL user of the sentinels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_username: Option<String>,
    /// The password of the sentinels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub sentinel_password: Option<Secret<String>>,
    /// A file that holds the password of the sentinels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_password_file: Option<String>,
    /// A file with PEM certificates of the authorities to trust over `rediss://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// A file with the PEM certificate to show over `rediss://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    /// A file with its PEM private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// What every key in Redis begins with.
    pub prefix: String,
    /// The most time to make a connection.
    #[schemars(with = "shape::Duration")]
    pub connect_timeout: String,
    /// The most time for one operation.
    #[schemars(with = "shape::Duration")]
    pub command_timeout: String,
    /// The most time that one check spends on the store.
    #[schemars(with = "shape::Duration")]
    pub check_timeout: String,
    /// How many replicas must have a sign-in or a revocation before it is confirmed.
    pub wait_replicas: u16,
    /// How long to wait for them.
    #[schemars(with = "shape::Duration")]
    pub wait_timeout: String,
    /// How long each process remembers the ends that it has written.
    #[schemars(with = "shape::Duration")]
    pub end_journal: String,
    /// Whether `serve` upgrades older records.
    pub migrate: bool,
    /// With Redis: refuse records that are not encrypted from the start, even while Redis says that an upgrade is not
    /// finished.
    pub sealed_only: bool,
    /// The most sessions that `memory:` holds.
    pub max_sessions: usize,
    /// About how many sessions are kept in this process for a moment, with Redis; 0 for none.
    pub near_cache_sessions: usize,
}

/// Opaque session tokens.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawToken {
    /// The key ring: base64 keys of 32 bytes, the signing one first.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::Texts")]
    pub keys: TextList<Secret<String>>,
    /// A file with the key ring, a key a line; `#` begins a comment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_file: Option<String>,
    /// Whether `Authorization: Bearer` is an alternative to the cookie.
    pub bearer: bool,
}

/// The session cookie.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawCookie {
    /// The name.
    pub name: String,
    /// The `Domain` attribute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The `Path` attribute.
    pub path: String,
    /// Whether it is sent over TLS only.
    pub secure: bool,
    /// `strict`, `lax` or `none`.
    #[schemars(extend("enum" = ["strict", "lax", "none"]))]
    pub same_site: String,
    /// Whether it survives the browser.
    pub persistent: bool,
}

/// The ends of sessions, for other programs.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawEvents {
    /// Whether they are written to a Redis stream.
    pub stream: bool,
    /// About how many the stream keeps.
    pub stream_length: u64,
    /// The address that they are sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub webhook_url: Option<RawUrl>,
    /// The key of the signatures, in base64, with or without `whsec_` in front.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub webhook_secret: Option<Secret<String>>,
    /// A file that holds the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_secret_file: Option<String>,
    /// The most time for one attempt.
    #[schemars(with = "shape::Duration")]
    pub webhook_timeout: String,
    /// How many wait at the most.
    pub webhook_queue: usize,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            default_policy: "default".to_owned(),
            hosts: TextList::default(),
            unknown_hosts: "deny".to_owned(),
            cors_preflight: "protected".to_owned(),
            end_retention: "1h".to_owned(),
            shutdown_delay: "0s".to_owned(),
            shutdown_timeout: "10s".to_owned(),
            listen: RawListen::default(),
            grpc: RawGrpc::default(),
            ext_authz: RawExtAuthz::default(),
            sign_in: RawSignIn::default(),
            login: RawLogin::default(),
            browser: RawBrowser::default(),
            store: RawStore::default(),
            token: RawToken::default(),
            jwt: RawJwt::default(),
            delegated: RawDelegated::default(),
            cookie: RawCookie::default(),
            identity: RawIdentity::default(),
            assertion: RawAssertion::default(),
            admin: RawAdmin::default(),
            events: RawEvents::default(),
            log: RawLog::default(),
            traces: RawTraces::default(),
            client_address: RawClientAddress::default(),
            activity: RawActivity::default(),
            policies: BTreeMap::new(),
            rules: Vec::new(),
        }
    }
}

impl Default for RawListen {
    fn default() -> Self {
        Self {
            check: "0.0.0.0:9180".to_owned(),
            grpc: "0.0.0.0:9181".to_owned(),
            spoe: "off".to_owned(),
            browser: "0.0.0.0:9183".to_owned(),
            admin: "127.0.0.1:9188".to_owned(),
            ops: "0.0.0.0:9189".to_owned(),
            max_connections: 10_000,
            max_in_flight: 4_096,
        }
    }
}

impl Default for RawSignIn {
    fn default() -> Self {
        Self {
            url: None,
            return_parameter: "rd".to_owned(),
            allowed_hosts: TextList::default(),
        }
    }
}

impl Default for RawStore {
    fn default() -> Self {
        Self {
            url: RawUrl("memory:".to_owned()),
            username: None,
            password: None,
            password_file: None,
            sentinel_username: None,
            sentinel_password: None,
            sentinel_password_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            prefix: "curfew:".to_owned(),
            connect_timeout: "1s".to_owned(),
            command_timeout: "100ms".to_owned(),
            check_timeout: "150ms".to_owned(),
            wait_replicas: 0,
            wait_timeout: "100ms".to_owned(),
            end_journal: "5m".to_owned(),
            migrate: true,
            sealed_only: false,
            max_sessions: 100_000,
            near_cache_sessions: 100_000,
        }
    }
}

impl Default for RawToken {
    fn default() -> Self {
        Self {
            keys: TextList(Vec::new()),
            keys_file: None,
            bearer: true,
        }
    }
}

impl Default for RawCookie {
    fn default() -> Self {
        Self {
            name: "__Host-session".to_owned(),
            domain: None,
            path: "/".to_owned(),
            secure: true,
            same_site: "lax".to_owned(),
            persistent: false,
        }
    }
}

impl Default for RawClientAddress {
    fn default() -> Self {
        Self {
            header: "x-forwarded-for".to_owned(),
            proxies: 1,
        }
    }
}

impl Default for RawEvents {
    fn default() -> Self {
        Self {
            stream: false,
            stream_length: 100_000,
            webhook_url: None,
            webhook_secret: None,
            webhook_secret_file: None,
            webhook_timeout: "5s".to_owned(),
            webhook_queue: 10_000,
        }
    }
}
