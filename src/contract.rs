//! Contracts: how a family of proxies asks and reads the answer.
//!
//! Each is one thin file: the sub-request in, a [`CheckRequest`](crate::check::CheckRequest) out;
//! an [`Outcome`](crate::check::Outcome) in, the reply out. Nothing else knows a proxy.

mod auth_request;
mod cookie;
mod ext_authz;
pub mod ext_authz_grpc;
mod forward_auth;
mod identity;
mod reply;
mod sign_in;
pub mod spoe;
mod sub_request;

use std::net::SocketAddr;

use axum::routing::any;
use axum::{Extension, Router};

use crate::check::Checker;
use crate::live::Live;

pub use cookie::{SessionCookie, UnwritableCookie};
pub use sign_in::SignIn;

/// What every contract needs to answer.
pub struct Contracts {
    /// Answers checks.
    pub checker: Checker,
    /// Writes the session cookie.
    pub cookie: SessionCookie,
    /// Where browsers are sent to sign in, if anywhere.
    pub sign_in: Option<SignIn>,
    /// Whether `ext-authz` over HTTP reads the headers `Method` and `Path`.
    pub literal_headers: bool,
}

/// The proxy that asks, where the listener knows it.
type Peer = Option<Extension<SocketAddr>>;

/// The routes of the `check` listener. Any method is accepted: the proxy may pass on the
/// original one, which says nothing about the check itself.
pub fn router(contracts: Live<Contracts>) -> Router {
    let mut router = Router::new()
        .merge(auth_request::AUTH_REQUEST.routes())
        .merge(forward_auth::FORWARD_AUTH.routes());
    for path in ["/ext-authz", "/ext-authz/", "/ext-authz/{*target}"] {
        router = router
            .route(path, any(ext_authz::check))
            .route(&format!("/policy/{{policy}}{path}"), any(ext_authz::check));
    }
    router.with_state(contracts)
}

#[cfg(test)]
mod fixture;
