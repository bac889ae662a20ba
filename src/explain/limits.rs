use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::check::RuleMatch;
use crate::policy::{Policy, Rulebook};
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

/// Limits, and the configuration key above them.
type Source = (String, Limits);

/// The limits that end a session.
pub(super) fn of_session(book: &Rulebook, session: &Session) -> LimitsInForce {
    tightest(&home(book, session))
}

/// The limits that a session must meet for a request.
pub(super) fn of_request(
    book: &Rulebook,
    rule_match: &RuleMatch<'_>,
    session: &Session,
) -> LimitsInForce {
    let mut all = home(book, session);
    for (name, policy) in [rule_match.by_proxy, rule_match.by_rule]
        .into_iter()
        .flatten()
    {
        all.extend(sources(name.as_str(), policy, session));
    }
    tightest(&all)
}

/// The limits of the home policy; of all policies if the home policy is no longer configured.
fn home(book: &Rulebook, session: &Session) -> Vec<Source> {
    let name = session.policy.as_str();
    match book.policies.get(name) {
        Some((_, policy)) => sources(name, policy, session),
        None => {
            let all = book.policies.iter();
            let all = all.flat_map(|(name, policy)| {
                let mut unremembered = session.clone();
                unremembered.remembered = false;
                sources(name.as_str(), policy, &unremembered)
            });
            all.collect()
        }
    }
}

/// All limits of a policy that apply to a session.
fn sources(name: &str, policy: &Policy, session: &Session) -> Vec<Source> {
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

/// The shortest of each limit.
fn tightest(sources: &[Source]) -> LimitsInForce {
    let of = |name: &str, limit: fn(&Limits) -> Option<Duration>| {
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
        idle: of("idle", |limits| limits.idle),
        absolute: of("absolute", |limits| Some(limits.absolute)),
        max_auth_age: of("max_auth_age", |limits| limits.max_auth_age),
    }
}
