//! Policies and rules: what limits a session, which of it applies to a request, and what counts as
//! activity. Nothing here does I/O or reads a clock.

mod activity;
mod bind;
mod client_address;
mod contract;
mod host;
mod max_age;
#[cfg(any(test, feature = "testing"))]
pub mod model;
mod named_hosts;
mod path;
mod policies;
pub mod pollers;
mod preset;
mod rule;
mod rulebook;
mod rules;
mod sign_in;
pub mod standards;

use std::time::Duration;

use crate::session::{Attributes, Limits, Session};

pub use activity::{Activity, ActivityKind, BackgroundHeaders, Passivity, classify, is_preflight};
pub use bind::{Bind, Client, Elsewhere, NetworkBits, UnknownClient};
pub use client_address::AddressHeader;
pub use contract::Contract;
pub use host::{HostPattern, HostPatternError, normal_host};
pub use max_age::MaxAge;
pub use named_hosts::NamedHosts;
pub use path::{AmbiguousPath, NormalPath};
pub use policies::{Applied, Policies};
pub use preset::Preset;
pub use rule::{Access, Conditions, PathPattern, PathPatternError, Rule, RuleActivity, Terms};
pub use rulebook::Rulebook;
pub use rules::{Found, Rules, RulesError, Target};
pub use sign_in::{Authentication, SignInSource};

/// Named limits and behaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What ends a session.
    pub limits: Limits,
    /// What ends a session whose subject asked to be remembered; `None` where nobody can.
    pub remember: Option<Limits>,
    /// What is tighter for some.
    pub variants: Vec<Variant>,
    /// Which requests count as activity.
    pub activity: ActivityKind,
    /// How long activities are gathered before one is written: the most by which a session can end
    /// too early. Never as long as half of any idle limit above.
    pub touch_interval: Duration,
    /// How many sessions a subject can have at once.
    pub max_sessions: Option<MaxSessions>,
    /// What sessions are bound to from their sign-in on.
    pub bind: Bind,
    /// What becomes of a check while the store can't be asked.
    pub on_store_failure: OnStoreFailure,
    /// The ceilings that the limits are meant to be within.
    pub preset: Option<Preset>,
    /// Why a limit is above them all the same.
    pub deviation_reason: Option<String>,
}

/// What is tighter for the members of some groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Whoever is in one of these.
    pub groups: Vec<String>,
    /// Their limits; the tighter ones apply, of these and of all others.
    pub limits: Limits,
}

/// How many sessions a subject can have at once, and what becomes of a sign-in beyond that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxSessions {
    /// The most that live at the same time, whatever their policies.
    pub count: usize,
    /// What becomes of a sign-in beyond that.
    pub beyond: Beyond,
}

/// What becomes of a sign-in when the subject has as many sessions as it can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// It is refused.
    Deny,
    /// It ends the oldest session.
    EndOldest,
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

impl Policy {
    /// A policy with nothing but limits.
    #[must_use]
    pub fn of(limits: Limits) -> Self {
        Self {
            limits,
            remember: None,
            variants: Vec::new(),
            activity: ActivityKind::Any,
            touch_interval: Self::usual_touch_interval(limits.idle.unwrap_or(limits.absolute)),
            max_sessions: None,
            bind: Bind::default(),
            on_store_failure: OnStoreFailure::Deny,
            preset: None,
            deviation_reason: None,
        }
    }

    /// The touch interval for an idle limit, where nothing else is said: a sixtieth of it, between
    /// 1 s and 15 s, but at most a quarter of it, in whole milliseconds.
    #[must_use]
    pub fn usual_touch_interval(idle: Duration) -> Duration {
        let usual = (idle / 60).clamp(Duration::from_secs(1), Duration::from_secs(15));
        let millis = usual.min(idle / 4).as_millis();
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    /// What limits a session of someone with these attributes: the policy's limits, or those for
    /// the remembered, and the tightest of every variant that is for them.
    #[must_use]
    pub fn limits_of(&self, remembered: bool, attributes: &Attributes) -> Limits {
        let limits = match self.remember {
            Some(remember) if remembered => remember,
            _ => self.limits,
        };
        self.variants_for(attributes)
            .fold(limits, |limits, (_, variant)| {
                limits.strictest(variant.limits)
            })
    }

    /// What limits a session under this policy.
    #[must_use]
    pub fn limits_for(&self, session: &Session) -> Limits {
        self.limits_of(session.remembered, &session.attributes)
    }

    /// The variants that are for someone with these attributes, with their indexes. All of them, where the groups of
    /// the subject are not known: variants only tighten.
    pub fn variants_for(&self, attributes: &Attributes) -> impl Iterator<Item = (usize, &Variant)> {
        let unknown = attributes.has_unknown_groups();
        let variants = self.variants.iter().enumerate();
        variants.filter(move |(_, variant)| unknown || attributes.in_any_of(&variant.groups))
    }
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

impl Beyond {
    /// The word for this in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::EndOldest => "end_oldest",
        }
    }
}

#[cfg(test)]
mod tests;
