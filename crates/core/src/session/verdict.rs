use std::fmt;

/// The answer to a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request may pass.
    Allow,
    /// The request may not pass, and why.
    Deny(DenyReason),
}

impl Verdict {
    /// `allow`, or the reason: the word used in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny(reason) => reason.as_str(),
        }
    }
}

/// Why a request was denied. The words are also the metric labels and the audit words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenyReason {
    /// The request carried no credential.
    NoCredential,
    /// The credential is forged, damaged, or signed by a key that has been retired.
    InvalidCredential,
    /// The credential is genuine, but no session belongs to it (any more).
    UnknownSession,
    /// Nobody used the session for as long as its idle limit.
    IdleTimeout,
    /// The session is as old as it may become.
    AbsoluteTimeout,
    /// The session was ended on purpose, and not by its user signing out: by an administrator, an identity provider or
    /// a policy.
    Revoked,
    /// The user signed out.
    SignedOut,
    /// The session lives, but this request asks for a fresher one.
    ReauthenticationRequired,
    /// The session lives, but may not do this.
    Forbidden,
    /// The store could not be asked; nothing is known about the session.
    StoreUnavailable,
    /// Whoever vouches for the credential could not be asked; nothing is known about the session.
    SourceUnavailable,
    /// There was too much to do to look at the request; nothing is known about the session.
    Overloaded,
    /// The sub-request is incomplete or ambiguous.
    MalformedRequest,
    /// The configuration names hosts, and the request is for another.
    UnknownHost,
    /// The credential would start a session, and the subject has as many as its policy allows.
    TooManySessions,
}

impl DenyReason {
    /// Every reason, in the order of design.
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

    /// Whether it says nothing of the session: the same request may be allowed in a moment.
    #[must_use]
    pub const fn is_unavailability(self) -> bool {
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

/// Why a session ended; recorded in its tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// Not used for as long as its idle limit.
    IdleTimeout,
    /// As old as it may become.
    AbsoluteTimeout,
    /// Ended on purpose, and not by its user signing out.
    Revoked,
    /// Ended by its user signing out.
    SignedOut,
}

impl EndReason {
    /// Every way a session can end.
    pub const ALL: [Self; 4] = [
        Self::IdleTimeout,
        Self::AbsoluteTimeout,
        Self::Revoked,
        Self::SignedOut,
    ];

    /// The word for this reason: the same as that of the denial it causes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.denial().as_str()
    }

    /// The reason with which a request on the ended session is denied.
    #[must_use]
    pub const fn denial(self) -> DenyReason {
        match self {
            Self::IdleTimeout => DenyReason::IdleTimeout,
            Self::AbsoluteTimeout => DenyReason::AbsoluteTimeout,
            Self::Revoked => DenyReason::Revoked,
            Self::SignedOut => DenyReason::SignedOut,
        }
    }

    /// The end that a denial for `reason` calls for, if that reason ends a session.
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
    fn terminal_reasons_are_exactly_the_ends() {
        for reason in DenyReason::ALL {
            assert_eq!(
                reason.is_terminal(),
                EndReason::from_denial(reason).is_some(),
                "{reason}"
            );
        }
    }
}
