//! The sections of the configuration. The file of each section has the keys of the section as text, their defaults, and
//! their parser. It also lists the keys that are secret, and the keys whose changes need a restart.

mod activity;
mod admin;
mod assertion;
mod browser;
mod client_address;
mod cookie;
mod delegated;
pub(super) mod events;
mod ext_authz;
pub(super) mod hosts;
mod identity;
mod jwt;
mod kubernetes;
mod listen;
mod log;
pub(super) mod login;
pub(super) mod policy;
mod proxy;
pub(super) mod rule;
pub(super) mod shutdown;
mod sign_in;
mod store;
mod streams;
mod tls;
mod token;
mod traces;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema_types;
use super::section::{Redaction, Section};
use super::text::TextList;

pub use activity::RawActivity;
pub use admin::{
    AdminTokenList, RawAdmin, RawAdminToken, RawConsole, RawKubernetes, RawNamedToken,
};
pub use assertion::RawAssertion;
pub use browser::RawBrowser;
pub use client_address::RawClientAddress;
pub use cookie::RawCookie;
pub use delegated::{RawDelegated, RawService};
pub use events::RawEvents;
pub use ext_authz::RawExtAuthz;
pub use identity::RawIdentity;
pub use jwt::{RawIssuer, RawJwt};
pub use kubernetes::RawKubernetesPolicies;
pub use listen::RawListen;
pub use log::RawLog;
pub use login::{RawLogin, RawProvider};
pub use policy::{RawPolicy, RawRemember, RawVariant};
pub use proxy::{RawProxy, RawUpstream};
pub use rule::RawRule;
pub use sign_in::RawSignIn;
pub use store::RawStore;
pub use streams::RawStreams;
pub use tls::{RawCertificate, RawListenerTls, RawTls};
pub use token::RawToken;
pub use traces::RawTraces;

/// The configuration of Curfew.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// The home policy of sessions for which no other policy is set.
    pub default_policy: String,
    /// Hosts that Curfew protects, in addition to hosts named elsewhere in the configuration:
    /// `app.example.com`, or `*.example.com` for all subdomains.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub hosts: TextList<String>,
    /// `deny` or `allow`: the answer to requests for unknown hosts, if the configuration names any
    /// host.
    #[schemars(extend("enum" = ["deny", "allow"]))]
    pub unknown_hosts: String,
    /// `protected` or `public`: whether CORS preflights need a session, unless a rule sets it.
    #[schemars(extend("enum" = ["protected", "public"]))]
    pub cors_preflight: String,
    /// How long Curfew keeps the reason of a session end.
    #[schemars(with = "schema_types::Duration")]
    pub end_retention: String,
    /// After a stop signal: how long the process keeps serving while it reports not ready.
    #[schemars(with = "schema_types::Duration")]
    pub shutdown_delay: String,
    /// After a stop signal: how long requests in flight may take to finish.
    #[schemars(with = "schema_types::Duration")]
    pub shutdown_timeout: String,
    /// Listener addresses and limits.
    pub listen: RawListen,
    /// TLS of the listeners.
    pub tls: RawTls,
    /// Options of the contract `ext-authz`.
    pub ext_authz: RawExtAuthz,
    /// Session limits as Kubernetes resources.
    pub kubernetes: RawKubernetesPolicies,
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
    /// Events that inform other programs about session ends.
    pub events: RawEvents,
    /// Log format and level.
    pub log: RawLog,
    /// Export of OpenTelemetry traces.
    pub traces: RawTraces,
    /// Curfew as a reverse proxy.
    pub proxy: RawProxy,
    /// Limits on open streams.
    pub streams: RawStreams,
    /// The header that contains the address of a client.
    pub client_address: RawClientAddress,
    /// What counts as activity, for every policy.
    pub activity: RawActivity,
    /// The policies, by name.
    pub policies: BTreeMap<String, RawPolicy>,
    /// Rules, in order; the first rule that matches a request applies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RawRule>,
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
            tls: RawTls::default(),
            ext_authz: RawExtAuthz::default(),
            kubernetes: RawKubernetesPolicies::default(),
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
            proxy: RawProxy::default(),
            streams: RawStreams::default(),
            client_address: RawClientAddress::default(),
            activity: RawActivity::default(),
            policies: BTreeMap::new(),
            rules: Vec::new(),
        }
    }
}

/// Defines the functions that need the list of all keys of [`RawConfig`].
macro_rules! all_keys {
    (
        sections { $($section:ident: $kind:ty,)* }
        keys { $($key:ident,)* }
    ) => {
        /// Returns how an error shows the value of a key.
        pub(super) fn redaction(key: &str) -> Redaction {
            let (section, below) = key.split_once('.').unwrap_or((key, ""));
            $(
                if section == stringify!($section) {
                    return Redaction::of::<$kind>(below);
                }
            )*
            Redaction::None
        }

        impl RawConfig {
            /// Returns the keys that have changed since `before` and apply only after a restart.
            #[must_use]
            pub fn changed_for_restart(&self, before: &Self) -> Vec<&'static str> {
                // Do not use `..` here, so that the compiler reports a key that is missing in the list.
                let Self { $($section,)* $($key: _,)* } = self;
                let mut changed = Vec::new();
                $(changed.extend($section.changed_for_restart(&before.$section));)*
                changed.extend(shutdown::changed_for_restart(self, before));
                changed
            }
        }
    };
}

all_keys! {
    sections {
        listen: RawListen,
        tls: RawTls,
        ext_authz: RawExtAuthz,
        kubernetes: RawKubernetesPolicies,
        sign_in: RawSignIn,
        login: RawLogin,
        browser: RawBrowser,
        store: RawStore,
        token: RawToken,
        jwt: RawJwt,
        delegated: RawDelegated,
        cookie: RawCookie,
        identity: RawIdentity,
        assertion: RawAssertion,
        admin: RawAdmin,
        events: RawEvents,
        traces: RawTraces,
        log: RawLog,
        proxy: RawProxy,
        streams: RawStreams,
        client_address: RawClientAddress,
        activity: RawActivity,
    }
    // These keys are not secret. A reload applies all of them except those of `shutdown::changed_for_restart`.
    keys {
        default_policy,
        hosts,
        unknown_hosts,
        cors_preflight,
        end_retention,
        shutdown_delay,
        shutdown_timeout,
        policies,
        rules,
    }
}
