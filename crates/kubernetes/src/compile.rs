//! Turns the objects of a cluster into an index for checks, and into the status of each policy.

mod claims;
mod precedence;
mod report;
mod sources;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use claims::Claims;
use sources::Sources;

use crate::merge::Merged;
use crate::objects::ObjectKey;
use crate::policy::{Conditions, HostPattern, RouteEntry, RouteIndex, RouteScope, RouteTerms};
use crate::routes::{RoutePath, RouteRule, Routes};
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
    /// The mistakes in annotations, each with its object.
    pub warnings: Vec<(String, String)>,
}

/// A rule for one host, before the entries are sorted.
struct Entry<'a> {
    rule: &'a RouteRule,
    host: HostPattern,
    sources: BTreeSet<usize>,
}

/// Compiles the objects of a cluster. The result depends only on the objects, so all replicas get the same result.
#[must_use]
pub fn compile(state: &State) -> Compiled {
    let routes = Routes::of(state);
    let claims = Claims::new(&routes.rules);
    let sources = Sources::new(state);
    let mut entries = Vec::new();
    for rule in &routes.rules {
        for host in &rule.hosts {
            if !claims.holds(rule, Some(host)) {
                continue;
            }
            let narrower = sources.narrower_hosts(rule, host);
            for host in std::iter::once(host.clone()).chain(narrower) {
                entries.push(Entry {
                    rule,
                    sources: sources.of_rule(rule, &host),
                    host,
                });
            }
        }
    }
    entries.sort_by_cached_key(|entry| precedence::key(entry.rule, &entry.host));
    let merged = entries.iter().map(|entry| sources.merge(&entry.sources));
    let merged: Vec<Merged> = merged.collect();
    let (session_policies, cluster_policies) =
        report::statuses(state, &routes, &claims, &sources, &entries, &merged);
    Compiled {
        index: build_index(&routes, &sources, &entries, &merged),
        session_policies,
        cluster_policies,
        warnings: sources.warnings.clone(),
    }
}

/// Builds the index: first the ceilings that apply to every request for their hosts, then the routes, and last what applies
/// to requests that belong to no route.
fn build_index(
    routes: &Routes,
    sources: &Sources,
    entries: &[Entry<'_>],
    merged: &[Merged],
) -> RouteIndex {
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
    let relevant = RelevantHosts::new(entries, merged);
    let mut routers: HashMap<&str, usize> = HashMap::new();
    let mut shared: HashMap<&BTreeSet<usize>, Arc<RouteTerms>> = HashMap::new();
    // Many rules of a route differ only in what Curfew does not know.
    let mut known = HashSet::new();
    for (entry, merged) in entries.iter().zip(merged) {
        if !relevant.contains(&entry.host) {
            continue;
        }
        let rule = entry.rule;
        let next = routers.len();
        let router = *routers.entry(&rule.router).or_insert(next);
        let path = claims::path_name(&rule.path);
        let same = (&entry.host, path, &rule.method, router, &entry.sources);
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
        });
    }
    all.extend(otherwise);
    // The size limit of the index concerns only globs, which stand for methods of gRPC here, and are short.
    RouteIndex::new(all).unwrap_or_default()
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
    }
}

/// The hosts for which some object sets something. A route of another host changes nothing, so the index leaves it out.
struct RelevantHosts<'a> {
    exact: HashSet<&'a HostPattern>,
    has_wildcard: bool,
}

impl<'a> RelevantHosts<'a> {
    fn new(entries: &'a [Entry<'a>], merged: &[Merged]) -> Self {
        let mut relevant = Self {
            exact: HashSet::new(),
            has_wildcard: false,
        };
        for (entry, merged) in entries.iter().zip(merged) {
            if merged.is_empty() {
                continue;
            }
            match &entry.host {
                host @ HostPattern::Exact(_) => {
                    relevant.exact.insert(host);
                }
                HostPattern::Subdomains(_) => relevant.has_wildcard = true,
            }
        }
        relevant
    }

    fn contains(&self, host: &HostPattern) -> bool {
        self.has_wildcard || self.exact.contains(host)
    }
}

#[cfg(test)]
mod tests;
