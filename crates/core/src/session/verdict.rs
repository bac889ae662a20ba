use std::fmt;

/// The answer to a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request is allowed.
    Allow,
    /// The request is denied for this reason.
    Deny(DenyReason),
}

impl Verdict {
    /// `allow` or the reason, as used in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny(reason) => reason.as_str(),
        }
    }
}

/// The reason of a denial, which is also a metric label and an audit value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenyReason {
    /// The request carried no credential.
    NoCredential,
    /// The credential is forged, damaged, or signed with a key that is no longer in the key ring.
    InvalidCredential,
    /// The credential is genuine, but the store has no record of a session for it. The record may have been deleted or
    /// lost.
    UnknownSession,
    /// The idle limit is reached.
    IdleTimeout,
    /// The absolute limit is reached.
    AbsoluteTimeout,
    /// An administrator, an identity provider or a policy ended the session.
    Revoked,
    /// The subject signed out.
    SignedOut,
    /// The session is live, but this request needs a newer sign-in.
    ReauthenticationRequired,
    /// The session is live, but its subject may not make this request.
    Forbidden,
    /// The store did not answer, so nothing is known about the session.
    StoreUnavailable,
    /// The source of the credential did not answer, so nothing is known about the session.
    SourceUnavailable,
    /// The check was shed because of overload, so nothing is known about the session.
    Overloaded,
    /// A check input is missing or ambiguous.
    MalformedRequest,
    /// The configuration names hosts, and the host of the request is not one of them.
    UnknownHost,
    /// The credential would start a session, but the subject already has the maximum number of sessions.
    TooManySessions,
}

impl DenyReason {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 15] = [
        Self::NoCredential,
        Self::InvalidCredential,
        Self::UnknownSession,
        Self::IdleTimeout,
        Self::AbsoluteTimeout,
        Self::Revoked,
        Self::SignedOut,
        Self::ReauthenticationRequired,
        Self::Forbidden,
        Self::StoreUnavailable,
        Self::SourceUnavailable,
        Self::Overloaded,
        Self::MalformedRequest,
        Self::UnknownHost,
        Self::TooManySessions,
    ];

    /// The word for this reason in metrics, audit events and `X-Session-Reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCredential => "no_credential",
            Self::InvalidCredential => "invalid_credential",
            Self::UnknownSession => "unknown_session",
            Self::IdleTimeout => "idle_timeout",
            Self::AbsoluteTimeout => "absolute_timeout",
            Self::Revoked => "revoked",
            Self::SignedOut => "signed_out",
            Self::ReauthenticationRequired => "reauthentication_required",
            Self::Forbidden => "forbidden",
            Self::StoreUnavailable => "store_unavailable",
            Self::SourceUnavailable => "source_unavailable",
            Self::Overloaded => "overloaded",
            Self::MalformedRequest => "malformed_request",
            Self::UnknownHost => "unknown_host",
            Self::TooManySessions => "too_many_sessions",
        }
    }

    /// Whether the reason is a temporary failure, after which nothing is known about the session. If so, a later retry
    /// of the request may succeed.
    #[must_use]
    pub const fn is_temporary_failure(self) -> bool {
        matches!(
            self,
            Self::StoreUnavailable | Self::SourceUnavailable | Self::Overloaded
        )
    }

    /// Whether the session has ended for good, so that the client may drop its cookie.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::IdleTimeout | Self::AbsoluteTimeout | Self::Revoked | Self::SignedOut
        )
    }
}

impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The reason of a session end, recorded in the tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The idle limit was reached.
    IdleTimeout,
    /// The absolute limit was reached.
    AbsoluteTimeout,
    /// An administrator, an identity provider or a policy ended the session.
    Revoked,
    /// The subject signed out.
    SignedOut,
}

impl EndReason {
    /// Every reason of a session end.
    pub const ALL: [Self; 4] = [
        Self::IdleTimeout,
        Self::AbsoluteTimeout,
        Self::Revoked,
        Self::SignedOut,
    ];

    /// The word for this reason. The denial of a request with the ended session uses the same word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.denial().as_str()
    }

    /// The reason for which Curfew denies requests with the ended session.
    #[must_use]
    pub const fn denial(self) -> DenyReason {
        match self {
            Self::IdleTimeout => DenyReason::IdleTimeout,
            Self::AbsoluteTimeout => DenyReason::AbsoluteTimeout,
            Self::Revoked => DenyReason::Revoked,
            Self::SignedOut => DenyReason::SignedOut,
        }
    }

    /// The reason of the session end that a denial with `reason` reports; `None` if the denial does not report a
    /// session end.
    #[must_use]
    pub fn from_denial(reason: DenyReason) -> Option<Self> {
        Self::ALL.into_iter().find(|end| end.denial() == reason)
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_reasons_are_exactly_the_end_reasons() {
        for reason in DenyReason::ALL {
            assert_eq!(
                reason.is_terminal(),
                EndReason::from_denial(reason).is_some(),
                "{reason}"
            );
        }
    }
}
