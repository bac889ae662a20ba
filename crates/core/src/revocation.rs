//! Emergency revocation: a revocation rule ends all sessions that have certain properties and started before a certain
//! time.
//!
//! A revocation rule applies to every source, including credentials that no replica has seen before. If the record of a
//! session lacks the host, the provider or the groups, the session meets every condition on the missing property.
//! Otherwise, the revocation could miss a session that it should end.

use serde::{Deserialize, Serialize};

use crate::session::{Attributes, Session, Timestamp};

/// The source of sessions from the admin API. Their records do not name a source.
pub const ADMIN_API_SOURCE: &str = "token";

/// The properties of the sessions that a revocation rule ends. A session must meet all conditions. If there is no
/// condition, every session matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RevocationConditions {
    /// The home policy of the session, which was fixed at the sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The host of the sign-in, in lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// How the session began: `token`, `login`, `jwt` or `delegated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// One of the subject's groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The issuer of the identity provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

/// A revocation rule. It ends all sessions that meet the conditions and started before a certain time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RevocationRule {
    /// The sessions that the rule ends.
    pub conditions: RevocationConditions,
    /// The rule ends only sessions that started before this time.
    pub before: Timestamp,
}

/// The result of comparing a session with conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// The session does not meet the conditions.
    No,
    /// The record shows that the session meets all conditions.
    Certain,
    /// The record lacks a property that a condition tests, so the session counts as a match.
    Assumed,
}

impl RevocationConditions {
    /// Whether no condition is set, so that every session matches.
    #[must_use]
    pub fn match_everybody(&self) -> bool {
        *self == Self::default()
    }

    /// The conditions that are set, as pairs of name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("policy", &self.policy),
            ("host", &self.host),
            ("source", &self.source),
            ("group", &self.group),
            ("provider", &self.provider),
        ];
        all.into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }

    /// Compares a session with the conditions.
    #[must_use]
    pub fn compare(&self, session: &Session) -> Match {
        let mut found = Match::Certain;
        for (name, wanted) in self.iter() {
            let is_met = match name {
                "policy" => Some(session.policy.as_str() == wanted),
                "source" => Some(source_of(session) == wanted),
                "host" => sign_in_host(session).map(|host| host == wanted),
                "group" => is_in_group(session, wanted),
                _ => is_from_provider(session, wanted),
            };
            match is_met {
                Some(true) => {}
                Some(false) => return Match::No,
                None => found = Match::Assumed,
            }
        }
        found
    }
}

impl std::fmt::Display for RevocationConditions {
    /// `everybody`, or `policy=staff host=app.example.com`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut separator = "";
        for (name, value) in self.iter() {
            write!(f, "{separator}{name}={value}")?;
            separator = " ";
        }
        if separator.is_empty() {
            f.write_str("everybody")?;
        }
        Ok(())
    }
}

impl RevocationRule {
    /// Whether this rule ends a session.
    #[must_use]
    pub fn ends(&self, session: &Session) -> bool {
        session.started < self.before && self.conditions.compare(session) != Match::No
    }

    /// Whether this rule ends every session that the rule `other` ends.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let is_wider = self.conditions.match_everybody() || self.conditions == other.conditions;
        is_wider && self.before >= other.before
    }
}

/// The source that the record names; a record without a source is from the admin API.
fn source_of(session: &Session) -> &str {
    let source = session.attributes.get(Attributes::SOURCE).next();
    source.unwrap_or(ADMIN_API_SOURCE)
}

/// The host of the sign-in; `None` if the record does not contain it.
fn sign_in_host(session: &Session) -> Option<&str> {
    session.details.as_deref()?.host.as_deref()
}

/// Whether the subject is in the group; `None` if Curfew does not know the groups.
fn is_in_group(session: &Session, wanted: &str) -> Option<bool> {
    let attributes = &session.attributes;
    if attributes
        .get(Attributes::GROUPS)
        .any(|group| group == wanted)
    {
        return Some(true);
    }
    (!attributes.has_unknown_groups()).then_some(false)
}

/// Whether the session comes from the provider with this issuer; `None` if its provider is unknown.
fn is_from_provider(session: &Session, wanted: &str) -> Option<bool> {
    let mut issuer = session.attributes.get(Attributes::ISSUER);
    match issuer.next() {
        Some(issuer) => Some(issuer == wanted),
        None if source_of(session) == ADMIN_API_SOURCE => Some(false),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::{START, policy_name, session_of};

    /// Returns a session with this policy and these attributes.
    fn session(policy: &str, attributes: &[(&str, &str)]) -> Session {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in attributes {
            let values = all.entry((*name).to_owned()).or_default();
            values.push((*value).to_owned());
        }
        Session {
            policy: policy_name(policy),
            attributes: Attributes::new(all).unwrap(),
            ..session_of("alice", START)
        }
    }

    /// Parses conditions, such as `policy=staff host=app.example.com`.
    fn conditions(text: &str) -> RevocationConditions {
        let mut conditions = RevocationConditions::default();
        for word in text.split_whitespace() {
            let (name, value) = word.split_once('=').unwrap();
            let field = match name {
                "policy" => &mut conditions.policy,
                "host" => &mut conditions.host,
                "source" => &mut conditions.source,
                "group" => &mut conditions.group,
                _ => &mut conditions.provider,
            };
            *field = Some(value.to_owned());
        }
        conditions
    }

    #[test]
    fn conditions_match_the_properties_of_sessions() {
        let own = session("default", &[("groups", "staff"), ("groups", "admin")]);
        let jwt = &[
            ("curfew_source", "jwt"),
            ("curfew_issuer", "https://id.example"),
        ];
        let jwt = session("strict", jwt);
        let unknown = &[("curfew_source", "delegated"), ("curfew_groups", "unknown")];
        let unknown = session("default", unknown);
        for (text, on_own, on_jwt, on_unknown) in [
            ("", Match::Certain, Match::Certain, Match::Certain),
            ("policy=strict", Match::No, Match::Certain, Match::No),
            ("source=token", Match::Certain, Match::No, Match::No),
            ("source=jwt", Match::No, Match::Certain, Match::No),
            ("group=admin", Match::Certain, Match::No, Match::Assumed),
            ("group=root", Match::No, Match::No, Match::Assumed),
            (
                "provider=https://id.example",
                Match::No,
                Match::Certain,
                Match::Assumed,
            ),
            (
                "provider=https://other.example",
                Match::No,
                Match::No,
                Match::Assumed,
            ),
            (
                "host=app.example.com",
                Match::Assumed,
                Match::Assumed,
                Match::Assumed,
            ),
            ("policy=strict group=admin", Match::No, Match::No, Match::No),
            (
                "policy=default group=admin",
                Match::Certain,
                Match::No,
                Match::Assumed,
            ),
        ] {
            let conditions = conditions(text);
            let expected = [on_own, on_jwt, on_unknown];
            assert_eq!(
                [&own, &jwt, &unknown].map(|it| conditions.compare(it)),
                expected,
                "{text}"
            );
            let shown = if text.is_empty() { "everybody" } else { text };
            assert_eq!(conditions.to_string(), shown);
        }
    }

    prop_compose! {
        fn any_rule()(
            everybody in any::<bool>(), policy in 0_usize..2, group in 0..2, before in 0_u64..5,
        ) -> RevocationRule {
            let mut conditions = RevocationConditions::default();
            if !everybody {
                conditions.policy = Some(["default", "strict"][policy].to_owned());
                conditions.group = (group == 1).then(|| "staff".to_owned());
            }
            RevocationRule { conditions, before: START.plus(Duration::from_secs(before)) }
        }
    }

    proptest! {
        /// A rule never ends a session that started at the time of the rule or later. A rule that covers another rule
        /// ends every session that the other rule ends.
        #[test]
        fn a_rule_ends_only_earlier_sessions_and_all_sessions_of_a_covered_rule(
            rule in any_rule(), other in any_rule(), policy in 0_usize..2, staff in any::<bool>(), started in 0_u64..5,
        ) {
            let groups = [("groups", if staff { "staff" } else { "guests" })];
            let mut session = session(["default", "strict"][policy], &groups);
            session.started = START.plus(Duration::from_secs(started));
            if session.started >= rule.before {
                prop_assert!(!rule.ends(&session));
            } else {
                prop_assert_eq!(rule.ends(&session), rule.conditions.compare(&session) != Match::No);
            }
            if rule.covers(&other) && other.ends(&session) {
                prop_assert!(rule.ends(&session));
            }
        }
    }
}
