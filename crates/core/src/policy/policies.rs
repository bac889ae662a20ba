use std::collections::BTreeMap;
use std::time::Duration;

use super::{Bind, Policy};
use crate::session::{Limits, PolicyName, Session, Timestamp};

/// Every configured policy, and which of them applies where none is named.
#[derive(Clone, Debug)]
pub struct Policies {
    by_name: BTreeMap<PolicyName, Policy>,
    default: PolicyName,
    /// The tightest of all, for a session whose home policy is not configured any more.
    strictest: Policy,
    /// Of operators' sessions in the console. It is none of those that a session can name.
    console: Policy,
}

/// A policy as it applies to one session.
#[derive(Clone, Copy, Debug)]
pub struct Applied<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// Its limits for this session.
    pub limits: Limits,
}

impl<'a> Applied<'a> {
    /// A policy, as it applies to a session.
    #[must_use]
    pub fn to(session: &Session, policy: &'a Policy) -> Self {
        Self {
            policy,
            limits: policy.limits_for(session),
        }
    }
}

impl Policies {
    /// These policies; `None` when `default` is not one of them.
    #[must_use]
    pub fn new(by_name: BTreeMap<PolicyName, Policy>, default: PolicyName) -> Option<Self> {
        let strictest = by_name.values().cloned().reduce(strictest)?;
        by_name.contains_key(&default).then_some(Self {
            by_name,
            default,
            strictest,
            console: Policy::of(Self::CONSOLE),
        })
    }

    /// The limits of operators' sessions in the console, where nothing else is said: 15 minutes and 8 hours.
    pub const CONSOLE: Limits = Limits {
        idle: Some(Duration::from_secs(15 * 60)),
        absolute: Duration::from_secs(8 * 3600),
        max_auth_age: None,
    };

    /// The same, with these limits for operators' sessions in the console.
    #[must_use]
    pub fn with_console(self, limits: Limits) -> Self {
        Self {
            console: Policy::of(limits),
            ..self
        }
    }

    /// The policy of operators' sessions in the console.
    #[must_use]
    pub const fn console(&self) -> &Policy {
        &self.console
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
    pub fn home(&self, session: &Session) -> Applied<'_> {
        if session.is_operator() {
            return Applied::to(session, &self.console);
        }
        let policy = self.by_name.get(&session.policy);
        Applied::to(session, policy.unwrap_or(&self.strictest))
    }

    /// The tightest of all, in every respect.
    #[must_use]
    pub const fn tightest(&self) -> &Policy {
        &self.strictest
    }

    /// When a session ends unless it is used before, under its home policy as configured today.
    #[must_use]
    pub fn deadline(&self, session: &Session) -> Timestamp {
        let limits = self.home(session).limits;
        session
            .idle_deadline(&limits)
            .min(session.absolute_deadline(&limits))
    }

    /// The longest absolute limit of all policies: what started before that is over.
    #[must_use]
    pub fn longest(&self) -> Duration {
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

    /// All policies, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&PolicyName, &Policy)> {
        self.by_name.iter()
    }
}

/// The tighter of two policies in every respect that concerns a session that lives.
fn strictest(a: Policy, b: Policy) -> Policy {
    Policy {
        limits: a.limits.strictest(b.limits),
        remember: None,
        variants: [a.variants, b.variants].concat(),
        activity: a.activity.strictest(b.activity),
        touch_interval: a.touch_interval.min(b.touch_interval),
        max_sessions: None,
        bind: Bind::default(),
        on_store_failure: a.on_store_failure.strictest(b.on_store_failure),
        preset: None,
        deviation_reason: None,
    }
}
