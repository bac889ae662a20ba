//! Contracts: how a family of proxies asks and reads the answer.
//!
//! Each is one thin file: the sub-request in, a [`CheckRequest`](crate::check::CheckRequest) out;
//! an [`Outcome`](crate::check::Outcome) in, the reply out. Nothing else knows a proxy.

mod auth_request;
mod cookie;
mod ext_authz;
pub mod ext_authz_grpc;
mod forward_auth;
mod reply;
mod sign_in;
pub mod spoe;
mod sub_request;
mod vouch;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::routing::{any, get};
use axum::{Extension, Router};

use crate::check::Checker;
use crate::identity::{AssertionSigner, IdentityHeaders};
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
    /// Under which names the backend is told who is there.
    pub identity: IdentityHeaders,
    /// Signs who is there, if anybody does.
    pub assertion: Option<Arc<AssertionSigner>>,
    /// Whether `ext-authz` over HTTP reads the headers `Method` and `Path`.
    pub literal_headers: bool,
}

/// The proxy that asks, where the listener knows it.
type Peer = Option<Extension<SocketAddr>>;

/// The routes of the `check` listener. Any method is accepted: the proxy may pass on the
/// original one, which says nothing about the check itself.
pub fn router(contracts: Live<Contracts>) -> Router {
    let mut router = Router::new()
        .route("/.well-known/jwks.json", get(vouch::keys))
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
#[cfg(test)]
mod tests;
