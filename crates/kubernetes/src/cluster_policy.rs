//! `ClusterSessionPolicy`: the bounds of the security team.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::fields::FieldParser;
use crate::policy::{HostPattern, Preset};

/// `spec` of a `ClusterSessionPolicy` (curfew.dev/v1alpha1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterSessionPolicySpec {
    /// The namespaces; `None` for all.
    pub namespace_selector: Option<LabelSelector>,
    /// The hosts, exact or with a wildcard; empty for all.
    pub hosts: Vec<String>,
    /// The longest limits. Nothing exceeds them.
    pub ceiling: RawCeiling,
    /// The shortest limits that a `SessionPolicy` can set.
    pub floor: RawBounds,
    /// The limits where no `SessionPolicy` sets one.
    pub defaults: RawBounds,
    /// What is forbidden.
    pub forbid: Vec<Forbidden>,
    /// Standards whose limits are further ceilings, such as `pci-dss`.
    pub standards: Vec<String>,
}

/// `ceiling` in the spec of a `ClusterSessionPolicy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RawCeiling {
    /// The longest limits.
    #[serde(flatten)]
    pub limits: RawBounds,
    /// The most concurrent sessions of a subject.
    pub max_sessions: Option<usize>,
}

/// Limits in the spec of a `ClusterSessionPolicy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RawBounds {
    /// The longest time without activity.
    pub idle: Option<String>,
    /// The longest time since the sign-in.
    pub absolute: Option<String>,
    /// The longest age of the sign-in for a request.
    pub max_auth_age: Option<String>,
}

/// What a `ClusterSessionPolicy` can forbid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Forbidden {
    /// Rules of the configuration that need no session.
    PublicRules,
    /// Tokens of programs in place of a session. This version has none, so it forbids nothing yet.
    ServiceTokens,
    /// Data inside a stream as activity.
    StreamActivity,
}

/// Selects objects by their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Labels that must have these values.
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements.
    pub match_expressions: Vec<LabelRequirement>,
}

/// A requirement for a label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LabelRequirement {
    /// The label.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// The values for `In` and `NotIn`.
    pub values: Vec<String>,
}

impl LabelSelector {
    /// Whether labels meet all requirements. An unknown operator is met, because a bound that applies to more objects
    /// is never looser.
    pub(crate) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let has_label = |(key, value): (&String, &String)| labels.get(key) == Some(value);
        self.match_labels.iter().all(has_label)
            && self.match_expressions.iter().all(|requirement| {
                let value = labels.get(&requirement.key);
                match requirement.operator.as_str() {
                    // Without values, the requirement is invalid.
                    "In" if requirement.values.is_empty() => true,
                    "In" => value.is_some_and(|value| requirement.values.contains(value)),
                    "NotIn" => value.is_none_or(|value| !requirement.values.contains(value)),
                    "Exists" => value.is_some(),
                    "DoesNotExist" => value.is_none(),
                    _ => true,
                }
            })
    }
}

/// The three limits of a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) idle: Option<Duration>,
    pub(crate) absolute: Option<Duration>,
    pub(crate) max_auth_age: Option<Duration>,
}

/// The valid parts of a `ClusterSessionPolicy`.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClusterPolicy {
    pub(crate) selector: Option<LabelSelector>,
    pub(crate) hosts: Vec<HostPattern>,
    /// The ceilings of the policy, and those of its standards.
    pub(crate) ceilings: Vec<Bounds>,
    /// The most concurrent sessions of a subject.
    pub(crate) max_sessions: Option<usize>,
    pub(crate) floor: Bounds,
    pub(crate) defaults: Bounds,
    pub(crate) forbid: Vec<Forbidden>,
}

impl ClusterSessionPolicySpec {
    /// Returns the valid parts, and the mistakes in the others. If a host is invalid, the policy applies to all hosts, so
    /// that a mistake does not loosen.
    pub(crate) fn parse(&self) -> (ClusterPolicy, Vec<String>) {
        let mut parser = FieldParser::default();
        let mut bounds = |name: &str, raw: &RawBounds| Bounds {
            idle: parser.duration(&format!("{name}.idle"), raw.idle.as_deref()),
            absolute: parser.duration(&format!("{name}.absolute"), raw.absolute.as_deref()),
            max_auth_age: parser
                .duration(&format!("{name}.maxAuthAge"), raw.max_auth_age.as_deref()),
        };
        let ceiling = bounds("ceiling", &self.ceiling.limits);
        let floor = bounds("floor", &self.floor);
        let defaults = bounds("defaults", &self.defaults);
        let mut mistakes = parser.mistakes;
        let max_sessions = self.ceiling.max_sessions.map(|count| {
            if count == 0 {
                mistakes
                    .push("ceiling.maxSessions = 0: must be at least 1, so 1 applies".to_owned());
            }
            count.max(1)
        });
        let mut ceilings = vec![ceiling];
        for name in &self.standards {
            match Preset::from_name(name) {
                Some(preset) => ceilings.push(Bounds {
                    idle: preset.idle,
                    absolute: Some(preset.absolute),
                    max_auth_age: None,
                }),
                None => {
                    let known = Preset::ALL.map(|preset| preset.name).join(", ");
                    mistakes.push(format!("standards = {name:?}: must be one of {known}"));
                }
            }
        }
        let mut hosts = Vec::new();
        let mut has_invalid_host = false;
        for host in &self.hosts {
            match HostPattern::parse(host) {
                Ok(pattern) => hosts.push(pattern),
                Err(error) => {
                    has_invalid_host = true;
                    mistakes.push(format!("hosts = {host:?}: {error}"));
                }
            }
        }
        // The ceilings then hold for all hosts. A floor or a default must not spread.
        let (floor, defaults) = if has_invalid_host {
            hosts.clear();
            (Bounds::default(), Bounds::default())
        } else {
            (floor, defaults)
        };
        let policy = ClusterPolicy {
            selector: self.namespace_selector.clone(),
            hosts,
            ceilings,
            max_sessions,
            floor,
            defaults,
            forbid: self.forbid.clone(),
        };
        (policy, mistakes)
    }
}
