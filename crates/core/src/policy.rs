//! Policies and rules: the limits of a session, the policy that applies to a request, and the requests that count as
//! activity. This module does no I/O and reads no clock.

mod activity;
mod bind;
mod client_address;
mod contract;
mod heartbeats;
mod host;
mod max_age;
#[cfg(any(test, feature = "testing"))]
pub mod model;
mod named_hosts;
mod path;
mod policies;
pub mod pollers;
mod preset;
mod request_index;
mod routes;
mod rule;
mod rulebook;
mod rules;
mod sign_in;
pub mod standards;
mod streams;

use std::time::Duration;

use crate::session::{Attributes, Limits, Session};

pub use activity::{
    Activity, ActivityKind, BackgroundHeaders, PassiveReason, classify, is_preflight,
};
pub use bind::{BindSettings, BindingMismatch, Client, NetworkBits, UnknownClientProperty};
pub use client_address::AddressHeader;
pub use contract::Contract;
pub use heartbeats::{Heartbeats, HeartbeatsError, MAX_HEARTBEAT_BYTES, preset_names};
pub use host::{HostPattern, HostPatternError, normalize_host};
pub use max_age::MaxAge;
pub use named_hosts::NamedHosts;
pub use path::{AmbiguousPath, NormalPath};
pub use policies::{AppliedPolicy, Policies};
pub use preset::Preset;
pub use request_index::{NormalTarget, RequestTarget};
pub use routes::{
    CheckTimes, PassivePaths, RouteChecks, RouteEntry, RouteIndex, RouteName, RouteScope,
    RouteTerms, Routes, Sourced, lesser, number,
};
pub use rule::{Access, Conditions, PathPattern, PathPatternError, Rule, RuleActivity, Terms};
pub use rulebook::Rulebook;
pub use rules::{MatchedRule, Rules, RulesError};
pub use sign_in::{Authentication, SignInSource};
pub use streams::{StreamActivity, StreamSettings};

/// The limits of sessions, and other settings for them. The configuration gives each policy a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The limits of a session that was started without "remember me".
    pub limits: Limits,
    /// The limits of a session with "remember me"; `None` if the policy does not offer "remember me".
    pub remember: Option<Limits>,
    /// Tighter limits for members of groups.
    pub variants: Vec<Variant>,
    /// The requests that count as activity.
    pub activity: ActivityKind,
    /// The time for which Curfew collects touches (recorded activities) before it writes one to the store. Until then
    /// the store does not know the latest activity. Therefore a session can end too early, but never by more than the
    /// touch interval. The touch interval is always less than half of every idle limit of the policy.
    pub touch_interval: Duration,
    /// The limit on concurrent sessions of a subject; `None` if there is no such limit.
    pub max_sessions: Option<MaxSessions>,
    /// The client properties that a session is bound to at its sign-in.
    pub bind: BindSettings,
    /// The behaviour of checks while the store is unavailable.
    pub on_store_failure: OnStoreFailure,
    /// The behaviour of open streams.
    pub streams: StreamSettings,
    /// The preset of a standard. Without `deviation_reason`, the limits must not exceed the ceilings of the preset.
    pub preset: Option<Preset>,
    /// The documented reason for a limit above the ceiling of the preset.
    pub deviation_reason: Option<String>,
}

/// Tighter limits for the members of some groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The groups. Membership in one of these groups is enough.
    pub groups: Vec<String>,
    /// The limits for the members. If several variants apply, the smallest value of each limit counts.
    pub limits: Limits,
}

/// The limit on concurrent sessions of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxSessions {
    /// The maximum number of live sessions at a time, counted over all policies.
    pub count: usize,
    /// The behaviour for a sign-in above the limit.
    pub on_limit: OnSessionLimit,
}

/// The behaviour for a sign-in when the subject already has the maximum number of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSessionLimit {
    /// The new sign-in is denied.
    Deny,
    /// The new sign-in ends the oldest session.
    EndOldest,
}

/// The behaviour of checks while the store is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStoreFailure {
    /// The check is denied with `store_unavailable`.
    Deny,
    /// A known session stays valid within its limits for `grace`. A session is known if this replica saw it live in
    /// the store.
    Known {
        /// The maximum time since the replica last saw the session in the store.
        grace: Duration,
    },
}

impl Policy {
    /// A policy with these limits and defaults for everything else.
    #[must_use]
    pub fn of(limits: Limits) -> Self {
        Self {
            limits,
            remember: None,
            variants: Vec::new(),
            activity: ActivityKind::Any,
            touch_interval: Self::default_touch_interval(limits.idle.unwrap_or(limits.absolute)),
            max_sessions: None,
            bind: BindSettings::default(),
            on_store_failure: OnStoreFailure::Deny,
            streams: StreamSettings::default(),
            preset: None,
            deviation_reason: None,
        }
    }

    /// The default touch interval for an idle limit: one sixtieth of the limit, but at least 1 s, at most 15 s, and
    /// at most a quarter of the limit. The result is in whole milliseconds.
    #[must_use]
    pub fn default_touch_interval(idle: Duration) -> Duration {
        let usual = (idle / 60).clamp(Duration::from_secs(1), Duration::from_secs(15));
        let millis = usual.min(idle / 4).as_millis();
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    /// The limits of a session with these attributes: the limits of the policy, or its `remember` limits. Every
    /// variant that applies tightens these limits.
    #[must_use]
    pub fn limits_for_sign_in(&self, remembered: bool, attributes: &Attributes) -> Limits {
        let limits = match self.remember {
            Some(remember) if remembered => remember,
            _ => self.limits,
        };
        self.variants_for(attributes)
            .fold(limits, |limits, (_, variant)| {
                limits.strictest(variant.limits)
            })
    }

    /// The limits of a session under this policy.
    #[must_use]
    pub fn limits_for(&self, session: &Session) -> Limits {
        self.limits_for_sign_in(session.remembered, &session.attributes)
    }

    /// The variants that apply to a subject with these attributes, with their indexes. If the subject's groups are
    /// unknown, all variants apply, because a variant can only tighten limits.
    pub fn variants_for(&self, attributes: &Attributes) -> impl Iterator<Item = (usize, &Variant)> {
        let unknown = attributes.has_unknown_groups();
        let variants = self.variants.iter().enumerate();
        variants.filter(move |(_, variant)| unknown || attributes.is_in_any_group(&variant.groups))
    }
}

impl OnStoreFailure {
    /// The stricter of two behaviours.
    #[must_use]
    pub fn strictest(self, other: Self) -> Self {
        match (self, other) {
            (Self::Known { grace: a }, Self::Known { grace: b }) => Self::Known { grace: a.min(b) },
            _ => Self::Deny,
        }
    }
}

impl OnSessionLimit {
    /// The word for this behaviour in the configuration.
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
