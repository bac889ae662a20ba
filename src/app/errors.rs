//! Why the service cannot start, and why it stopped.

use std::io;
use std::net::SocketAddr;

use crate::contract::UnwritableCookie;
use crate::credential::KeyError;
use crate::kubernetes::ClientError;
use crate::proxy::UpstreamError;
use crate::store::StoreError;
use crate::store::redis::ConnectError;

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// A listener's address cannot be bound.
    #[error("listen.{name}: could not listen on {address}: {error}")]
    Bind {
        /// The listener.
        name: &'static str,
        /// Its address.
        address: SocketAddr,
        /// The error of the operating system.
        error: io::Error,
    },
    /// The HTTP client of the webhook could not be created.
    #[error("events: could not create the HTTP client of the webhook: {0}")]
    Webhook(#[from] reqwest::Error),
    /// The HTTP client that fetches an identity provider's keys could not be created.
    #[error("jwt.issuers: could not create the HTTP client of an issuer: {0}")]
    Issuer(reqwest::Error),
    /// The HTTP client of a delegated service could not be created.
    #[error("delegated.services: could not create the HTTP client of a service: {0}")]
    Delegate(reqwest::Error),
    /// The HTTP client of an identity provider could not be created.
    #[error("login.providers: could not create the HTTP client of a provider: {0}")]
    Provider(reqwest::Error),
    /// The client of the Kubernetes API for policies could not be created.
    #[cfg(feature = "kubernetes")]
    #[error("kubernetes: {0}")]
    Cluster(#[from] ClientError),
    /// The client of the Kubernetes API for the admin API could not be created.
    #[error("admin.kubernetes: {0}")]
    Kubernetes(ClientError),
    /// The TLS settings of an application behind the proxy listener are invalid.
    #[error("proxy.upstreams.{index}: {error}")]
    Upstream {
        /// The position in `proxy.upstreams`, counted from 0.
        index: usize,
        /// The mistake.
        error: UpstreamError,
    },
    /// A key could not be generated.
    #[error("token.keys: could not generate a key: {0}")]
    Key(#[from] KeyError),
    /// An admin token could not be generated.
    #[error("admin.token_hashes: could not generate an admin token: {0}")]
    AdminToken(#[from] getrandom::Error),
    /// The session cookie cannot be written as a header.
    #[error("cookie: {0}")]
    Cookie(#[from] UnwritableCookie),
    /// The metrics could not be created.
    #[error("could not create the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Why the service stopped with an error.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A background task ended, although it must run until the service stops.
    #[error("a background task has stopped too early: {0}")]
    TaskExited(String),
    /// Redis contains records that this program cannot read.
    #[error(transparent)]
    Schema(#[from] ConnectError),
    /// The last touches (the activity of sessions) could not be written to the store.
    #[error("could not write the last activity of sessions to the store: {0}")]
    Flush(#[from] StoreError),
}
