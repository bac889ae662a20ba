//! Contracts: how a family of proxies asks and reads the answer.
//!
//! Each is one thin file: the sub-request in, a [`CheckRequest`](crate::check::CheckRequest) out;
//! an [`Outcome`](crate::check::Outcome) in, the reply out. Nothing else knows a proxy.

mod auth_request;
mod cookie;
mod identity;

use std::sync::Arc;

use axum::Router;
use axum::routing::any;

use crate::check::Checker;

pub use cookie::{SessionCookie, UnwritableCookie};

/// What every contract needs to answer.
pub struct Contracts {
    /// Answers checks.
    pub checker: Checker,
    /// Writes the session cookie.
    pub cookie: SessionCookie,
}

/// The routes of the `check` listener. Any method is accepted: the proxy may pass on the
/// original one, which says nothing about the check itself.
pub fn router(contracts: Arc<Contracts>) -> Router {
    Router::new()
        .route("/auth-request", any(auth_request::check))
        .route(
            "/policy/{policy}/auth-request",
            any(auth_request::check_policy),
        )
        .with_state(contracts)
}
