//! Curfew makes sessions end on time at the edge.
//!
//! A reverse proxy asks Curfew before it forwards a request. Curfew looks up the session of the request, applies an
//! idle limit and an absolute limit, and answers. `ARCHITECTURE.md` describes the modules.
//!
//! The layers, from the bottom up; each uses only those before it:
//!
//! 1. [`session`], the domain; [`secret`]; [`escape`], untrusted text in outputs; [`yaml`], limits for YAML
//! 2. [`clock`]; [`credential`]; [`policy`]; [`identity`]; [`actor`]; [`events`]; [`live`]
//! 3. [`store`], [`config`]; [`http_client`]; [`jwks`], [`delegate`], [`sources`]; [`telemetry`]
//! 4. [`lifecycle`], starts and ends sessions; [`check`], answers a check; [`explain`]; [`compliance`];
//!    [`sweeper`];
//!    [`webhook`]
//! 5. [`contract`], [`browser`], [`logout`], [`admin`] and [`ops`], the services; [`listener`]
//! 6. [`app`], which connects all parts; [`cli`]

pub mod admin;
pub mod app;
pub mod browser;
pub mod check;
pub mod cli;
pub mod config;
pub mod contract;
mod current;
pub mod delegate;
pub mod deployed;
mod escape_html;
mod escape_json;
pub mod explain;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod http_client;
pub mod jwks;
pub mod kubernetes;
pub mod lifecycle;
pub mod listener;
pub mod login;
pub mod logout;
pub mod migrations;
pub mod ops;
pub mod revalidation;
pub mod sources;
pub mod sweeper;
pub mod webhook;

pub use contract::layer;
pub use curfew_clock as clock;
pub use curfew_core::{
    actor, credential, escape, events, identity, live, policy, revocation, secret, session, yaml,
};
pub use curfew_store as store;
pub use curfew_telemetry::{self as telemetry, build};
pub use curfew_tools::{compliance, lint, render};

#[cfg(test)]
mod layers;
#[cfg(test)]
mod testing;
