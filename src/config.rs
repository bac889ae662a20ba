//! Configuration: defaults, then a file, then the environment, parsed into types that can't be
//! wrong.
//!
//! [`raw`] is what may be written, all of it text; [`load`] lays the sources over each other;
//! `validate` turns the text into the types of this module and tells every mistake with its key,
//! its place and its value.

mod load;
mod problem;
pub mod raw;
mod validate;

use std::net::SocketAddr;
use std::time::Duration;

use crate::credential::{KeyRing, TokenExtractor};
use crate::policy::Policies;
use crate::store::redis::RedisSettings;

pub use load::{Environment, Loaded, load};
pub use problem::{ConfigError, Problem};

/// A configuration that makes sense.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// Where sessions live.
    pub store: StoreConfig,
    /// Where a token is looked for in a request.
    pub extractor: TokenExtractor,
    /// The keys that tokens are signed with; `None` to make one for this process.
    pub key_ring: Option<KeyRing>,
    /// How the session cookie is written.
    pub cookie: CookieConfig,
    /// The policies.
    pub policies: Policies,
    /// How long the reason of a session's end can be told.
    pub end_retention: Duration,
    /// The admin API.
    pub admin: AdminConfig,
    /// Logs.
    pub log: LogConfig,
    /// The most time that requests in flight get to finish when the process is told to stop.
    pub shutdown_timeout: Duration,
}

/// Addresses to listen on.
#[derive(Clone, Copy, Debug)]
pub struct Listen {
    /// The contracts, for proxies.
    pub check: SocketAddr,
    /// The admin API.
    pub admin: SocketAddr,
    /// Metrics and probes.
    pub ops: SocketAddr,
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
    Redis(Box<RedisSettings>),
}

/// The attributes of the session cookie, apart from its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieConfig {
    /// The name.
    pub name: String,
    /// The `Domain` attribute; `None` for a cookie of the one host.
    pub domain: Option<String>,
    /// The `Path` attribute.
    pub path: String,
    /// Whether it is sent over TLS only.
    pub secure: bool,
    /// The `SameSite` attribute.
    pub same_site: cookie::SameSite,
    /// Whether it survives the browser (`Max-Age` to the session's deadline).
    pub persistent: bool,
}

/// The admin API.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// SHA-256 hashes of the tokens that open it; none to make a token for this process.
    pub token_hashes: Vec<[u8; 32]>,
    /// Whether sessions may be aged.
    pub allow_ageing: bool,
}

/// Logs.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// How a line is written.
    pub format: LogFormat,
    /// What is written: a level, or directives such as `info,curfew::store=debug`.
    pub filter: String,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod tests;
