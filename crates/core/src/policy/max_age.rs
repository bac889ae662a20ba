use std::time::Duration;

use super::Policy;
use crate::session::{Attributes, Limits};

/// The maximum age of an authentication when a session starts.
///
/// An authentication precedes its session. Therefore, when the session reaches a limit, the authentication is older
/// than this limit. With [`MaxAge::Idle`], the authentication is then too old to start another session (ADR 12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxAge {
    /// The idle limit or the absolute limit of the session, whichever is shorter.
    Idle,
    /// A fixed duration.
    Of(Duration),
    /// Any age is allowed; only the identity provider can limit the age.
    Any,
}

impl MaxAge {
    /// The maximum age for a subject with these attributes; `None` if there is no maximum.
    #[must_use]
    pub fn limit(self, policy: &Policy, attributes: &Attributes) -> Option<Duration> {
        match self {
            Self::Any => None,
            Self::Of(age) => Some(age),
            Self::Idle => Some(shortest_time_to_timeout(
                &policy.limits_for_sign_in(false, attributes),
            )),
        }
    }

    /// Whether, after every timeout of this policy, the authentication of the ended session is too old to start another
    /// session.
    #[must_use]
    pub fn prevents_reuse_after_timeout(self, policy: &Policy) -> bool {
        match self {
            Self::Any => false,
            Self::Of(age) => {
                let variants = policy.variants.iter().map(|variant| &variant.limits);
                let mut all = [&policy.limits].into_iter().chain(variants);
                all.all(|limits| age <= shortest_time_to_timeout(limits))
            }
            Self::Idle => true,
        }
    }
}

/// The shortest possible time from the sign-in to a timeout.
fn shortest_time_to_timeout(limits: &Limits) -> Duration {
    let idle = limits.idle.unwrap_or(limits.absolute);
    idle.min(limits.absolute)
}
