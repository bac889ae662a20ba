//! The input and the output of a check.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, Method};

use super::Detail;
use super::original::{MalformedOriginal, OriginalUrl};
use crate::delegate::Relayed;
use crate::policy::Contract;
use crate::session::{DenyReason, Remaining, Session, SessionId, Verdict};

/// A check as its contract has read it.
#[derive(Clone, Copy, Debug)]
pub struct CheckRequest<'a> {
    /// The contract that the proxy uses.
    pub contract: Contract,
    /// The policy that the proxy names.
    pub policy: Option<&'a str>,
    /// The original request, or the input that is missing or invalid.
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
    /// In the header of the configuration, to which the proxy appends.
    InHeader,
    /// The contract has its own field for it; `None` if the proxy left it out.
    InField(Option<IpAddr>),
}

/// The client's request that the proxy holds until the answer.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its URL.
    pub url: OriginalUrl<'a>,
}

/// The answer to a check, with everything that a reply can contain.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The answer.
    pub verdict: Verdict,
    /// Whether a rule makes the request public. Then no session was looked up.
    pub public: bool,
    /// The session, if one was found.
    pub session: Option<(SessionId, Session)>,
    /// For an allowed request: the time until the session ends.
    pub remaining: Option<Remaining>,
    /// Headers and body of another service's answer that the reply contains.
    pub relayed: Option<Box<Relayed>>,
    /// The `Set-Cookie` that clears the cookie of another service. Only navigations get it.
    pub cleared: Option<HeaderValue>,
    /// The maximum age of the sign-in in seconds. Set for `reauthentication_required` if a policy has one. It is 0
    /// after the end of a session of another issuer's credential.
    pub max_auth_age: Option<u64>,
    /// The input that is wrong, for example for `malformed_request` and `unknown_host`.
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

    /// Denies a request because of an invalid input.
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

    /// The answer to a public request.
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
