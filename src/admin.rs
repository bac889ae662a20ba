//! The admin API (`/api/v1/…`) with bearer tokens, and the console for operators. Both are on the `admin` listener.

mod authorize;
mod caller;
mod console;
mod error;
mod explain;
mod model;
mod openapi;
mod policies;
mod recording;
mod revocations;
mod rights;
mod routes;
mod sessions;
mod wrong_credentials;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::routing::{get, post};
use axum::{Router, middleware};
use http::{Extensions, HeaderMap};

use crate::check::Observers;
use crate::clock::Clock;
use crate::contract::SessionCookie;
use crate::credential::KeyRing;
use crate::kubernetes::Kubernetes;
use crate::lifecycle::Lifecycle;
use crate::live::Live;
use crate::login::Login;
use crate::ops::Ops;
use crate::policy::{AddressHeader, Rulebook};
use crate::route_reports::RouteReports;
use crate::store::Stores;
use crate::streams::OpenStreams;
use crate::telemetry::RecentEvents;
use crate::telemetry::audit::AdminInterface;

pub use authorize::{AdminToken, AdminTokens};
pub use console::max_console_auth_age;
pub use wrong_credentials::WrongCredentialLimiter;

/// Dependencies of the admin API and the console.
pub struct Admin {
    /// Starts and ends sessions.
    pub lifecycle: Lifecycle,
    /// The session records, and the rules of emergency revocations.
    pub stores: Stores,
    /// The open streams of this replica.
    pub streams: Arc<OpenStreams>,
    /// The clock of decision time, the common time of all replicas.
    pub clock: Arc<dyn Clock>,
    /// Encrypts the cookies of the console.
    pub key_ring: Arc<KeyRing>,
    /// The latest session events, which the health page of the console shows.
    pub recent_events: Arc<RecentEvents>,
    /// The policies and rules for each request.
    pub rulebook: Arc<Rulebook>,
    /// Builds the `Set-Cookie` value of a new session.
    pub cookie: SessionCookie,
    /// The admin tokens of the configuration.
    pub tokens: AdminTokens,
    /// Authenticates tokens of Kubernetes; `None` if `admin.kubernetes` is not configured.
    pub kubernetes: Option<Arc<Kubernetes>>,
    /// Whether `POST …/age` may move the times of a session into the past (`admin.allow_ageing`).
    pub allow_ageing: bool,
    /// Whether browsers reach the console over TLS.
    pub secure: bool,
    /// Sign-in to the console with identity providers; `None` if it is not configured.
    pub login: Option<ConsoleLogin>,
    /// Health, metrics and diagnostics of this process.
    pub ops: Arc<Ops>,
    /// Reports on the routes of the cluster; `None` without `kubernetes.policies`.
    pub route_reports: Option<RouteReports>,
    /// Contains the recorder of checks, which the admin API starts, reads and stops.
    pub observers: Arc<Observers>,
    /// The kind of the store, as the console shows it: `memory` or `Redis`.
    pub store_kind: &'static str,
    /// Counts wrong credentials for each address. The counts survive a reload of the configuration.
    pub wrong_credentials: Arc<WrongCredentialLimiter>,
    /// Reads the client address from a header of a proxy; `None` if clients connect directly.
    pub address_header: Option<AddressHeader>,
}

impl Admin {
    /// Returns the client address from the proxy header, or else from the connection.
    fn client_address(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
        self.address_of(headers, extensions.get().copied())
    }

    fn address_of(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> Option<IpAddr> {
        let from_header = self
            .address_header
            .as_ref()
            .and_then(|header| header.read(headers));
        let address = from_header.or(peer.map(|peer| peer.ip()));
        address.map(|address| address.to_canonical())
    }

    /// Returns how long an address must wait after many wrong credentials; `None` if it need not wait. If the address
    /// must wait, counts this request in the metric for refused credentials.
    fn retry_delay(&self, interface: AdminInterface, address: Option<IpAddr>) -> Option<Duration> {
        let delay = self
            .wrong_credentials
            .retry_delay(address, self.clock.now())?;
        self.ops
            .metrics
            .count_refused_credential(interface.as_str(), "limited");
        Some(delay)
    }

    /// Counts a wrong credential. Calls the function `audit` with the reason, to write an audit event. If the address
    /// must wait from now on, calls `audit` a second time, with the reason `rate_limited`.
    fn count_wrong_credential(
        &self,
        interface: AdminInterface,
        address: Option<IpAddr>,
        audit: impl Fn(&'static str),
    ) {
        self.ops
            .metrics
            .count_refused_credential(interface.as_str(), "wrong");
        audit("wrong_credential");
        if self.wrong_credentials.count(address, self.clock.now()) {
            audit("rate_limited");
        }
    }
}

/// Sign-in to the console with identity providers.
pub struct ConsoleLogin {
    /// The OpenID Connect client.
    pub login: Login,
    /// The groups that may use the console; membership in one is enough.
    pub groups: Vec<String>,
}

/// The path to which an identity provider redirects the browser after a console sign-in.
pub const CALLBACK_PATH: &str = "/console/callback";

/// The maximum size of a request body.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Builds the router of the `admin` listener.
pub fn router(admin: Live<Admin>) -> Router {
    let protected = Router::new()
        .route(
            "/api/v1/sessions",
            post(sessions::create)
                .get(sessions::list)
                .delete(sessions::revoke_all),
        )
        .route("/api/v1/sessions/count", get(sessions::count))
        .route(
            "/api/v1/sessions/{id}",
            get(sessions::show).delete(sessions::revoke),
        )
        .route("/api/v1/sessions/{id}/age", post(sessions::age))
        .route(
            "/api/v1/sessions/{id}/explain",
            post(explain::explain_session),
        )
        .route(
            "/api/v1/revocations",
            post(revocations::revoke).get(revocations::list),
        )
        .route("/api/v1/policies", get(policies::list))
        .route("/api/v1/routes", get(routes::list))
        .route(
            "/api/v1/recording",
            post(recording::start)
                .get(recording::read)
                .delete(recording::stop),
        )
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .route_layer(middleware::from_fn_with_state(
            admin.clone(),
            authorize::require_caller,
        ));
    Router::new()
        .route("/api/v1/openapi.json", get(openapi::serve))
        .merge(protected)
        .merge(console::router(&admin))
        .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::map_response(error::no_store))
        .layer(middleware::map_response(
            crate::escape_json::escape_json_response,
        ))
        .with_state(admin)
}

#[cfg(test)]
pub(crate) mod tests;
