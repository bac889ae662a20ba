//! The endpoints for browsers on the application's own host: the session's remaining time, keep-alive, sign-out, and the
//! script and pages that inform a person.
//!
//! The proxy routes `/.curfew/` to the `browser` listener, so the application needs no configuration. The proxy sends
//! no check for these requests, because Curfew itself reads their credential. A request that changes a session must be
//! a `POST` from a page of the same origin.

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

pub(crate) use cookies::{attempt_cookie, removal_cookie};
pub use service::BrowserService;

/// The common prefix of all paths.
pub const PREFIX: &str = "/.curfew";

/// Builds the router of the `browser` listener.
pub fn router(contracts: Live<Contracts>) -> Router {
    let routes = Router::new()
        .route("/session", get(status::show))
        .route("/keep-alive", post(keep_alive::touch))
        .route("/sign-out", post(sign_out::end))
        .route("/signed-out", get(signed_out::show))
        .route("/login", get(login::begin))
        .route("/callback/{provider}", get(callback::finish))
        .route("/clear-cookies", get(clear_cookies::clear_and_redirect))
        .route("/framed", get(framed::show))
        .route("/warning.js", get(warning::serve_script));
    Router::new()
        .nest(PREFIX, routes)
        .layer(map_response(crate::escape_json::escape_json_response))
        .with_state(contracts)
}

/// Converts to a response that caches must not store and other origins must not embed.
fn private_response(response: impl IntoResponse) -> Response {
    let mut response = response.into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    add_security_headers(headers);
    response
}

/// Adds headers against content sniffing, embedding and leaks in `Referer`.
fn add_security_headers(headers: &mut HeaderMap) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "same-origin"),
        ("referrer-policy", "no-referrer"),
    ] {
        let name = HeaderName::from_static(name);
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Returns `path` if it is a path on this host, and `/` otherwise. A text that a browser could read as the address
/// of another host is not a path (CWE-601).
#[must_use]
pub fn local_path(path: &str) -> &str {
    signed_out::return_path(path)
}

/// Whether a page of the same origin sent the request (CWE-352).
#[must_use]
pub fn is_same_origin(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    host.is_some_and(|host| origin::is_same_origin(headers, host))
}

#[cfg(test)]
pub(crate) mod tests;
