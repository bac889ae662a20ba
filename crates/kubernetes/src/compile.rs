//! Turns the objects of a cluster into an index for checks, and into the status of each policy.

mod checked;
mod precedence;
mod report;
mod sources;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use checked::Checked;
pub(crate) use checked::id;
use sources::Sources;

use crate::claims::{self, Claims};
use crate::merge::Merged;
use crate::objects::ObjectKey;
use crate::policy::{
    Conditions, HostPattern, PathPattern, RouteChecks, RouteEntry, RouteIndex, RouteScope,
    RouteTerms, RulesError,
};
use crate::routes::{RoutePath, RouteRule, Routes};
use crate::session::Timestamp;
use crate::state::State;
use crate::status::PolicyStatus;

/// What Curfew knows about a cluster.
#[derive(Debug, Default)]
pub struct Compiled {
    /// Finds the terms of a request.
    pub index: RouteIndex,
    /// The status of each `SessionPolicy`.
    pub session_policies: BTreeMap<ObjectKey, PolicyStatus>,
    /// The status of each `ClusterSessionPolicy`.
    pub cluster_policies: BTreeMap<String, PolicyStatus>,
    /// The mistakes in annotations.
    pub mistakes: Vec<AnnotationMistake>,
}

impl Compiled {
    /// The policies that are not accepted, each with the reason.
    #[must_use]
    pub fn refusals(&self) -> Vec<String> {
        let session = self.session_policies.iter().flat_map(|(key, status)| {
            let conditions = status.ancestors.iter().flat_map(|it| &it.conditions);
            let refused = conditions.filter(|condition| condition.is_refusal());
            refused.map(move |it| format!("SessionPolicy {key}: {}: {}", it.reason, it.message))
        });
        let cluster = self.cluster_policies.iter().flat_map(|(name, status)| {
            let conditions = status.conditions.iter();
            let refused = conditions.filter(|condition| condition.is_refusal());
            refused.map(move |it| {
                format!("ClusterSessionPolicy {name}: {}: {}", it.reason, it.message)
            })
        });
        session.chain(cluster).collect()
    }
}

/// A mistake in the annotations of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnotationMistake {
    /// The kind of the object, such as `Ingress`.
    pub kind: &'static str,
    /// The object.
    pub key: ObjectKey,
    /// The mistake: the annotation, its value and what would be right.
    pub message: String,
}

impl fmt::Display for AnnotationMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.kind, self.key, self.message)
    }
}

/// A rule for one host, before the entries are sorted.
struct Entry<'a> {
    rule: &'a RouteRule,
    /// The host of the rule.
    rule_host: &'a HostPattern,
    /// The hosts of the entry: those of the rule, or some of them.
    host: HostPattern,
    sources: BTreeSet<usize>,
    checks: Arc<RouteChecks>,
}

/// Compiles the objects of a cluster. The limits depend only on the objects, so all replicas get the same. The index
/// continues the records of checks of the index `before`, which has observed them since the time `since`.
///
/// # Errors
/// [`RulesError`] if the index cannot be built. The caller then keeps the earlier index, because without an index no limit
/// would apply.
pub fn compile(
    state: &State,
    before: &RouteIndex,
    since: Timestamp,
) -> Result<Compiled, RulesError> {
    let routes = Routes::of(state);
    let claims = Claims::new(&routes.rules);
    let sources = Sources::new(state);
    let mut checked = Checked::new(before);
    let mut entries = Vec::new();
    for rule in &routes.rules {
        for host in &rule.hosts {
            if !claims.holds(rule, host) {
                continue;
            }
            let checks = checked.of_rule(rule, host);
            let narrower = sources.narrower_hosts(rule, host);
            for part in std::iter::once(host.clone()).chain(narrower) {
                entries.push(Entry {
                    rule,
                    rule_host: host,
                    sources: sources.of_rule(rule, &part),
                    host: part,
                    checks: Arc::clone(&checks),
                });
            }
        }
    }
    entries.sort_by_cached_key(|entry| {
        let is_narrower = entry.host != *entry.rule_host;
        precedence::key(entry.rule, entry.rule_host, is_narrower)
    });
    let merged = entries.iter().map(|entry| sources.merge(&entry.sources));
    let merged: Vec<Merged> = merged.collect();
    let (session_policies, cluster_policies) =
        report::statuses(state, &routes, &claims, &sources, &entries, &merged, since);
    let entries = index_entries(&routes, &sources, &entries, &merged);
    // Only globs have a size limit. Without them, the limits apply to more requests, so they are never looser.
    let index =
        RouteIndex::new(entries.clone()).or_else(|_| RouteIndex::new(without_globs(entries)))?;
    Ok(Compiled {
        index,
        session_policies,
        cluster_policies,
        mistakes: sources.mistakes,
    })
}

/// Returns the entries of the index: first the ceilings that apply to every request for their hosts, then the routes, and last what applies
/// to requests that belong to no route.
fn index_entries(
    routes: &Routes,
    sources: &Sources,
    entries: &[Entry<'_>],
    merged: &[Merged],
) -> Vec<RouteEntry> {
    let mut all = Vec::new();
    let mut otherwise = Vec::new();
    for (hosts, bounds) in sources.cluster_wide() {
        let ceilings = bounds.only_ceilings();
        if !ceilings.is_empty() {
            all.push(for_hosts(hosts.to_vec(), &ceilings, RouteScope::Always));
        }
        otherwise.push(for_hosts(hosts.to_vec(), bounds, RouteScope::Otherwise));
    }
    for (hosts, serves_every_host, ceilings) in sources.selected_ceilings(routes) {
        if ceilings.is_empty() {
            continue;
        }
        if !hosts.is_empty() {
            all.push(for_hosts(hosts, &ceilings, RouteScope::Always));
        }
        if serves_every_host {
            otherwise.push(for_hosts(Vec::new(), &ceilings, RouteScope::Otherwise));
        }
    }
    // A listener is a router of its own, because a policy can name it.
    let mut routers = HashMap::new();
    let mut shared: HashMap<&BTreeSet<usize>, Arc<RouteTerms>> = HashMap::new();
    // Many rules of a route differ only in what Curfew does not know.
    let mut known = HashSet::new();
    for (entry, merged) in entries.iter().zip(merged) {
        let rule = entry.rule;
        let next = u32::try_from(routers.len()).unwrap_or(u32::MAX);
        let router = *routers.entry((&rule.proxy, &rule.listener)).or_insert(next);
        let path = claims::path_name(&rule.path);
        let same = (
            &entry.host,
            path,
            &rule.route,
            &rule.method,
            router,
            &entry.sources,
        );
        if !rule.is_certain && !known.insert(same) {
            continue;
        }
        let terms = shared.entry(&entry.sources);
        let terms = terms.or_insert_with(|| Arc::new(merged.terms()));
        all.push(RouteEntry {
            conditions: Conditions {
                hosts: vec![entry.host.clone()],
                paths: match &rule.path {
                    RoutePath::Pattern(pattern) => vec![pattern.clone()],
                    RoutePath::Any | RoutePath::Unknown => Vec::new(),
                },
                methods: rule.method.iter().cloned().collect(),
                contracts: Vec::new(),
            },
            is_single_label: rule.is_single_label,
            terms: Arc::clone(terms),
            scope: RouteScope::Route {
                router,
                is_certain: rule.is_certain,
            },
            name: Some(rule.name()),
            checks: Some(Arc::clone(&entry.checks)),
        });
    }
    all.extend(otherwise);
    all
}

/// Replaces the globs, which stand for methods of gRPC, by all paths of their host.
fn without_globs(entries: Vec<RouteEntry>) -> Vec<RouteEntry> {
    let is_glob = |path: &PathPattern| matches!(path, PathPattern::Glob(_));
    let entries = entries.into_iter().map(|mut entry| {
        if entry.conditions.paths.iter().any(is_glob) {
            entry.conditions.paths.clear();
            if let RouteScope::Route { is_certain, .. } = &mut entry.scope {
                *is_certain = false;
            }
        }
        entry
    });
    entries.collect()
}

fn for_hosts(hosts: Vec<HostPattern>, merged: &Merged, scope: RouteScope) -> RouteEntry {
    RouteEntry {
        conditions: Conditions {
            hosts,
            ..Conditions::default()
        },
        is_single_label: false,
        terms: Arc::new(merged.terms()),
        scope,
        name: None,
        checks: None,
    }
}

#[cfg(test)]
pub(crate) mod tests;
