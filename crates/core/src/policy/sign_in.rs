use super::{MaxAge, Policy};

/// A configured way to sign in, and the information that Curfew has about the authentication in such a sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInSource {
    /// The key in the configuration.
    pub key: String,
    /// The information that Curfew has about the authentication.
    pub authentication: Authentication,
}

/// The information that Curfew has about the authentication that precedes a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// The time of the authentication is known. An authentication older than `max_age` starts no session.
    TimeKnown {
        /// The maximum age of the authentication.
        max_age: MaxAge,
        /// Whether Curfew itself requests a new authentication. If not, the delegated service must be configured to
        /// request one.
        is_requested_by_curfew: bool,
    },
    /// The time of the authentication is a part of the session ID. After a session end, the same authentication leads
    /// to the ID of the ended session, so it starts no new session.
    InSessionId,
    /// The time of the authentication is unknown.
    Unknown {
        /// What is missing to make the time known: a claim or a configuration key.
        missing: &'static str,
    },
}

impl SignInSource {
    /// Explains why a person can continue after a timeout of this policy without a new authentication. Returns `None`
    /// if the person cannot, because Curfew accepts only a new authentication.
    #[must_use]
    pub fn reauthentication_gap(&self, policy: &Policy) -> Option<String> {
        let key = &self.key;
        match self.authentication {
            Authentication::InSessionId => None,
            Authentication::TimeKnown { max_age, .. }
                if max_age.prevents_reuse_after_timeout(policy) =>
            {
                None
            }
            Authentication::TimeKnown {
                max_age: MaxAge::Any,
                ..
            } => Some(format!(
                "`{key}` accepts an authentication of any age (max_age: off)"
            )),
            Authentication::TimeKnown { .. } => Some(format!(
                "`{key}` accepts an authentication that is older than a timeout (max_age)"
            )),
            Authentication::Unknown { missing } => Some(format!(
                "`{key}` does not say when a person authenticated; missing: {missing}"
            )),
        }
    }

    /// Explains for the compliance report what ensures a new authentication after a timeout.
    #[must_use]
    pub fn reauthentication_safeguard(&self) -> String {
        let key = &self.key;
        match self.authentication {
            Authentication::InSessionId => format!(
                "`{key}` starts no session with an earlier authentication, because `auth_time` is a part of the \
                 session ID (unless `session_claims` has a claim that a refresh changes, such as `jti`)"
            ),
            Authentication::TimeKnown {
                is_requested_by_curfew,
                ..
            } => {
                let asks = if is_requested_by_curfew {
                    "Curfew asks the identity provider for a new one"
                } else {
                    "the service must ask for a new one"
                };
                format!("`{key}` starts no session with an earlier authentication: {asks}")
            }
            Authentication::Unknown { .. } => {
                format!("Curfew does not know whether `{key}` requires a new authentication")
            }
        }
    }
}
