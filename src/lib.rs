//! Curfew ends idle and old sessions on time.
//!
//! A reverse proxy asks Curfew before it forwards a request. Curfew looks up the session of the request, applies the
//! idle limit and the absolute limit, and allows or denies the request. `ARCHITECTURE.md` describes the modules.

mod admin;
mod admission;
pub mod app;
mod browser;
mod check;
pub mod cli;
#[cfg(feature = "kubernetes")]
mod cluster;
pub mod config;
mod contract;
mod current;
mod delegate;
pub mod deploy_files;
mod escape_html;
mod escape_json;
mod explain;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod http_client;
mod jwks;
mod kubernetes;
mod lifecycle;
mod listener;
mod login;
mod logout;
pub mod migrations;
mod ops;
mod proxy;
mod relay;
mod retry_after;
mod revalidation;
mod route_reports;
mod sources;
mod streams;
mod supervision;
mod sweeper;
mod webhook;

pub use admin::AdminToken;
pub use contract::layer;
pub use curfew_clock as clock;
pub use curfew_core::{
    actor, credential, escape, events, identity, live, policy, revocation, secret, session, yaml,
};
pub use curfew_store as store;
pub use curfew_telemetry::{self as telemetry, build};
pub use curfew_tools::{compliance, lint, migrate_annotations, render};

/// Internal parts of a check, for the benchmarks of this package.
#[doc(hidden)]
pub mod bench_exports {
    pub use crate::admission::{ConcurrencyLimit, LimitKind};
    pub use crate::check::{Checker, StreamRegistry};
    pub use crate::contract::ext_authz_grpc::ExtAuthz;
    pub use crate::contract::spoe::Agent;
    pub use crate::contract::{CheckService, Contracts, CookieSettings, SessionCookie};
    pub use crate::lifecycle::{LastKnownSessions, Lifecycle, LifecycleParts, SignIn};
    pub use crate::listener::SpopService;
    pub use crate::sources::Sources;
    pub use crate::streams::{OpenStreams, StreamLimits};
}

#[cfg(test)]
mod layers;
#[cfg(test)]
mod testing;
