//! What is asked, and what is answered.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, Method};

use super::Detail;
use super::original::{MalformedOriginal, OriginalUrl};
use crate::delegate::Relayed;
use crate::policy::Contract;
use crate::session::{DenyReason, Remaining, Session, SessionId, Verdict};

/// What a contract has understood of a sub-request.
#[derive(Clone, Copy, Debug)]
pub struct CheckRequest<'a> {
    /// How it came.
    pub contract: Contract,
    /// The policy that the proxy asks for, by name.
    pub policy: Option<&'a str>,
    /// The original request, unless the sub-request did not say it properly.
    pub original: Result<Original<'a>, MalformedOriginal>,
    /// The client's headers.
    pub headers: &'a HeaderMap,
    /// Where the client's address is.
    pub address: ClientAddress,
    /// The proxy that asks.
    pub peer: Option<IpAddr>,
}

/// Where the address of the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAddress {
    /// In a header that the proxy adds to.
    InHeader,
    /// The proxy said it, or did not.
    Told(Option<IpAddr>),
}

/// The request that the proxy holds back until it has the answer.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its URL.
    pub url: OriginalUrl<'a>,
}

/// The answer to a check, with all that a reply may tell of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The answer.
    pub verdict: Verdict,
    /// Whether the request needs no session; none was looked for then.
    pub public: bool,
    /// The session, where one was found.
    pub session: Option<(SessionId, Session)>,
    /// On an allowed request: how long the session can still live.
    pub remaining: Option<Remaining>,
    /// What of another service's answer becomes a part of ours.
    pub relayed: Option<Box<Relayed>>,
    /// The `Set-Cookie` that makes a browser drop the cookie of another service. Navigations alone get it.
    pub cleared: Option<HeaderValue>,
    /// How recent the sign-in must be, in seconds: for `reauthentication_required`, where a policy says so; and 0
    /// where the session of another party's credential has ended.
    pub max_auth_age: Option<u64>,
    /// For `malformed_request` and `unknown_host`: which input is wrong.
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
            cleared: None,
            max_auth_age: None,
            detail: None,
        }
    }

    /// A denial without a session.
    #[must_use]
    pub const fn denied(reason: DenyReason) -> Self {
        Self::deny(reason)
    }

    /// Denies a request because of what it or the proxy says.
    pub(super) fn malformed(detail: Detail) -> Self {
        let reason = match detail {
            Detail::UnknownHost => DenyReason::UnknownHost,
            Detail::NoAuthTime => DenyReason::InvalidCredential,
            Detail::OldAuthentication => DenyReason::ReauthenticationRequired,
            Detail::UnknownAuthTime => DenyReason::SourceUnavailable,
            _ => DenyReason::MalformedRequest,
        };
        let mut outcome = Self::deny(reason);
        outcome.detail = Some(detail);
        outcome
    }

    /// The answer to a request that needs no session.
    pub(super) const PUBLIC: Self = Self {
        verdict: Verdict::Allow,
        public: true,
        session: None,
        remaining: None,
        relayed: None,
        cleared: None,
        max_auth_age: None,
        detail: None,
    };
}
