use std::time::Duration;

use super::Policy;
use crate::session::{Attributes, Limits};

/// The maximum age of an authentication when a session starts.
///
/// A session that reaches its idle limit began after its authentication. Therefore, with [`MaxAge::Idle`], the same
/// authentication is always too old after the timeout (ADR 12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxAge {
    /// The idle limit of the session.
    Idle,
    /// A fixed duration.
    Of(Duration),
    /// Any age; only the identity provider limits it.
    Any,
}

impl MaxAge {
    /// The maximum age for a subject with these attributes; `None` if there is none.
    #[must_use]
    pub fn limit(self, policy: &Policy, attributes: &Attributes) -> Option<Duration> {
        match self {
            Self::Any => None,
            Self::Of(age) => Some(age),
            Self::Idle => Some(until_timeout(&policy.limits_of(false, attributes))),
        }
    }

    /// Whether an authentication is always too old after a timeout of this policy.
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

/// The shortest time from sign-in to a timeout.
fn until_timeout(limits: &Limits) -> Duration {
    let idle = limits.idle.unwrap_or(limits.absolute);
    idle.min(limits.absolute)
}
