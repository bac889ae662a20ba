use std::collections::BTreeMap;
use std::time::Duration;

use super::{BindSettings, Policy};
use crate::session::{Limits, PolicyName, Session, Timestamp};

/// All configured policies, and the default policy.
#[derive(Clone, Debug)]
pub struct Policies {
    by_name: BTreeMap<PolicyName, Policy>,
    default: PolicyName,
    /// The strictest combination of all policies, for sessions whose home policy (fixed at sign-in) is not configured.
    strictest: Policy,
    /// The policy of operator sessions in the console. A sign-in cannot select this policy.
    console: Policy,
}

/// A policy together with its limits for one session.
#[derive(Clone, Copy, Debug)]
pub struct AppliedPolicy<'a> {
    /// The home policy of the session, or the strictest combination of all policies if the home policy is not
    /// configured.
    pub policy: &'a Policy,
    /// The limits for this session, with "remember me" and variants applied.
    pub limits: Limits,
}

impl<'a> AppliedPolicy<'a> {
    /// Applies a policy to a session.
    #[must_use]
    pub fn new(session: &Session, policy: &'a Policy) -> Self {
        Self {
            policy,
            limits: policy.limits_for(session),
        }
    }
}

impl Policies {
    /// A set of policies; `None` if `default` is not the name of one of these policies.
    #[must_use]
    pub fn new(by_name: BTreeMap<PolicyName, Policy>, default: PolicyName) -> Option<Self> {
        let strictest = by_name.values().cloned().reduce(combine_strictest)?;
        by_name.contains_key(&default).then_some(Self {
            by_name,
            default,
            strictest,
            console: Policy::of(Self::DEFAULT_CONSOLE_LIMITS),
        })
    }

    /// The default limits of operator sessions in the console: 15 minutes idle and 8 hours absolute.
    pub const DEFAULT_CONSOLE_LIMITS: Limits = Limits {
        idle: Some(Duration::from_secs(15 * 60)),
        absolute: Duration::from_secs(8 * 3600),
        max_auth_age: None,
    };

    /// Replaces the limits of operator sessions in the console.
    #[must_use]
    pub fn with_console(self, limits: Limits) -> Self {
        Self {
            console: Policy::of(limits),
            ..self
        }
    }

    /// The policy of operator sessions in the console.
    #[must_use]
    pub const fn console(&self) -> &Policy {
        &self.console
    }

    /// The policy with this name; `None` if no policy has this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<(&PolicyName, &Policy)> {
        self.by_name.get_key_value(name)
    }

    /// The name of the policy for sign-ins that do not select a policy.
    #[must_use]
    pub const fn default_name(&self) -> &PolicyName {
        &self.default
    }

    /// The home policy of a session, and the current limits for this session. The policy of an operator session is the
    /// console's policy. If the home policy is not configured, the strictest combination of all policies applies.
    /// Therefore, if a policy gets a new name in the configuration, its sessions stay valid, but none lasts longer.
    #[must_use]
    pub fn home(&self, session: &Session) -> AppliedPolicy<'_> {
        if session.is_operator() {
            return AppliedPolicy::new(session, &self.console);
        }
        let policy = self.by_name.get(&session.policy);
        AppliedPolicy::new(session, policy.unwrap_or(&self.strictest))
    }

    /// The strictest combination of all policies.
    #[must_use]
    pub const fn strictest(&self) -> &Policy {
        &self.strictest
    }

    /// When the session ends if no activity follows, according to the current limits of its home policy.
    #[must_use]
    pub fn deadline(&self, session: &Session) -> Timestamp {
        let limits = self.home(session).limits;
        session
            .idle_deadline(&limits)
            .min(session.absolute_deadline(&limits))
    }

    /// The longest absolute limit of all policies. Every session that started longer ago has ended.
    #[must_use]
    pub fn longest_absolute_limit(&self) -> Duration {
        let limits = self
            .by_name
            .values()
            .flat_map(|policy| [Some(policy.limits), policy.remember])
            .flatten()
            .chain([self.console.limits]);
        limits
            .map(|limits| limits.absolute)
            .max()
            .unwrap_or_default()
    }

    /// All policies with their names, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&PolicyName, &Policy)> {
        self.by_name.iter()
    }
}

/// Combines two policies: the stricter value of every property that affects a live session.
fn combine_strictest(a: Policy, b: Policy) -> Policy {
    Policy {
        limits: a.limits.strictest(b.limits),
        remember: None,
        variants: [a.variants, b.variants].concat(),
        activity: a.activity.strictest(b.activity),
        touch_interval: a.touch_interval.min(b.touch_interval),
        max_sessions: None,
        bind: BindSettings::default(),
        on_store_failure: a.on_store_failure.strictest(b.on_store_failure),
        streams: a.streams.strictest(&b.streams),
        preset: None,
        deviation_reason: None,
    }
}
