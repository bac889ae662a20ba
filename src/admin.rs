//! The admin API, `/api/v1/…`, on its own listener, behind a bearer token; and the console, for people.

mod attempts;
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
mod sessions;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::routing::{get, post};
use axum::{Router, middleware};
use http::{Extensions, HeaderMap};

use crate::check::Observers;
use crate::contract::SessionCookie;
use crate::kubernetes::Kubernetes;
use crate::lifecycle::Lifecycle;
use crate::live::Live;
use crate::login::Login;
use crate::ops::Ops;
use crate::policy::{AddressHeader, Rulebook};
use crate::telemetry::audit::Door;

pub use attempts::Attempts;
pub use authorize::{AdminToken, AdminTokens};
pub use console::proof_age;
pub use openapi::document;

/// What the admin API works with.
pub struct Admin {
    /// Begins and ends sessions.
    pub lifecycle: Lifecycle,
    /// What applies to which request.
    pub book: Arc<Rulebook>,
    /// Writes the session cookie.
    pub cookie: SessionCookie,
    /// Who may come in.
    pub tokens: AdminTokens,
    /// Who knows others who may.
    pub kubernetes: Option<Arc<Kubernetes>>,
    /// Whether sessions may be aged.
    pub allow_ageing: bool,
    /// Whether browsers reach the console over TLS.
    pub secure: bool,
    /// Who else may use the console.
    pub login: Option<ConsoleLogin>,
    /// How the process is.
    pub ops: Arc<Ops>,
    /// Holds the recording of checks.
    pub observers: Arc<Observers>,
    /// Where sessions live, for people.
    pub store: &'static str,
    /// Wrong credentials of a moment ago. A change of the configuration keeps them.
    pub attempts: Arc<Attempts>,
    /// Finds the address of a client behind proxies; `None` where clients connect themselves.
    pub address: Option<AddressHeader>,
}

impl Admin {
    /// The address of a client: by the header of the proxies in front, or by the connection.
    fn client_address(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
        self.address_of(headers, extensions.get().copied())
    }

    fn address_of(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> Option<IpAddr> {
        let told = self
            .address
            .as_ref()
            .and_then(|header| header.read(headers));
        let address = told.or(peer.map(|peer| peer.ip()));
        address.map(|address| address.to_canonical())
    }

    /// How long an address has to wait that has presented many wrong credentials; counted.
    fn wait(&self, door: Door, address: Option<IpAddr>) -> Option<Duration> {
        let wait = self.attempts.wait(address, self.lifecycle.clock.now())?;
        self.lifecycle
            .metrics
            .credential_refused(door.as_str(), "limited");
        Some(wait)
    }

    /// Counts a wrong credential. `tell` writes the audit event for a reason; once more where the address has to wait
    /// from now on.
    fn count_wrong(&self, door: Door, address: Option<IpAddr>, tell: impl Fn(&'static str)) {
        self.lifecycle
            .metrics
            .credential_refused(door.as_str(), "wrong");
        tell("wrong_credential");
        if self.attempts.count(address, self.lifecycle.clock.now()) {
            tell("rate_limited");
        }
    }
}

/// Sign-in to the console by identity providers.
pub struct ConsoleLogin {
    /// How.
    pub login: Login,
    /// In which groups one must be; one of them is enough.
    pub groups: Vec<String>,
}

/// Where identity providers send browsers back to.
pub const CALLBACK: &str = "/console/callback";

/// The most bytes that a request body may have.
const MAX_BODY: usize = 64 * 1024;

/// The routes of the `admin` listener.
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
            authorize::find_caller,
        ));
    Router::new()
        .route("/api/v1/openapi.json", get(openapi::serve))
        .merge(protected)
        .merge(console::router(&admin))
        .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::map_response(error::no_store))
        .layer(middleware::map_response(crate::escape_json::json_response))
        .with_state(admin)
}

#[cfg(test)]
pub(crate) mod tests;
