use std::time::Duration;

use super::Policy;
use crate::session::{Attributes, Limits};

/// How long ago a person may have authenticated when a session starts.
///
/// A session that was idle for its limit began after the authentication. So with [`MaxAge::Idle`] the same
/// authentication is always too old after the timeout (ADR 12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxAge {
    /// As long as the session may be idle.
    Idle,
    /// This long.
    Of(Duration),
    /// As long as the identity provider likes.
    Any,
}

impl MaxAge {
    /// The longest age for a subject with these attributes; `None` where any age will do.
    #[must_use]
    pub fn limit(self, policy: &Policy, attributes: &Attributes) -> Option<Duration> {
        match self {
            Self::Any => None,
            Self::Of(age) => Some(age),
            Self::Idle => Some(until_timeout(&policy.limits_of(false, attributes))),
        }
    }

    /// Whether an authentication is too old after every timeout of this policy.
    #[must_use]
    pub fn ends_with_session(self, policy: &Policy) -> bool {
        match self {
            Self::Any => false,
            Self::Of(age) => {
                let variants = policy.variants.iter().map(|variant| &variant.limits);
                let mut all = [&policy.limits].into_iter().chain(variants);
                all.all(|limits| age <= until_timeout(limits))
            }
            Self::Idle => true,
        }
    }
}

/// The shortest time from sign-in to timeout.
fn until_timeout(limits: &Limits) -> Duration {
    let idle = limits.idle.unwrap_or(limits.absolute);
    idle.min(limits.absolute)
}
