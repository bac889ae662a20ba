//! Finds the routes that a request can belong to.

use std::sync::Arc;

use super::checks::Candidates;
use super::{RouteChecks, RouteName, RouteTerms, Sourced};
use crate::policy::request_index::{NormalTarget, RequestIndex, RequestTarget};
use crate::policy::rule::Conditions;
use crate::policy::rules::RulesError;
use crate::policy::{Contract, HostPattern, PathPattern};

/// A set of requests, and the terms for them.
#[derive(Clone, Debug)]
pub struct RouteEntry {
    /// The requests.
    pub conditions: Conditions,
    /// Whether a wildcard in the hosts stands for exactly one label, as in an Ingress.
    pub is_single_label: bool,
    /// The terms.
    pub terms: Arc<RouteTerms>,
    /// When the terms apply.
    pub scope: RouteScope,
    /// The route and its rule, as proxies name them; `None` if the entry is no route.
    pub name: Option<RouteName>,
    /// Where checks are recorded; `None` if the entry is no route.
    pub checks: Option<Arc<RouteChecks>>,
}

impl RouteEntry {
    /// Replaces globs by all paths.
    fn widen_globs(&mut self) {
        let is_glob = |path: &PathPattern| matches!(path, PathPattern::Glob(_));
        if self.conditions.paths.iter().any(is_glob) {
            self.conditions.paths.clear();
            if let RouteScope::Route { is_certain, .. } = &mut self.scope {
                *is_certain = false;
            }
        }
    }
}

/// When the terms of an entry apply to a request that meets its conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteScope {
    /// Always.
    Always,
    /// Unless the same router chooses an earlier entry for certain. Routers are proxies: Curfew does not know which of
    /// them sends the check, so the tightest terms of all routers apply.
    Route {
        /// The router.
        router: u32,
        /// Whether the router chooses this entry for certain. Otherwise it can choose a later entry, because this one has
        /// conditions that Curfew does not know, for example on headers.
        is_certain: bool,
    },
    /// Only if no route with terms applies.
    Otherwise,
}

/// Finds the terms of a request. Uses the same index as the rules.
#[derive(Clone, Debug, Default)]
pub struct RouteIndex {
    index: RequestIndex,
    entries: Box<[IndexedEntry]>,
}

/// An entry without what the index knows. There can be one for each path of a large cluster, so it is small.
#[derive(Clone, Debug)]
struct IndexedEntry {
    /// The terms; `None` if they change nothing.
    terms: Option<Arc<RouteTerms>>,
    checks: Option<Arc<RouteChecks>>,
    name: Option<RouteName>,
    scope: RouteScope,
    /// Whether the entry has no condition on the path and the method.
    is_whole_host: bool,
    /// The conditions on the method and the contract, if there are any.
    other_conditions: Option<Box<Conditions>>,
    /// The domains below which exactly one label matches.
    single_label_domains: Box<[Box<str>]>,
}

impl RouteIndex {
    /// Builds an index. Earlier entries take precedence. Only globs have a size limit. If they are too large together, their
    /// entries apply to all paths of their hosts, so no limit becomes looser.
    ///
    /// # Errors
    /// [`RulesError`] if the index cannot be built.
    pub fn new(mut entries: Vec<RouteEntry>) -> Result<Self, RulesError> {
        let build =
            |entries: &[RouteEntry]| RequestIndex::new(entries.iter().map(|it| &it.conditions));
        let index = match build(&entries) {
            Ok(index) => index,
            Err(_) => {
                entries.iter_mut().for_each(RouteEntry::widen_globs);
                build(&entries)?
            }
        };
        Ok(Self {
            index,
            entries: entries.into_iter().map(IndexedEntry::from).collect(),
        })
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Where checks of the routes are recorded. The same value can occur several times.
    pub fn checks(&self) -> impl Iterator<Item = &Arc<RouteChecks>> {
        self.entries
            .iter()
            .filter_map(|entry| entry.checks.as_ref())
    }

    /// The terms of a request: the tightest of all entries that apply to it. If the proxy names a route, other routes do not
    /// apply. An ambiguous path meets every condition on
    /// the path. `None` if no entry changes anything.
    #[must_use]
    pub fn find(&self, target: &NormalTarget<'_>) -> Option<Arc<RouteTerms>> {
        self.search(target, |_, _| {})
    }

    /// The terms of a request, as [`find`](Self::find). Records a check for the routes that the request can belong to, at a
    /// time in minutes since 1970.
    #[must_use]
    pub fn find_and_record(
        &self,
        target: &NormalTarget<'_>,
        minute: u32,
    ) -> Option<Arc<RouteTerms>> {
        let mut candidates = Candidates::default();
        let terms = self.search(target, |route, is_certain| {
            candidates.add(route, is_certain);
        });
        candidates.record(minute);
        terms
    }

    /// The most concurrent sessions of a subject who signs in at a host. If the host is unknown, the least value of all
    /// entries.
    #[must_use]
    pub fn max_sessions(&self, host: Option<&str>) -> Option<Sourced<usize>> {
        let Some(host) = host else {
            let terms = self.entries.iter().filter_map(|entry| entry.terms.as_ref());
            let limits = terms.filter_map(|terms| terms.max_sessions.as_ref());
            return limits.min().cloned();
        };
        // The entries with this limit are for whole hosts.
        let target = RequestTarget {
            host,
            path: b"/",
            method: &http::Method::GET,
            contract: Contract::AuthRequest,
        };
        let terms = self.find(&target.normalize())?;
        terms.max_sessions.clone()
    }

    /// Finds the terms of a request, and calls `visit` for each route that the request can belong to.
    fn search<'a>(
        &'a self,
        target: &NormalTarget<'_>,
        mut visit: impl FnMut(&'a RouteChecks, bool),
    ) -> Option<Arc<RouteTerms>> {
        if self.entries.is_empty() {
            return None;
        }
        let mut settled: Vec<u32> = Vec::new();
        let mut has_route = false;
        let mut all: Option<Arc<RouteTerms>> = None;
        let positions = self.index.find_all(target);
        // A route that the index does not have can be new, or its host can belong to another namespace. Then the request is
        // bound as if the proxy named no route.
        let is_named = |position: &u32| {
            let entry = &self.entries[*position as usize];
            entry.is_named(target.route) && entry.matches(target)
        };
        let is_bound = target.route.is_some() && positions.iter().any(is_named);
        for position in positions {
            let entry = &self.entries[position as usize];
            if !entry.matches(target) {
                continue;
            }
            match entry.scope {
                RouteScope::Always => {}
                RouteScope::Route { router, is_certain } => {
                    let is_other = is_bound && !entry.is_named(target.route);
                    if is_other || settled.contains(&router) {
                        continue;
                    }
                    has_route |= entry.terms.is_some();
                    // With an ambiguous path, only an entry for the whole host is certain.
                    let is_settled = is_certain && (entry.is_whole_host || target.path.is_ok());
                    if is_settled {
                        settled.push(router);
                    }
                    if let Some(route) = &entry.checks {
                        visit(route, is_settled);
                    }
                }
                RouteScope::Otherwise if has_route => continue,
                RouteScope::Otherwise => {}
            }
            let Some(terms) = &entry.terms else {
                continue;
            };
            all = Some(match all {
                None => Arc::clone(terms),
                Some(all) if Arc::ptr_eq(&all, terms) => all,
                Some(all) => Arc::new(all.strictest(terms)),
            });
        }
        all
    }
}

impl From<RouteEntry> for IndexedEntry {
    fn from(entry: RouteEntry) -> Self {
        let Conditions {
            hosts,
            paths,
            methods,
            contracts,
        } = entry.conditions;
        let domain = |host: &HostPattern| match host {
            HostPattern::Subdomains(domain) if entry.is_single_label => {
                Some(Box::from(domain.as_str()))
            }
            _ => None,
        };
        let is_whole_host = paths.is_empty() && methods.is_empty();
        let has_others = !methods.is_empty() || !contracts.is_empty();
        Self {
            terms: (!entry.terms.is_empty()).then_some(entry.terms),
            checks: entry.checks,
            name: entry.name,
            scope: entry.scope,
            is_whole_host,
            single_label_domains: hosts.iter().filter_map(domain).collect(),
            other_conditions: has_others.then(|| {
                Box::new(Conditions {
                    methods,
                    contracts,
                    ..Conditions::default()
                })
            }),
        }
    }
}

impl IndexedEntry {
    /// Whether a request whose host and path match meets the other conditions.
    fn matches(&self, target: &NormalTarget<'_>) -> bool {
        let others = self.other_conditions.as_ref();
        others.is_none_or(|it| it.match_method_and_contract(target.method, target.contract))
            && self.matches_labels(&target.host)
    }

    /// Whether the entry is the route that a proxy names.
    fn is_named(&self, named: Option<RouteName>) -> bool {
        let both = self.name.zip(named);
        both.is_some_and(|(name, named)| name.serves(named))
    }

    /// Whether the host has the number of labels that a wildcard stands for.
    fn matches_labels(&self, host: &str) -> bool {
        self.single_label_domains.is_empty()
            || self.single_label_domains.iter().any(|domain| {
                let label = host.strip_suffix(&**domain);
                label.is_some_and(|label| !label.contains('.'))
            })
    }
}
