//! Contracts: how a family of proxies asks and reads the answer.
//!
//! Each is one thin file: the sub-request in, a [`CheckRequest`] out;
//! an [`Outcome`] in, the reply out. Nothing else knows a proxy.

mod assertion;
mod auth_request;
mod clear_cookies;
mod cookie;
mod ext_authz;
pub mod ext_authz_grpc;
mod forward_auth;
mod front;
pub mod layer;
mod reply;
mod sign_in;
pub mod spoe;
mod sub_request;
mod unknown_path;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Response};

use crate::check::{CheckRequest, Checker, Outcome};
use crate::identity::{AssertionSigner, IdentityHeaders};
use crate::listener::Permit;
use crate::login::Login;
use crate::session::{DenyReason, Verdict};

pub use assertion::keys;
pub use clear_cookies::{CLEAR_COOKIES, Clearing};
pub use cookie::{CookieSettings, SessionCookie, UnwritableCookie};
pub use front::CheckService;
pub use reply::{FRAMED, message};
pub use sign_in::{ReturnHost, SignIn, SignInSettings, is_framed, is_navigation};

/// What every contract needs to answer.
pub struct Contracts {
    /// Answers checks.
    pub checker: Checker,
    /// Writes the session cookie.
    pub cookie: SessionCookie,
    /// Where browsers are sent to sign in, if anywhere.
    pub sign_in: Option<SignIn>,
    /// Signs people in, if Curfew does that itself.
    pub login: Option<Arc<Login>>,
    /// Under which names the backend is told who is there.
    pub identity: IdentityHeaders,
    /// Signs who is there, if anybody does.
    pub assertion: Option<Arc<AssertionSigner>>,
    /// What a browser is to forget when its user signs out (`Clear-Site-Data`).
    pub clear_site_data: Option<HeaderValue>,
    /// Whether `ext-authz` over HTTP reads the headers `Method` and `Path`.
    pub literal_headers: bool,
}

impl Contracts {
    /// Checks a request if it has a place, which it keeps until it is answered; turns it away otherwise.
    async fn check_with_permit(
        &self,
        permit: Option<Permit>,
        request: &CheckRequest<'_>,
    ) -> Outcome {
        match permit {
            Some(_permit) => self.checker.check(request).await,
            None => self.checker.shed(request),
        }
    }

    /// What a client is told whose request is denied: status, reason, body, cookie.
    #[must_use]
    pub fn denial(&self, request: &CheckRequest<'_>, outcome: &Outcome) -> Response<String> {
        let denied = Outcome {
            verdict: match outcome.verdict {
                // There is nothing to show of a session that is not there.
                Verdict::Allow => Verdict::Deny(DenyReason::StoreUnavailable),
                denied @ Verdict::Deny(_) => denied,
            },
            // What another service says of a check is for the proxy, and may hold tokens.
            relayed: None,
            ..outcome.clone()
        };
        reply::reply(self, request, &denied, reply::Form::Whole)
    }

    /// Whether the client would rather have a page than data.
    #[must_use]
    pub fn wants_page(&self, headers: &HeaderMap) -> bool {
        sign_in::wants_html(headers)
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
