//! A contract defines how a family of proxies sends a check and reads the answer.
//! The request of the client, which the check is about, is the original request.
//!
//! The file of each contract converts the check of a proxy to a [`CheckRequest`], and an [`Outcome`] to the reply for
//! the proxy. No other module depends on the kind of proxy.

mod allowed;
mod assertion;
mod auth_request;
mod check_service;
mod clear_cookies;
mod cookie;
mod ext_authz;
pub mod ext_authz_grpc;
mod forward_auth;
pub mod layer;
mod reply;
mod sign_in;
pub mod spoe;
mod stream_deadline;
mod sub_request;
mod unknown_path;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Response};

use crate::admission::Permit;
use crate::check::{CheckRequest, Checker, Outcome};
use crate::identity::{AssertionSigner, IdentityHeaders};
use crate::login::Login;
use crate::session::{DenyReason, Verdict};

pub use allowed::{remove_spellings, replace_identity};
pub use assertion::serve_assertion_keys;
pub use check_service::CheckService;
pub use clear_cookies::{CLEAR_COOKIES, RemovalCookies};
pub use cookie::{CookieSettings, SessionCookie, UnwritableCookie};
pub use reply::{FRAMED_PAGE, denial_message};
pub use sign_in::{ReturnHost, SignInRedirect, SignInSettings, is_framed, is_navigation};

/// The shared state of all contracts.
pub struct Contracts {
    /// Answers checks.
    pub checker: Checker,
    /// Writes the session cookie.
    pub cookie: SessionCookie,
    /// The sign-in page for browsers; `None` if there is none.
    pub sign_in: Option<SignInRedirect>,
    /// Signs people in with identity providers; `None` if no provider is configured.
    pub login: Option<Arc<Login>>,
    /// The headers that contain the identity for the application.
    pub identity: IdentityHeaders,
    /// Signs the identity assertion; `None` if assertions are off.
    pub assertion_signer: Option<Arc<AssertionSigner>>,
    /// The `Clear-Site-Data` value of a sign-out.
    pub clear_site_data: Option<HeaderValue>,
    /// Whether `ext-authz` over HTTP reads the headers `Method` and `Path`.
    pub literal_headers: bool,
    /// Whether `ext-authz` sends the time until the absolute limit as `grpc-timeout`.
    pub stream_deadline: bool,
}

impl Contracts {
    /// Checks a request, and keeps the permit until the check has its answer. Without a permit, denies the request with
    /// the reason `overloaded`.
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

    /// Builds the complete reply to a check. The reply to an allowed request has the identity headers.
    #[must_use]
    pub fn reply(&self, request: &CheckRequest<'_>, outcome: &Outcome) -> Response<String> {
        reply::build_reply(self, request, outcome, reply::ReplyForm::Complete)
    }

    /// Whether Curfew itself answers requests for this path, where it also forwards requests to applications.
    #[must_use]
    pub fn is_own_path(&self, path: &str) -> bool {
        let is_assertion_keys = path == "/.well-known/jwks.json" && self.assertion_signer.is_some();
        let prefixes = ["/.curfew/", "/oidc/", "/ssf/"];
        is_assertion_keys || prefixes.into_iter().any(|prefix| path.starts_with(prefix))
    }

    /// Builds the complete reply for a client whose request is denied.
    #[must_use]
    pub fn denial(&self, request: &CheckRequest<'_>, outcome: &Outcome) -> Response<String> {
        let denied = Outcome {
            verdict: match outcome.verdict {
                // This reply is for denials only, so it never shows an allowed outcome.
                Verdict::Allow => Verdict::Deny(DenyReason::StoreUnavailable),
                denied @ Verdict::Deny(_) => denied,
            },
            // Omit the answer of a delegated service, because it is meant for the proxy and may contain tokens.
            relayed: None,
            ..outcome.clone()
        };
        self.reply(request, &denied)
    }

    /// Whether the client accepts HTML. Other clients get JSON.
    #[must_use]
    pub fn accepts_html(&self, headers: &HeaderMap) -> bool {
        sign_in::accepts_html(headers)
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
