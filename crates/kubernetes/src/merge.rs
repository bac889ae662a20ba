//! Combines the fields of all objects that apply to a request. The result depends neither on the order of the objects,
//! nor on their age or names.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster_policy::{Bounds, ClusterPolicy, Forbidden};
use crate::fields::Fields;
use crate::policy::{ActivityKind, PassivePaths, RouteTerms, Sourced, StreamActivity, lesser};
use crate::session::PolicyName;

/// A limit with its object.
type Limit = Option<Sourced<Duration>>;

/// One limit while objects are combined: the values of all objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MergedLimit {
    /// The shortest value of the `SessionPolicies` and annotations.
    pub requested: Limit,
    /// The shortest default.
    pub default: Limit,
    /// The longest floor.
    pub floor: Limit,
    /// The shortest ceiling.
    pub ceiling: Limit,
}

/// The effective value of one limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effective {
    /// The value and the object that sets it; `None` if no object sets one.
    pub limit: Limit,
    /// The value that a `SessionPolicy` or an annotation asked for, if another value is in force.
    pub overridden: Limit,
    /// The floor that a ceiling has overruled, if any. Its object is in conflict.
    pub conflicting_floor: Limit,
}

/// The fields of all objects that apply to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// The longest time without activity.
    pub idle: MergedLimit,
    /// The longest time since the sign-in.
    pub absolute: MergedLimit,
    /// The longest age of the sign-in.
    pub max_auth_age: MergedLimit,
    max_sessions: Option<Sourced<usize>>,
    activity: ActivityKind,
    passive_paths: BTreeSet<String>,
    groups: BTreeSet<Sourced<Vec<String>>>,
    policies: BTreeSet<Sourced<PolicyName>>,
    stream_activity: Option<StreamActivity>,
    forbidden: BTreeSet<(Forbidden, Arc<str>)>,
}

impl MergedLimit {
    fn join(&self, other: &Self) -> Self {
        Self {
            requested: lesser(&self.requested, &other.requested),
            default: lesser(&self.default, &other.default),
            floor: greater(&self.floor, &other.floor),
            ceiling: lesser(&self.ceiling, &other.ceiling),
        }
    }

    /// The value in force: what was requested, or else the default; at least the floor; at most the ceiling.
    #[must_use]
    pub fn effective(&self) -> Effective {
        let wanted = self.requested.as_ref().or(self.default.as_ref());
        let raised = wanted.map(|wanted| match &self.floor {
            Some(floor) if floor.value > wanted.value => floor,
            _ => wanted,
        });
        let limit = match (raised, &self.ceiling) {
            (Some(limit), Some(ceiling)) if ceiling.value < limit.value => Some(ceiling),
            (Some(limit), _) => Some(limit),
            (None, ceiling) => ceiling.as_ref(),
        };
        let is_overridden = |requested: &&Sourced<Duration>| {
            limit.is_none_or(|limit| limit.value != requested.value)
        };
        let exceeds_ceiling = |floor: &&Sourced<Duration>| {
            self.ceiling
                .as_ref()
                .is_some_and(|ceiling| floor.value > ceiling.value)
        };
        Effective {
            limit: limit.cloned(),
            overridden: self.requested.as_ref().filter(is_overridden).cloned(),
            conflicting_floor: self.floor.as_ref().filter(exceeds_ceiling).cloned(),
        }
    }
}

impl Merged {
    /// The fields of a `SessionPolicy`, or of the annotations of an object.
    pub(crate) fn of_fields(fields: &Fields, from: &Arc<str>) -> Self {
        let limit = |value: Option<Duration>| MergedLimit {
            requested: sourced(value, from),
            ..MergedLimit::default()
        };
        let groups = Some(fields.require_groups.clone()).filter(|groups| !groups.is_empty());
        let groups = groups.map(|mut groups| {
            groups.sort_unstable();
            groups
        });
        Self {
            idle: limit(fields.idle),
            absolute: limit(fields.absolute),
            max_auth_age: limit(fields.max_auth_age),
            max_sessions: None,
            activity: fields.activity.unwrap_or_default(),
            passive_paths: fields.passive_paths.iter().cloned().collect(),
            groups: sourced(groups, from).into_iter().collect(),
            policies: sourced(fields.policy.clone(), from).into_iter().collect(),
            stream_activity: fields.stream_activity,
            forbidden: BTreeSet::new(),
        }
    }

    /// The bounds of a `ClusterSessionPolicy`.
    pub(crate) fn of_cluster_policy(policy: &ClusterPolicy, from: &Arc<str>) -> Self {
        let limit = |value: fn(&Bounds) -> Option<Duration>| {
            let ceilings = policy.ceilings.iter().filter_map(value);
            MergedLimit {
                requested: None,
                default: sourced(value(&policy.defaults), from),
                floor: sourced(value(&policy.floor), from),
                ceiling: sourced(ceilings.min(), from),
            }
        };
        let forbidden = policy.forbid.iter();
        Self {
            idle: limit(|bounds| bounds.idle),
            absolute: limit(|bounds| bounds.absolute),
            max_auth_age: limit(|bounds| bounds.max_auth_age),
            max_sessions: sourced(policy.max_sessions, from),
            forbidden: forbidden.map(|it| (*it, Arc::clone(from))).collect(),
            ..Self::default()
        }
    }

    /// The same bounds without defaults and floors. These apply to every request, whatever route it belongs to.
    pub(crate) fn only_ceilings(&self) -> Self {
        let only = |limit: &MergedLimit| MergedLimit {
            ceiling: limit.ceiling.clone(),
            ..MergedLimit::default()
        };
        Self {
            idle: only(&self.idle),
            absolute: only(&self.absolute),
            max_auth_age: only(&self.max_auth_age),
            ..self.clone()
        }
    }

    /// The fields of the objects of both: commutative, associative and idempotent.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        Self {
            idle: self.idle.join(&other.idle),
            absolute: self.absolute.join(&other.absolute),
            max_auth_age: self.max_auth_age.join(&other.max_auth_age),
            max_sessions: lesser(&self.max_sessions, &other.max_sessions),
            activity: self.activity.strictest(other.activity),
            passive_paths: &self.passive_paths | &other.passive_paths,
            groups: &self.groups | &other.groups,
            policies: &self.policies | &other.policies,
            stream_activity: lesser(&self.stream_activity, &other.stream_activity),
            forbidden: &self.forbidden | &other.forbidden,
        }
    }

    /// Whether no object sets anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The terms for requests.
    #[must_use]
    pub fn terms(&self) -> RouteTerms {
        let forbids = |what: Forbidden| {
            let mut forbidden = self.forbidden.iter();
            let found = forbidden.find(|(forbidden, _)| *forbidden == what);
            found.map(|(_, from)| Arc::clone(from))
        };
        let stream_activity = match forbids(Forbidden::StreamActivity) {
            Some(_) => Some(StreamActivity::Off),
            None => self.stream_activity,
        };
        let globs = self.passive_paths.iter().map(String::as_str);
        RouteTerms {
            idle: self.idle.effective().limit,
            absolute: self.absolute.effective().limit,
            max_auth_age: self.max_auth_age.effective().limit,
            max_sessions: self.max_sessions.clone(),
            activity: self.activity,
            passive_paths: PassivePaths::new(globs).unwrap_or_else(|_| PassivePaths::all()),
            groups: self.groups.clone(),
            policies: self.policies.clone(),
            stream_activity,
            forbids_public: forbids(Forbidden::PublicRules),
        }
    }
}

fn sourced<T>(value: Option<T>, from: &Arc<str>) -> Option<Sourced<T>> {
    let from = Arc::clone(from);
    value.map(|value| Sourced { value, from })
}

fn greater<T: Clone + Ord>(a: &Option<T>, b: &Option<T>) -> Option<T> {
    a.iter().chain(b).max().cloned()
}

#[cfg(test)]
mod tests;
