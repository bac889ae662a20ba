//! The status of each policy.

use std::collections::BTreeMap;

use super::Entry;
use super::claims::{Claims, path_name};
use super::sources::Sources;
use crate::merge::{Effective, Merged, MergedLimit};
use crate::objects::ObjectKey;
use crate::routes::{RouteId, Routes};
use crate::session_policy::TargetRef;
use crate::state::State;
use crate::status::{Ancestor, Condition, PolicyStatus, describe_override, effective_limit};

type Statuses = (
    BTreeMap<ObjectKey, PolicyStatus>,
    BTreeMap<String, PolicyStatus>,
);

/// Returns one limit of the fields.
type LimitOf = fn(&Merged) -> &MergedLimit;

/// The three limits and their names in the spec.
const LIMITS: [(&str, LimitOf); 3] = [
    ("idle", |merged| &merged.idle),
    ("absolute", |merged| &merged.absolute),
    ("maxAuthAge", |merged| &merged.max_auth_age),
];

pub(super) fn statuses(
    state: &State,
    routes: &Routes,
    claims: &Claims<'_>,
    sources: &Sources,
    entries: &[Entry<'_>],
    merged: &[Merged],
) -> Statuses {
    // All fields that apply together with each policy.
    let mut together: BTreeMap<usize, Merged> = BTreeMap::new();
    for (entry, merged) in entries.iter().zip(merged) {
        for source in &entry.sources {
            let all = together.entry(*source).or_default();
            *all = all.join(merged);
        }
    }
    let mut conflicts = BTreeMap::new();
    for rule in &routes.rules {
        let conflict = rule.hosts.iter().find_map(|host| {
            let holder = claims.other_holder(rule, host)?;
            let path = path_name(&rule.path).unwrap_or_default();
            Some(format!(
                "{host}{path} belongs to {holder}, which was created first. The policy changes nothing there."
            ))
        });
        if let Some(conflict) = conflict {
            conflicts.entry(&rule.route).or_insert(conflict);
        }
    }
    let reporter = Reporter {
        state,
        routes,
        conflicts,
    };
    let session_policies = state.session_policies.iter().map(|(key, policy)| {
        let (source, mistakes) = &sources.session_policies[key];
        let merged = together.get(source).cloned().unwrap_or_default();
        let own = format!("SessionPolicy {key}");
        let overridden = LIMITS.iter().filter_map(|(name, limit)| {
            let effective = limit(&merged).effective();
            let is_own = effective
                .overridden
                .as_ref()
                .is_some_and(|it| *it.from == *own);
            is_own
                .then(|| describe_override(name, &effective))
                .flatten()
        });
        let overridden: Vec<String> = overridden.collect();
        let targets = policy.spec.target_refs.iter();
        let status = PolicyStatus {
            ancestors: targets
                .map(|target| reporter.ancestor(&key.namespace, target, mistakes, &overridden))
                .collect(),
            ..limits_in_force(&merged)
        };
        (key.clone(), status)
    });
    let cluster_policies = sources.cluster_policies.iter();
    let cluster_policies = cluster_policies.map(|(name, _, mistakes, source)| {
        let mut all = together.get(source).cloned().unwrap_or_default();
        all = all.join(&sources.merge(&[*source].into()));
        let own = format!("ClusterSessionPolicy {name}");
        let conflict = LIMITS.iter().find_map(|(name, limit)| {
            let Effective {
                conflicting_floor, ..
            } = limit(&all).effective();
            let floor = conflicting_floor.filter(|floor| *floor.from == *own)?;
            let ceiling = limit(&all).ceiling.as_ref()?;
            Some(format!(
                "The floor of {name} is above the ceiling of {}; the ceiling of {} holds.",
                floor.from, ceiling.from
            ))
        });
        let condition = match (conflict, mistakes.is_empty()) {
            (_, false) => Condition::refused("Invalid", invalid_message(mistakes)),
            (Some(conflict), true) => Condition::refused("Conflicted", conflict),
            (None, true) => Condition::accepted(),
        };
        let status = PolicyStatus {
            conditions: vec![condition, Condition::programmed(&[])],
            ..PolicyStatus::default()
        };
        (name.clone(), status)
    });
    (session_policies.collect(), cluster_policies.collect())
}

fn limits_in_force(merged: &Merged) -> PolicyStatus {
    PolicyStatus {
        idle: effective_limit(&merged.idle.effective()),
        absolute: effective_limit(&merged.absolute.effective()),
        max_auth_age: effective_limit(&merged.max_auth_age.effective()),
        ..PolicyStatus::default()
    }
}

fn invalid_message(mistakes: &[String]) -> String {
    format!("{}. The other fields apply.", mistakes.join("; "))
}

struct Reporter<'a> {
    state: &'a State,
    routes: &'a Routes,
    /// The first conflict of each route with a route of another namespace.
    conflicts: BTreeMap<&'a RouteId, String>,
}

impl Reporter<'_> {
    fn ancestor(
        &self,
        namespace: &str,
        target: &TargetRef,
        mistakes: &[String],
        overridden: &[String],
    ) -> Ancestor {
        let accepted = self.condition(namespace, target, mistakes);
        let is_accepted = accepted.status;
        let programmed = is_accepted.then(|| Condition::programmed(overridden));
        Ancestor {
            target: target.clone(),
            conditions: std::iter::once(accepted).chain(programmed).collect(),
        }
    }

    fn condition(&self, namespace: &str, target: &TargetRef, mistakes: &[String]) -> Condition {
        if !mistakes.is_empty() {
            return Condition::refused("Invalid", invalid_message(mistakes));
        }
        let key = ObjectKey::new(namespace, &target.name);
        let TargetRef { kind, group, .. } = target;
        let expected_group = match kind.as_str() {
            "Ingress" => "networking.k8s.io",
            "HTTPRoute" | "GRPCRoute" | "Gateway" => "gateway.networking.k8s.io",
            "Service" => "",
            _ => {
                let message =
                    format!("{kind:?} is not Ingress, HTTPRoute, GRPCRoute, Gateway or Service.");
                return Condition::refused("Invalid", message);
            }
        };
        if group != expected_group {
            let message = format!("The group of {kind} is {expected_group:?}.");
            return Condition::refused("Invalid", message);
        }
        let exists = match kind.as_str() {
            "Ingress" => self.state.ingresses.contains_key(&key),
            "HTTPRoute" => self.state.http_routes.contains_key(&key),
            "GRPCRoute" => self.state.grpc_routes.contains_key(&key),
            "Gateway" => self.state.gateways.contains_key(&key),
            _ => self.state.services.contains_key(&key),
        };
        if !exists || !self.has_section(target, &key) {
            let section = target.section_name.as_ref();
            let section =
                section.map_or(String::new(), |name| format!(" with the section {name:?}"));
            let message = format!("There is no {kind} {key}{section}.");
            return Condition::refused("TargetNotFound", message);
        }
        if matches!(kind.as_str(), "Gateway" | "Service") {
            return Condition::accepted();
        }
        let kind = match kind.as_str() {
            "Ingress" => "Ingress",
            "HTTPRoute" => "HTTPRoute",
            _ => "GRPCRoute",
        };
        let route = RouteId { kind, key };
        let key = &route.key;
        if !self.routes.served.contains(&route) {
            let message = format!("No controller serves {kind} {key}.");
            return Condition::refused("TargetNotFound", message);
        }
        if let Some(conflict) = self.conflicts.get(&route) {
            return Condition::refused("Conflicted", conflict.clone());
        }
        match self.routes.unknown.get(&route) {
            Some(problem) => Condition::refused(
                "Invalid",
                format!(
                    "Curfew cannot represent a part of {kind} {key}: {problem}. If this part has a host of its own, the \
                     tightest values of the namespace apply to this host."
                ),
            ),
            None => Condition::accepted(),
        }
    }

    fn has_section(&self, target: &TargetRef, key: &ObjectKey) -> bool {
        let Some(section) = &target.section_name else {
            return true;
        };
        match target.kind.as_str() {
            "Gateway" => {
                let gateway = self.state.gateways.get(key);
                gateway.is_some_and(|it| {
                    it.spec
                        .listeners
                        .iter()
                        .any(|listener| listener.name == *section)
                })
            }
            "HTTPRoute" => {
                let route = self.state.http_routes.get(key);
                route.is_some_and(|it| {
                    it.spec
                        .rules
                        .iter()
                        .any(|rule| rule.name.as_ref() == Some(section))
                })
            }
            "GRPCRoute" => {
                let route = self.state.grpc_routes.get(key);
                route.is_some_and(|it| {
                    it.spec
                        .rules
                        .iter()
                        .any(|rule| rule.name.as_ref() == Some(section))
                })
            }
            _ => false,
        }
    }
}
