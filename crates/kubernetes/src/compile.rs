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
    Conditions, HostPattern, RouteChecks, RouteEntry, RouteIndex, RouteScope, RouteTerms,
    RulesError,
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
    applied: Arc<Applied>,
    checks: Arc<RouteChecks>,
}

impl Entry<'_> {
    fn precedence(&self) -> impl Ord {
        precedence::key(self.rule, self.rule_host, &self.host)
    }
}

/// The objects that apply to some entries. Most entries of a cluster have the same few.
struct Applied {
    sources: BTreeSet<usize>,
    merged: Merged,
    terms: Arc<RouteTerms>,
}

/// What the status of policies also depends on.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The index in force, whose records of checks the new index continues.
    pub before: &'a RouteIndex,
    /// When the replicas began to observe which routes send checks.
    pub since: Timestamp,
    /// The domain of the session cookie. Without it, each host has its own session, and therefore its own idle time.
    pub cookie_domain: Option<&'a str>,
}

impl Applied {
    fn new(applied: BTreeSet<usize>, sources: &Sources) -> Self {
        let merged = sources.merge(&applied);
        Self {
            terms: Arc::new(merged.terms()),
            sources: applied,
            merged,
        }
    }
}

/// Compiles the objects of a cluster without a context, for tools.
///
/// # Errors
/// As [`compile`].
pub fn compile_alone(state: &State) -> Result<Compiled, RulesError> {
    let context = Context {
        before: &RouteIndex::default(),
        since: Timestamp::default(),
        cookie_domain: None,
    };
    compile(state, context)
}

/// Compiles the objects of a cluster. The limits depend only on the objects, so all replicas get the same.
///
/// # Errors
/// [`RulesError`] if the index cannot be built. The caller then keeps the earlier index, because without an index no limit
/// would apply.
pub fn compile(state: &State, context: Context<'_>) -> Result<Compiled, RulesError> {
    let routes = Routes::of(state);
    let claims = Claims::new(&routes.rules);
    let sources = Sources::new(state);
    let mut checked = Checked::new(context.before);
    let mut known: HashMap<BTreeSet<usize>, Arc<Applied>> = HashMap::new();
    let mut entries = Vec::new();
    for rule in &routes.rules {
        for host in &rule.hosts {
            if !claims.holds(rule, host) {
                continue;
            }
            let checks = checked.of_rule(rule, host);
            let narrower = sources.narrower_hosts(rule, host);
            for part in std::iter::once(host.clone()).chain(narrower) {
                let applied = sources.of_rule(rule, &part);
                let applied = match known.get(&applied) {
                    Some(known) => Arc::clone(known),
                    None => {
                        let new = Arc::new(Applied::new(applied.clone(), &sources));
                        known.insert(applied, Arc::clone(&new));
                        new
                    }
                };
                entries.push(Entry {
                    rule,
                    rule_host: host,
                    applied,
                    host: part,
                    checks: Arc::clone(&checks),
                });
            }
        }
    }
    entries.sort_by(|a, b| a.precedence().cmp(&b.precedence()));
    let (session_policies, cluster_policies) =
        report::statuses(state, &routes, &claims, &sources, &entries, context);
    let index = index_entries(&routes, &sources, &entries);
    // A large cluster needs much memory for these, and the next step needs more.
    drop(entries);
    drop(known);
    drop(claims);
    drop(routes);
    Ok(Compiled {
        index: RouteIndex::new(index)?,
        session_policies,
        cluster_policies,
        mistakes: sources.mistakes,
    })
}

/// Returns the entries of the index: first the ceilings that apply to every request for their hosts, then the routes, and last what applies
/// to requests that belong to no route.
fn index_entries(routes: &Routes, sources: &Sources, entries: &[Entry<'_>]) -> Vec<RouteEntry> {
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
    // Many rules of a route differ only in what Curfew does not know.
    let mut known = HashSet::new();
    for entry in entries {
        let rule = entry.rule;
        let next = u32::try_from(routers.len()).unwrap_or(u32::MAX);
        let router = *routers.entry((&rule.proxy, &rule.listener)).or_insert(next);
        let path = claims::path_name(&rule.path);
        let same = (
            &entry.host,
            path,
            &rule.route,
            &rule.section,
            &rule.method,
            router,
            &entry.applied.sources,
        );
        if !rule.is_certain && !known.insert(same) {
            continue;
        }
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
            terms: Arc::clone(&entry.applied.terms),
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
