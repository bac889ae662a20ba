//! Policies: named limits and behaviour, and what counts as activity under them.

mod activity;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::session::{Limits, PolicyName, Session, Timestamp};

pub use activity::{Activity, ActivityKind, classify};

/// Named limits and behaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What ends a session.
    pub limits: Limits,
    /// Which requests count as activity.
    pub activity: ActivityKind,
    /// How long activities are gathered before one is written: the most by which a session can end
    /// too early. Never as long as half the idle limit.
    pub touch_interval: Duration,
    /// What becomes of a check while the store can't be asked.
    pub on_store_failure: OnStoreFailure,
}

/// What becomes of a check while the store can't be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStoreFailure {
    /// It is denied with `store_unavailable`.
    Deny,
    /// A session that this process has seen alive in the store is served within its limits, until
    /// `grace` has passed since then.
    Known {
        /// How long a session is known.
        grace: Duration,
    },
}

impl OnStoreFailure {
    /// The one that lets less pass.
    #[must_use]
    pub fn strictest(self, other: Self) -> Self {
        match (self, other) {
            (Self::Known { grace: a }, Self::Known { grace: b }) => Self::Known { grace: a.min(b) },
            _ => Self::Deny,
        }
    }
}

/// Every configured policy, and which of them applies where none is named.
#[derive(Clone, Debug)]
pub struct Policies {
    by_name: BTreeMap<PolicyName, Policy>,
    default: PolicyName,
    /// The tightest of all, for a session whose home policy is not configured any more.
    strictest: Policy,
}

impl Policies {
    /// These policies; `None` when `default` is not one of them.
    #[must_use]
    pub fn new(by_name: BTreeMap<PolicyName, Policy>, default: PolicyName) -> Option<Self> {
        let strictest = by_name.values().cloned().reduce(|a, b| Policy {
            limits: a.limits.strictest(b.limits),
            activity: a.activity.strictest(b.activity),
            touch_interval: a.touch_interval.min(b.touch_interval),
            on_store_failure: a.on_store_failure.strictest(b.on_store_failure),
        })?;
        by_name.contains_key(&default).then_some(Self {
            by_name,
            default,
            strictest,
        })
    }

    /// The policy of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<(&PolicyName, &Policy)> {
        self.by_name.get_key_value(name)
    }

    /// The policy of a session that names none.
    #[must_use]
    pub const fn default_name(&self) -> &PolicyName {
        &self.default
    }

    /// The home policy of a session, as configured today. When it is not there any more, the
    /// tightest of all applies: renaming a policy must neither log everybody out nor let anybody
    /// stay for longer.
    #[must_use]
    pub fn home(&self, name: &PolicyName) -> &Policy {
        self.by_name.get(name).unwrap_or(&self.strictest)
    }

    /// When a session ends unless it is used before, under its home policy as configured today.
    #[must_use]
    pub fn deadline(&self, session: &Session) -> Timestamp {
        let limits = &self.home(&session.policy).limits;
        session
            .idle_deadline(limits)
            .min(session.absolute_deadline(limits))
    }

    /// The longest absolute limit of all policies: what started before that is over.
    #[must_use]
    pub fn longest(&self) -> Duration {
        let limits = self.by_name.values().map(|policy| policy.limits.absolute);
        limits.max().unwrap_or_default()
    }

    /// All policies, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&PolicyName, &Policy)> {
        self.by_name.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn name(name: &str) -> PolicyName {
        PolicyName::new(name).unwrap()
    }

    fn policy(idle: u32, absolute: u32) -> Policy {
        Policy {
            limits: Limits {
                idle: Some(idle * MINUTE),
                absolute: absolute * MINUTE,
                max_auth_age: None,
            },
            activity: ActivityKind::Any,
            touch_interval: MINUTE / 4,
            on_store_failure: OnStoreFailure::Known {
                grace: absolute * MINUTE,
            },
        }
    }

    #[test]
    fn a_store_failure_is_taken_strictly() {
        let known = |minutes: u32| OnStoreFailure::Known {
            grace: minutes * MINUTE,
        };
        assert_eq!(known(5).strictest(known(3)), known(3));
        assert_eq!(
            known(5).strictest(OnStoreFailure::Deny),
            OnStoreFailure::Deny
        );
        assert_eq!(
            OnStoreFailure::Deny.strictest(known(5)),
            OnStoreFailure::Deny
        );
    }

    #[test]
    fn a_policy_that_is_gone_is_replaced_by_the_tightest_of_all() {
        let (long, short) = (policy(30, 60), policy(15, 90));
        let all = BTreeMap::from([(name("long"), long.clone()), (name("short"), short)]);
        let policies = Policies::new(all.clone(), name("long")).unwrap();
        assert_eq!(policies.home(&name("long")), &long);
        let tightest = policy(15, 60);
        assert_eq!(policies.home(&name("renamed")), &tightest);
        assert!(Policies::new(all, name("renamed")).is_none());
    }
}
