//! What a browser asks of Curfew itself, on the application's own host: how long the session still
//! lives, to keep it alive, to end it, and the script and the page that tell a person of it.
//!
//! The proxy routes `/.curfew/` to the `browser` listener, around the check. Nothing here needs a configuration of the
//! application: the session is that of the request's own credential. What changes something is a
//! `POST` from a page of the same origin.

mod browser_request;
mod callback;
mod clear_cookies;
mod cookies;
mod framed;
mod keep_alive;
mod login;
mod origin;
mod page;
mod rp_logout;
mod service;
mod sign_out;
mod signed_out;
mod status;
mod warning;

use axum::Router;
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::{CACHE_CONTROL, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::contract::Contracts;
use crate::live::Live;

pub(crate) use cookies::{gone, passing};
pub use service::BrowserService;

/// What the paths begin with.
pub const PREFIX: &str = "/.curfew";

/// The routes, for the `browser` listener.
pub fn router(contracts: Live<Contracts>) -> Router {
    let routes = Router::new()
        .route("/session", get(status::show))
        .route("/keep-alive", post(keep_alive::touch))
        .route("/sign-out", post(sign_out::end))
        .route("/signed-out", get(signed_out::show))
        .route("/login", get(login::begin))
        .route("/callback/{provider}", get(callback::finish))
        .route("/clear-cookies", get(clear_cookies::show))
        .route("/framed", get(framed::show))
        .route("/warning.js", get(warning::script));
    Router::new()
        .nest(PREFIX, routes)
        .layer(map_response(crate::escape_json::json_response))
        .with_state(contracts)
}

/// What every answer says besides: nobody keeps it, and no other origin embeds it.
fn private(response: impl IntoResponse) -> Response {
    let mut response = response.into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    harden(headers);
    response
}

/// Headers without which an old browser would guess.
fn harden(headers: &mut HeaderMap) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "same-origin"),
        ("referrer-policy", "no-referrer"),
    ] {
        let name = HeaderName::from_static(name);
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// A path on this host, and nothing that a browser would take for another address (CWE-601); `/`
/// where it is none.
#[must_use]
pub fn local_path(asked: &str) -> &str {
    signed_out::way_back(asked)
}

/// Whether a request is from a page of its own origin (CWE-352).
#[must_use]
pub fn is_same_origin(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    host.is_some_and(|host| origin::is_same(headers, host))
}

#[cfg(test)]
pub(crate) mod tests;
