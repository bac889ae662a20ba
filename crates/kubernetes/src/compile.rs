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
use crate::policy::{Conditions, HostPattern, RouteEntry, RouteIndex, RouteTerms};
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

/// The part of a rule for one host; `None` for all hosts.
type HostOfRule = Option<HostPattern>;

/// An entry before it is sorted.
struct Entry<'a> {
    rule: &'a RouteRule,
    host: HostOfRule,
    sources: BTreeSet<usize>,
    is_certain: bool,
    /// Whether only the ceilings apply, because another entry has the other fields.
    is_bound: bool,
}

/// Compiles the objects of a cluster. The result depends only on the objects, so all replicas get the same result.
#[must_use]
pub fn compile(state: &State) -> Compiled {
    let routes = Routes::of(state);
    let claims = Claims::new(&routes.rules);
    let sources = Sources::new(state);
    let mut entries = Vec::new();
    for rule in &routes.rules {
        let hosts: Vec<HostOfRule> = match rule.hosts.as_slice() {
            [] => vec![None],
            hosts => hosts.iter().cloned().map(Some).collect(),
        };
        for host in hosts {
            if !claims.holds(rule, host.as_ref()) {
                continue;
            }
            for (narrower, source) in sources.of_narrower_hosts(rule, host.as_ref()) {
                entries.push(Entry {
                    rule,
                    host: Some(narrower),
                    sources: BTreeSet::from([source]),
                    is_certain: false,
                    is_bound: true,
                });
            }
            entries.push(Entry {
                rule,
                sources: sources.of_rule(rule, host.as_ref()),
                host,
                is_certain: rule.is_certain,
                is_bound: false,
            });
        }
    }
    entries.sort_by_cached_key(|entry| {
        precedence::key(entry.rule, entry.host.as_ref(), entry.is_certain)
    });
    let merged = entries.iter().map(|entry| {
        let merged = sources.merge(&entry.sources);
        if entry.is_bound {
            merged.only_ceilings()
        } else {
            merged
        }
    });
    let merged: Vec<Merged> = merged.collect();
    let (session_policies, cluster_policies) =
        report::statuses(state, &routes, &claims, &sources, &entries, &merged);
    Compiled {
        index: build_index(&sources, &entries, &merged),
        session_policies,
        cluster_policies,
        warnings: sources.warnings.clone(),
    }
}

/// Builds the index: first the ceilings that apply to every request of their hosts, then the routes, and last the
/// defaults for requests that belong to no route.
fn build_index(sources: &Sources, entries: &[Entry<'_>], merged: &[Merged]) -> RouteIndex {
    let mut all = Vec::new();
    let for_hosts = |hosts: &[HostPattern], merged: &Merged| RouteEntry {
        conditions: Conditions {
            hosts: hosts.to_vec(),
            ..Conditions::default()
        },
        terms: Arc::new(merged.terms()),
        is_certain: false,
    };
    for (hosts, bounds) in sources.cluster_wide() {
        let ceilings = bounds.only_ceilings();
        if !ceilings.is_empty() {
            all.push(for_hosts(hosts, &ceilings));
        }
    }
    let relevant = RelevantHosts::new(entries, merged);
    let mut shared: HashMap<(&BTreeSet<usize>, bool), Arc<RouteTerms>> = HashMap::new();
    for (entry, merged) in entries.iter().zip(merged) {
        if !relevant.contains(entry.host.as_ref()) {
            continue;
        }
        let terms = shared.entry((&entry.sources, entry.is_bound));
        let terms = terms.or_insert_with(|| Arc::new(merged.terms()));
        all.push(RouteEntry {
            conditions: Conditions {
                hosts: entry.host.iter().cloned().collect(),
                paths: match &entry.rule.path {
                    RoutePath::Pattern(pattern) => vec![pattern.clone()],
                    RoutePath::Any | RoutePath::Unknown => Vec::new(),
                },
                methods: entry.rule.method.iter().cloned().collect(),
                contracts: Vec::new(),
            },
            terms: Arc::clone(terms),
            is_certain: entry.is_certain,
        });
    }
    for (hosts, bounds) in sources.cluster_wide() {
        all.push(for_hosts(hosts, bounds));
    }
    // The size limit of the index concerns only globs. Without them, the index cannot fail.
    RouteIndex::new(all.clone()).unwrap_or_else(|_| {
        let without_globs = all.into_iter().map(|mut entry| {
            let is_glob = |path: &crate::policy::PathPattern| {
                matches!(path, crate::policy::PathPattern::Glob(_))
            };
            if entry.conditions.paths.iter().any(is_glob) {
                entry.conditions.paths.clear();
                entry.is_certain = false;
            }
            entry
        });
        RouteIndex::new(without_globs.collect()).unwrap_or_default()
    })
}

/// The hosts for which some object sets something. A route of another host changes nothing, so the index leaves it out.
struct RelevantHosts<'a> {
    exact: HashSet<&'a HostPattern>,
    is_everywhere: bool,
}

impl<'a> RelevantHosts<'a> {
    fn new(entries: &'a [Entry<'a>], merged: &[Merged]) -> Self {
        let mut relevant = Self {
            exact: HashSet::new(),
            is_everywhere: false,
        };
        for (entry, merged) in entries.iter().zip(merged) {
            if merged.is_empty() {
                continue;
            }
            match &entry.host {
                Some(host @ HostPattern::Exact(_)) => {
                    relevant.exact.insert(host);
                }
                Some(HostPattern::Subdomains(_)) | None => relevant.is_everywhere = true,
            }
        }
        relevant
    }

    fn contains(&self, host: Option<&HostPattern>) -> bool {
        self.is_everywhere || host.is_none_or(|host| self.exact.contains(host))
    }
}

#[cfg(test)]
mod tests;
