use super::{MaxAge, Policy};

/// A configured way to sign in, and what Curfew knows of the authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInSource {
    /// Its key in the configuration.
    pub key: String,
    /// What Curfew knows of the authentication.
    pub authentication: Authentication,
}

/// What Curfew knows of the authentication before a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// When it was. An older one starts no session.
    Dated {
        /// How long ago it may have been.
        max_age: MaxAge,
        /// Who asks the person to authenticate: Curfew, or the other service by its own configuration.
        asked_by_curfew: bool,
    },
    /// When it was. It is a part of the session ID, so after an end the same one starts no session.
    Named,
    /// Nothing.
    Unknown {
        /// The key that would change that.
        missing: &'static str,
    },
}

impl SignInSource {
    /// Why a person may be back after a timeout of this policy without a new authentication; `None` where Curfew
    /// prevents that.
    #[must_use]
    pub fn gap(&self, policy: &Policy) -> Option<String> {
        let key = &self.key;
        match self.authentication {
            Authentication::Named => None,
            Authentication::Dated { max_age, .. } if max_age.ends_with_session(policy) => None,
            Authentication::Dated {
                max_age: MaxAge::Any,
                ..
            } => Some(format!(
                "`{key}` accepts an authentication of any age (max_age: off)"
            )),
            Authentication::Dated { .. } => Some(format!(
                "`{key}` accepts an authentication that is older than a timeout (max_age)"
            )),
            Authentication::Unknown { missing } => Some(format!(
                "`{key}` does not say when a person authenticated; missing: {missing}"
            )),
        }
    }

    /// What prevents that, for a reader of a report.
    #[must_use]
    pub fn safeguard(&self) -> String {
        let key = &self.key;
        match self.authentication {
            Authentication::Named => format!(
                "`{key}` starts no session with the authentication from before, because `auth_time` is a part of the \
                 session's name (unless `session_claims` has a claim that a refresh changes, such as `jti`)"
            ),
            Authentication::Dated {
                asked_by_curfew, ..
            } => {
                let asks = if asked_by_curfew {
                    "Curfew asks the identity provider for a new one"
                } else {
                    "the service must ask for a new one"
                };
                format!("`{key}` starts no session with the authentication from before: {asks}")
            }
            Authentication::Unknown { .. } => format!("`{key}` is not known to ask for anything"),
        }
    }
}
