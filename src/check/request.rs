//! The input and the output of a check.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, Method};

use super::Detail;
use super::original::{MalformedOriginal, OriginalUrl};
use crate::delegate::RelayedResponse;
use crate::policy::{Contract, RouteName};
use crate::session::{DenyReason, Remaining, Session, SessionId, Verdict};

/// A check in the form that all contracts share.
#[derive(Clone, Copy, Debug)]
pub struct CheckRequest<'a> {
    /// The contract that the proxy uses.
    pub contract: Contract,
    /// The name of the policy that the proxy requests, if any.
    pub policy: Option<&'a str>,
    /// The original request, or the error for a missing or invalid input.
    pub original: Result<Original<'a>, MalformedOriginal>,
    /// The client's headers.
    pub headers: &'a HeaderMap,
    /// Where to read the client's address.
    pub address: ClientAddress,
    /// The address of the proxy.
    pub peer: Option<IpAddr>,
}

/// Where to read the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAddress {
    /// In the configured header, to which each proxy appends an address.
    InHeader,
    /// In a field of the contract; `None` if the proxy does not send the field.
    InField(Option<IpAddr>),
}

/// The client's request, which the proxy holds back until Curfew answers the check.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// The method of the request.
    pub method: &'a Method,
    /// The URL of the request.
    pub url: OriginalUrl<'a>,
    /// The route that the proxy has chosen, if it names one. Only the proxy's configuration can set it.
    pub route: Option<RouteName>,
}

impl<'a> Original<'a> {
    /// A request whose proxy names no route.
    #[must_use]
    pub const fn new(method: &'a Method, url: OriginalUrl<'a>) -> Self {
        Self {
            method,
            url,
            route: None,
        }
    }
}

/// The answer to a check, with everything that a reply can contain.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The answer.
    pub verdict: Verdict,
    /// Whether a rule makes the request public. Curfew looks up no session for a public request.
    pub public: bool,
    /// The session, if one was found.
    pub session: Option<(SessionId, Session)>,
    /// For an allowed request: the time until the session ends.
    pub remaining: Option<Remaining>,
    /// The headers and the body that the reply takes from the delegated service's answer.
    pub relayed: Option<Box<RelayedResponse>>,
    /// The `Set-Cookie` value that clears the delegated service's cookie. Only replies to navigations contain it.
    pub removal_cookie: Option<HeaderValue>,
    /// The maximum age of the sign-in in seconds, for the challenge. A denial with `reauthentication_required` has a
    /// value if a limit is configured. The value is 0 if only a new sign-in can help: another issuer's credential is
    /// still valid, but its session has ended, or the store has lost session ends since the sign-in.
    pub max_auth_age: Option<u64>,
    /// The cause of the denial, for example for `malformed_request` and `unknown_host`.
    pub detail: Option<Detail>,
}

impl Outcome {
    pub(super) const fn deny(reason: DenyReason) -> Self {
        Self {
            verdict: Verdict::Deny(reason),
            public: false,
            session: None,
            remaining: None,
            relayed: None,
            removal_cookie: None,
            max_auth_age: None,
            detail: None,
        }
    }

    /// A denial without a session.
    #[must_use]
    pub const fn denied(reason: DenyReason) -> Self {
        Self::deny(reason)
    }

    /// Denies a request with `detail`, and with the reason that belongs to this detail.
    pub(super) fn deny_with_detail(detail: Detail) -> Self {
        let reason = match detail {
            Detail::UnknownHost => DenyReason::UnknownHost,
            Detail::NoAuthTime => DenyReason::InvalidCredential,
            Detail::OldAuthentication => DenyReason::ReauthenticationRequired,
            Detail::UnknownAuthTime | Detail::UnknownRoutes => DenyReason::SourceUnavailable,
            _ => DenyReason::MalformedRequest,
        };
        let mut outcome = Self::deny(reason);
        outcome.detail = Some(detail);
        outcome
    }

    /// The answer to a public request.
    pub(super) const PUBLIC: Self = Self {
        verdict: Verdict::Allow,
        public: true,
        session: None,
        remaining: None,
        relayed: None,
        removal_cookie: None,
        max_auth_age: None,
        detail: None,
    };
}
