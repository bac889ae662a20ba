//! The status of each policy.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::sources::Sources;
use super::{Applied, Context, Entry, checked};
use crate::claims::{Claims, path_name};
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
    context: Context<'_>,
) -> Statuses {
    let since = context.since.to_rfc3339_seconds();
    let idle_time = describe_idle_time(context.cookie_domain);
    let by_source = entries_by_source(entries);
    let of_source = |source: usize| by_source.get(&source).into_iter().flatten().copied();
    // All fields that apply together with each policy.
    let mut together: BTreeMap<usize, Merged> = BTreeMap::new();
    let mut known: HashSet<*const Applied> = HashSet::new();
    let applied = entries.iter().map(|entry| &entry.applied);
    let distinct = applied.filter(|applied| known.insert(Arc::as_ptr(applied)));
    for applied in distinct {
        let merged = &applied.merged;
        for source in &applied.sources {
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
            conflicts.entry(&*rule.route).or_insert(conflict);
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
        let has_idle = merged.idle.effective().limit.is_some();
        let programmed = Condition::programmed(&overridden, idle_time.as_str(), has_idle);
        let targets = policy.spec.target_refs.iter();
        let status = PolicyStatus {
            ancestors: targets
                .map(|target| {
                    let of_target = of_source(*source)
                        .filter(|entry| serves(entry, &key.namespace, target))
                        .map(checks_of);
                    let checks = checked::condition(of_target, &since);
                    let conditions =
                        reporter.conditions(&key.namespace, target, mistakes, &programmed);
                    Ancestor {
                        target: target.clone(),
                        conditions: conditions.into_iter().chain(checks).collect(),
                    }
                })
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
        let checks = checked::condition(of_source(*source).map(checks_of), &since);
        let conditions = [condition, Condition::programmed(&[], "", false)];
        let status = PolicyStatus {
            conditions: conditions.into_iter().chain(checks).collect(),
            ..PolicyStatus::default()
        };
        (name.clone(), status)
    });
    (session_policies.collect(), cluster_policies.collect())
}

/// Says where activity counts for the idle time.
fn describe_idle_time(cookie_domain: Option<&str>) -> String {
    cookie_domain.map_or_else(
        || "Each host has its own session, so only activity on the same host counts for idle.".to_owned(),
        |domain| {
            format!("All hosts below {domain} share a session, so activity on any of them counts for idle.")
        },
    )
}

/// The entries to which each object applies.
fn entries_by_source<'a>(entries: &'a [Entry<'a>]) -> BTreeMap<usize, Vec<&'a Entry<'a>>> {
    let mut by_source: BTreeMap<usize, Vec<&Entry<'_>>> = BTreeMap::new();
    for entry in entries {
        for source in &entry.applied.sources {
            by_source.entry(*source).or_default().push(entry);
        }
    }
    by_source
}

/// Whether an entry of a policy comes from its target. A Gateway and a Service have all entries of the policy.
fn serves(entry: &Entry<'_>, namespace: &str, target: &TargetRef) -> bool {
    let route = &entry.rule.route;
    match &*target.kind {
        "Gateway" | "Service" => true,
        kind => {
            let is_route = route.kind == kind
                && route.key.name == target.name
                && route.key.namespace == namespace;
            let section = target.section_name.as_ref();
            is_route && section.is_none_or(|name| entry.rule.section.as_ref() == Some(name))
        }
    }
}

/// The name of an entry, and whether a check has arrived for it.
fn checks_of(entry: &Entry<'_>) -> (String, bool) {
    let path = path_name(&entry.rule.path).unwrap_or_default();
    let name = format!("{}{path}", entry.rule_host);
    (name, !entry.checks.times().is_never())
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
    /// `Accepted`, and `Programmed` if the policy is accepted.
    fn conditions(
        &self,
        namespace: &str,
        target: &TargetRef,
        mistakes: &[String],
        programmed: &Condition,
    ) -> Vec<Condition> {
        let accepted = self.condition(namespace, target, mistakes);
        let programmed = accepted.status.then(|| programmed.clone());
        std::iter::once(accepted).chain(programmed).collect()
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
