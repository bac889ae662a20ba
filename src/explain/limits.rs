use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::check::RuleMatch;
use crate::policy::{Policy, RouteTerms, Rulebook};
use crate::session::{Limits, Session};

/// Effective limits, each with its origin.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LimitsInForce {
    /// The idle limit; absent if it is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Limit>,
    /// The absolute limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absolute: Option<Limit>,
    /// The maximum age of the sign-in; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_auth_age: Option<Limit>,
}

/// A limit with its origin.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Limit {
    /// The limit in seconds.
    pub seconds: f64,
    /// The configuration key that sets it.
    pub from: String,
}

impl Limit {
    /// The limit as a duration.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

/// The configuration key of a policy or variant, and its limits.
type KeyedLimits = (String, Limits);

/// Returns the limits that end a session.
pub(super) fn session_limits(rulebook: &Rulebook, session: &Session) -> LimitsInForce {
    shortest_limits(&home_limits(rulebook, session))
}

/// Returns the limits that a session must meet for a request.
pub(super) fn request_limits(
    rulebook: &Rulebook,
    rule_match: &RuleMatch<'_>,
    session: &Session,
) -> LimitsInForce {
    let mut all = home_limits(rulebook, session);
    for (name, policy) in [rule_match.proxy_policy, rule_match.rule_policy]
        .into_iter()
        .flatten()
    {
        all.extend(policy_limits(name.as_str(), policy, session));
    }
    for (name, policy) in rule_match.route_policies() {
        all.extend(policy_limits(name.as_str(), policy, session));
    }
    all.extend(
        rule_match
            .route
            .iter()
            .flat_map(|route| route_limits(route)),
    );
    shortest_limits(&all)
}

/// Returns the limits of a route, each with the object that sets it.
fn route_limits(route: &RouteTerms) -> Vec<KeyedLimits> {
    let idle = route.idle.as_ref().map(|limit| {
        let idle = Some(limit.value);
        (
            &limit.from,
            Limits {
                idle,
                ..Limits::NONE
            },
        )
    });
    let absolute = route.absolute.as_ref().map(|limit| {
        let absolute = limit.value;
        (
            &limit.from,
            Limits {
                absolute,
                ..Limits::NONE
            },
        )
    });
    let max_auth_age = route.max_auth_age.as_ref().map(|limit| {
        let max_auth_age = Some(limit.value);
        (
            &limit.from,
            Limits {
                max_auth_age,
                ..Limits::NONE
            },
        )
    });
    let limits = [idle, absolute, max_auth_age].into_iter().flatten();
    limits
        .map(|(from, limits)| (from.to_string(), limits))
        .collect()
}

/// Returns the limits of the home policy, or of all policies if the home policy is not in the configuration.
fn home_limits(rulebook: &Rulebook, session: &Session) -> Vec<KeyedLimits> {
    let name = session.policy.as_str();
    match rulebook.policies.get(name) {
        Some((_, policy)) => policy_limits(name, policy, session),
        None => {
            let all = rulebook.policies.iter();
            let all = all.flat_map(|(name, policy)| {
                let mut unremembered = session.clone();
                unremembered.remembered = false;
                policy_limits(name.as_str(), policy, &unremembered)
            });
            all.collect()
        }
    }
}

/// Returns the limits of a policy and of its variants that apply to a session.
fn policy_limits(name: &str, policy: &Policy, session: &Session) -> Vec<KeyedLimits> {
    let key = format!("policies.{name}");
    let own = match policy.remember {
        Some(remember) if session.remembered => (format!("{key}.remember"), remember),
        _ => (key.clone(), policy.limits),
    };
    let variants = policy
        .variants_for(&session.attributes)
        .map(|(index, variant)| (format!("{key}.variants.{index}"), variant.limits));
    std::iter::once(own).chain(variants).collect()
}

/// Returns the shortest limit of each kind, with its origin.
fn shortest_limits(sources: &[KeyedLimits]) -> LimitsInForce {
    let shortest = |name: &str, limit: fn(&Limits) -> Option<Duration>| {
        let limits = sources
            .iter()
            .filter_map(|(key, limits)| Some((limit(limits)?, key)));
        let (limit, key) = limits.min()?;
        Some(Limit {
            seconds: limit.as_secs_f64(),
            from: format!("{key}.{name}"),
        })
    };
    LimitsInForce {
        idle: shortest("idle", |limits| limits.idle),
        absolute: shortest("absolute", |limits| Some(limits.absolute)),
        max_auth_age: shortest("max_auth_age", |limits| limits.max_auth_age),
    }
}
