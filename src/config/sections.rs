//! The configuration as written: every key with its default. Values such as durations are still
//! text.

mod admin;
mod delegated;
mod identity;
mod jwt;
mod login;
mod policy;
mod rule;
mod telemetry;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shape;
use super::text::{RawUrl, TextList};
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

/// The configuration of Curfew.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// The home policy of sessions for which no other policy is set.
    pub default_policy: String,
    /// Hosts that Curfew protects, in addition to hosts named elsewhere in the configuration:
    /// `app.example.com`, or `*.example.com` for all subdomains.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::StringList")]
    pub hosts: TextList<String>,
    /// `deny` or `allow`: how to answer requests for other hosts, if the configuration names any
    /// host.
    #[schemars(extend("enum" = ["deny", "allow"]))]
    pub unknown_hosts: String,
    /// `protected` or `public`: whether CORS preflights need a session, unless a rule sets it.
    #[schemars(extend("enum" = ["protected", "public"]))]
    pub cors_preflight: String,
    /// How long Curfew keeps the reason of a session end.
    #[schemars(with = "shape::Duration")]
    pub end_retention: String,
    /// After a stop signal: how long the process keeps serving while it reports not ready.
    #[schemars(with = "shape::Duration")]
    pub shutdown_delay: String,
    /// After a stop signal: how long requests in flight may take to finish.
    #[schemars(with = "shape::Duration")]
    pub shutdown_timeout: String,
    /// Listener addresses and limits.
    pub listen: RawListen,
    /// TLS on the gRPC listener.
    pub grpc: RawGrpc,
    /// Options of `ext-authz` over HTTP.
    pub ext_authz: RawExtAuthz,
    /// The sign-in page that browsers are redirected to.
    pub sign_in: RawSignIn,
    /// Sign-in with OpenID Connect, with Curfew as the client.
    pub login: RawLogin,
    /// The paths below `/.curfew/`, for browsers.
    pub browser: RawBrowser,
    /// The session store.
    pub store: RawStore,
    /// Opaque session tokens and the keys that sign them.
    pub token: RawToken,
    /// JSON Web Tokens of identity providers.
    pub jwt: RawJwt,
    /// Other authorization services that Curfew asks.
    pub delegated: RawDelegated,
    /// The session cookie.
    pub cookie: RawCookie,
    /// Names of the identity headers for the backend.
    pub identity: RawIdentity,
    /// Signed identity assertions for applications.
    pub assertion: RawAssertion,
    /// The admin API and the console.
    pub admin: RawAdmin,
    /// Session ends as events for other programs.
    pub events: RawEvents,
    /// Log format and level.
    pub log: RawLog,
    /// Traces for OpenTelemetry.
    pub traces: RawTraces,
    /// Where to find the address of a client.
    pub client_address: RawClientAddress,
    /// What counts as activity, for every policy.
    pub activity: RawActivity,
    /// The policies, by name.
    pub policies: BTreeMap<String, RawPolicy>,
    /// Rules, in order; the first rule that matches a request applies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RawRule>,
}

/// The paths below `/.curfew/`, for browsers.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawBrowser {
    /// Site data that a browser deletes at sign-out (`Clear-Site-Data`): `cache`, `cookies`,
    /// `storage`, `executionContexts`.
    #[schemars(with = "shape::StringList")]
    pub clear_site_data: TextList<String>,
}

/// Where to find the address of a client, for sessions that are bound to it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawClientAddress {
    /// The header to which every proxy appends the address of its client.
    pub header: String,
    /// The number of trusted proxies that append to the header.
    pub trusted_proxies: usize,
}

/// What counts as activity, for every policy.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawActivity {
    /// Additional headers, with their values, that mark a request as a background request.
    pub background_headers: BTreeMap<String, String>,
}

/// Listeners, each with an address and a port.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawListen {
    /// HTTP contracts, for proxies.
    pub check: String,
    /// `ext-authz` over gRPC, for Envoy; `off` to disable.
    pub grpc: String,
    /// The SPOE agent, for HAProxy; `off` to disable.
    pub spoe: String,
    /// Paths for browsers and identity providers: `/.curfew/`, `/oidc/`, `/ssf/`, the JWKS of assertions; `off` to
    /// disable.
    pub browser: String,
    /// The admin API and the console.
    pub admin: String,
    /// Metrics and health probes.
    pub ops: String,
    /// The maximum number of open connections on each of `check`, `grpc`, `spoe`, `browser` and
    /// `admin`.
    pub max_connections: usize,
    /// The maximum number of concurrent requests on each of `check`, `grpc`, `spoe`, `browser` and
    /// `admin`.
    pub max_in_flight: usize,
}

/// TLS on the gRPC listener.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawGrpc {
    /// A file with the PEM certificate chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    /// A file with the PEM private key of the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// A file with PEM certificates of the CAs that client certificates are verified against
    /// (mutual TLS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<String>,
}

/// Options of `ext-authz` over HTTP.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawExtAuthz {
    /// Whether to read the original request from headers named `Method` and `Path`.
    pub literal_headers: bool,
}

/// The sign-in page that browsers are redirected to.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawSignIn {
    /// The address of the sign-in page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The query parameter of the sign-in page that receives the return address.
    pub return_parameter: String,
    /// Hosts that a return address may have.
    #[schemars(with = "shape::StringList")]
    pub allowed_hosts: TextList<String>,
}

/// The session store.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawStore {
    /// `memory:`, `redis://…`, `redis+sentinel://…`, `redis+cluster://…`; `rediss…` for TLS.
    #[schemars(with = "String")]
    pub url: RawUrl,
    /// The ACL user; overrides the user in the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password; overrides the password in the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub password: Option<Secret<String>>,
    /// A file with the password; read again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
    /// The ACL user of the sentinels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_username: Option<String>,
    /// The password of the sentinels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub sentinel_password: Option<Secret<String>>,
    /// A file with the password of the sentinels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_password_file: Option<String>,
    /// A file with PEM certificates of the CAs to trust over `rediss://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// A file with the PEM client certificate for `rediss://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    /// A file with the PEM private key of the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// The prefix of every Redis key.
    pub prefix: String,
    /// The timeout for opening a connection.
    #[schemars(with = "shape::Duration")]
    pub connect_timeout: String,
    /// The timeout for one operation.
    #[schemars(with = "shape::Duration")]
    pub command_timeout: String,
    /// The store timeout per check.
    #[schemars(with = "shape::Duration")]
    pub check_timeout: String,
    /// The number of Redis replicas that must acknowledge a sign-in or a revocation (`WAIT`).
    pub wait_replicas: u16,
    /// How long to wait for these acknowledgements.
    #[schemars(with = "shape::Duration")]
    pub wait_timeout: String,
    /// How long each process keeps the session ends that it wrote, to repeat them after a
    /// fail-over.
    #[schemars(with = "shape::Duration")]
    pub end_journal: String,
    /// Whether `curfew serve` upgrades records of older versions.
    pub migrate: bool,
    /// With Redis: reject unencrypted records from the start, even while an upgrade is marked as unfinished in Redis.
    pub sealed_only: bool,
    /// The maximum number of sessions with `memory:`.
    pub max_sessions: usize,
    /// The approximate size of the near cache with Redis, in sessions; 0 to disable it.
    pub near_cache_sessions: usize,
}

/// Opaque session tokens.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawToken {
    /// The key ring: base64 keys of 32 bytes; the first key signs.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::StringList")]
    pub keys: TextList<Secret<String>>,
    /// A file with the key ring, one key per line; `#` starts a comment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_file: Option<String>,
    /// Whether to accept the token in `Authorization: Bearer`, besides the cookie.
    pub bearer: bool,
}

/// The session cookie.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawCookie {
    /// The cookie name.
    pub name: String,
    /// The `Domain` attribute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The `Path` attribute.
    pub path: String,
    /// The `Secure` attribute: browsers send the cookie over TLS only.
    pub secure: bool,
    /// The `SameSite` attribute: `strict`, `lax` or `none`.
    #[schemars(extend("enum" = ["strict", "lax", "none"]))]
    pub same_site: String,
    /// Whether the cookie outlives the browser process (`Max-Age`).
    pub persistent: bool,
}

/// Session ends as events for other programs.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawEvents {
    /// Whether to write them to a Redis stream.
    pub stream: bool,
    /// The approximate maximum length of the stream, in events.
    pub stream_length: u64,
    /// The address of the webhook that receives them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub webhook_url: Option<RawUrl>,
    /// The signing key of the webhook, in base64, with or without the prefix `whsec_`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub webhook_secret: Option<Secret<String>>,
    /// A file with the signing key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_secret_file: Option<String>,
    /// The timeout of one delivery attempt.
    #[schemars(with = "shape::Duration")]
    pub webhook_timeout: String,
    /// The maximum number of events that wait for delivery.
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
            trusted_proxies: 1,
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
