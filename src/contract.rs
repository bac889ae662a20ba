//! Contracts: how a family of proxies asks and reads the answer.
//!
//! Each is one thin file: the sub-request in, a [`CheckRequest`](crate::check::CheckRequest) out;
//! an [`Outcome`](crate::check::Outcome) in, the reply out. Nothing else knows a proxy.

mod auth_request;
mod cookie;
mod ext_authz;
pub mod ext_authz_grpc;
mod forward_auth;
mod front;
mod reply;
mod sign_in;
pub mod spoe;
mod sub_request;
mod vouch;

use std::sync::Arc;

use crate::check::Checker;
use crate::identity::{AssertionSigner, IdentityHeaders};

pub use cookie::{SessionCookie, UnwritableCookie};
pub use front::Front;
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

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
