//! The terms that the routes of a cluster add to those of the configuration. They only tighten.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use globset::{Candidate, GlobSet, GlobSetBuilder};

use super::contract::Contract;
use super::host::normalize_host;
use super::path::NormalPath;
use super::rule::{Conditions, Rule, Terms};
use super::rules::{RequestTarget, Rules, RulesError};
use super::{ActivityKind, HostPattern, PathPattern, PathPatternError, StreamActivity};
use crate::session::{Limits, PolicyName};

/// A value, and the object that sets it, such as `SessionPolicy team-crm/crm`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// The object that sets the value.
    pub from: Arc<str>,
}

/// The terms of a route. Everything that is not set changes nothing.
#[derive(Clone, Debug, Default)]
pub struct RouteTerms {
    /// The longest time without activity.
    pub idle: Option<Sourced<Duration>>,
    /// The longest time since the sign-in.
    pub absolute: Option<Sourced<Duration>>,
    /// The longest age of the sign-in for a request.
    pub max_auth_age: Option<Sourced<Duration>>,
    /// The most concurrent sessions of a subject.
    pub max_sessions: Option<Sourced<usize>>,
    /// The requests that count as activity.
    pub activity: ActivityKind,
    /// The paths whose requests never count as activity.
    pub passive_paths: PassivePaths,
    /// Lists of groups. The subject must be in one group of each list.
    pub groups: BTreeSet<Sourced<Vec<String>>>,
    /// Policies of the configuration whose limits the session must meet too.
    pub policies: BTreeSet<Sourced<PolicyName>>,
    /// Whether data inside a stream can count as activity; `None` if the route does not restrict this.
    pub stream_activity: Option<StreamActivity>,
    /// The object that forbids requests without a session, if any.
    pub forbids_public: Option<Arc<str>>,
}

impl RouteTerms {
    /// The limits of the session for requests of this route.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let value = |limit: &Option<Sourced<Duration>>| limit.as_ref().map(|limit| limit.value);
        Limits {
            idle: value(&self.idle),
            absolute: value(&self.absolute).unwrap_or(Limits::NONE.absolute),
            max_auth_age: value(&self.max_auth_age),
        }
    }

    /// The terms of a request to which both terms apply.
    #[must_use]
    pub fn strictest(&self, other: &Self) -> Self {
        Self {
            idle: lesser(&self.idle, &other.idle),
            absolute: lesser(&self.absolute, &other.absolute),
            max_auth_age: lesser(&self.max_auth_age, &other.max_auth_age),
            max_sessions: lesser(&self.max_sessions, &other.max_sessions),
            activity: self.activity.strictest(other.activity),
            passive_paths: self.passive_paths.union(&other.passive_paths),
            groups: &self.groups | &other.groups,
            policies: &self.policies | &other.policies,
            stream_activity: lesser(&self.stream_activity, &other.stream_activity),
            forbids_public: lesser(&self.forbids_public, &other.forbids_public),
        }
    }
}

/// The lesser of two optional values; `None` means no restriction.
#[must_use]
pub fn lesser<T: Clone + Ord>(a: &Option<T>, b: &Option<T>) -> Option<T> {
    a.iter().chain(b).min().cloned()
}

/// Paths whose requests never count as activity, as sets of globs.
#[derive(Clone, Debug, Default)]
pub struct PassivePaths(Vec<Arc<PassiveSet>>);

/// The passive paths of one object.
#[derive(Debug)]
struct PassiveSet {
    texts: BTreeSet<String>,
    globs: GlobSet,
}

impl PassivePaths {
    /// Compiles globs over paths, in the form of [`PathPattern::glob`].
    ///
    /// # Errors
    /// The text that is not such a glob, with the reason.
    pub fn new<'a>(
        texts: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, (String, PathPatternError)> {
        let texts: BTreeSet<String> = texts.into_iter().map(str::to_owned).collect();
        if texts.is_empty() {
            return Ok(Self::default());
        }
        let mut globs = GlobSetBuilder::new();
        for text in &texts {
            match PathPattern::glob(text) {
                Ok(PathPattern::Glob(glob)) => globs.add(glob),
                Ok(_) => continue,
                Err(error) => return Err((text.clone(), error)),
            };
        }
        let too_large = |error: globset::Error| {
            let all = texts.iter().map(String::as_str).collect::<Vec<_>>();
            (all.join(", "), PathPatternError::Glob(error.to_string()))
        };
        let globs = globs.build().map_err(too_large)?;
        Ok(Self(vec![Arc::new(PassiveSet { texts, globs })]))
    }

    /// All paths.
    #[must_use]
    pub fn all() -> Self {
        Self::new(["/**"]).unwrap_or_default()
    }

    /// Whether requests for this path never count as activity. An ambiguous path never counts if there is any passive
    /// path.
    #[must_use]
    pub fn contain(&self, path: &[u8]) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let Ok(path) = NormalPath::new(path) else {
            return true;
        };
        let candidate = Candidate::new(path.as_str());
        self.0
            .iter()
            .any(|set| set.globs.is_match_candidate(&candidate))
    }

    /// The paths of both. Compiles nothing, because checks call it.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut sets = self.0.clone();
        for set in &other.0 {
            if !sets
                .iter()
                .any(|it| Arc::ptr_eq(it, set) || it.texts == set.texts)
            {
                sets.push(Arc::clone(set));
            }
        }
        Self(sets)
    }

    /// The globs, sorted.
    #[must_use]
    pub fn texts(&self) -> BTreeSet<&str> {
        let sets = self.0.iter();
        sets.flat_map(|set| set.texts.iter().map(String::as_str))
            .collect()
    }
}

impl PartialEq for PassivePaths {
    fn eq(&self, other: &Self) -> bool {
        self.texts() == other.texts()
    }
}

impl Eq for PassivePaths {}

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
        router: usize,
        /// Whether the router chooses this entry for certain. Otherwise it can choose a later entry, because this one has
        /// conditions that Curfew does not know, for example on headers.
        is_certain: bool,
    },
    /// Only if no route applies.
    Otherwise,
}

/// Finds the terms of a request. Uses the same index as the rules.
#[derive(Clone, Debug, Default)]
pub struct RouteIndex {
    index: Rules,
    entries: Vec<IndexedEntry>,
}

#[derive(Clone, Debug)]
struct IndexedEntry {
    terms: Arc<RouteTerms>,
    scope: RouteScope,
    /// Whether the entry has no condition on the path and the method.
    is_whole_host: bool,
    /// The domains below which exactly one label matches.
    single_label_domains: Vec<String>,
}

impl RouteIndex {
    /// Builds an index. Earlier entries take precedence.
    ///
    /// # Errors
    /// [`RulesError`] if the globs are too large.
    pub fn new(entries: Vec<RouteEntry>) -> Result<Self, RulesError> {
        let mut rules = Vec::with_capacity(entries.len());
        let mut indexed = Vec::with_capacity(entries.len());
        for (index, entry) in entries.into_iter().enumerate() {
            let domain = |host: &HostPattern| match host {
                HostPattern::Subdomains(domain) if entry.is_single_label => Some(domain.clone()),
                _ => None,
            };
            indexed.push(IndexedEntry {
                terms: entry.terms,
                scope: entry.scope,
                is_whole_host: entry.conditions.paths.is_empty()
                    && entry.conditions.methods.is_empty(),
                single_label_domains: entry.conditions.hosts.iter().filter_map(domain).collect(),
            });
            rules.push(Rule {
                index,
                conditions: entry.conditions,
                terms: Terms::default(),
            });
        }
        Ok(Self {
            index: Rules::new(rules, Terms::default())?,
            entries: indexed,
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

    /// The terms of a request: the tightest of all entries that apply to it. An ambiguous path meets every condition on
    /// the path. `None` if no entry applies.
    #[must_use]
    pub fn find(&self, target: &RequestTarget<'_>) -> Option<Arc<RouteTerms>> {
        if self.entries.is_empty() {
            return None;
        }
        let found = self.index.find_all(target);
        let host = normalize_host(target.host);
        let mut settled: Vec<usize> = Vec::new();
        let mut has_route = false;
        let mut all: Option<Arc<RouteTerms>> = None;
        for position in found.positions {
            let entry = &self.entries[position];
            if !entry.matches_labels(&host) {
                continue;
            }
            match entry.scope {
                RouteScope::Always => {}
                RouteScope::Route { router, is_certain } => {
                    if settled.contains(&router) {
                        continue;
                    }
                    has_route = true;
                    // With an ambiguous path, only an entry for the whole host is certain.
                    if is_certain && (entry.is_whole_host || !found.is_path_ambiguous) {
                        settled.push(router);
                    }
                }
                RouteScope::Otherwise if has_route => continue,
                RouteScope::Otherwise => {}
            }
            all = Some(match all {
                None => Arc::clone(&entry.terms),
                Some(all) if Arc::ptr_eq(&all, &entry.terms) => all,
                Some(all) => Arc::new(all.strictest(&entry.terms)),
            });
        }
        all
    }
}

impl RouteIndex {
    /// The most concurrent sessions of a subject who signs in at a host. If the host is unknown, the least value of all
    /// entries.
    #[must_use]
    pub fn max_sessions(&self, host: Option<&str>) -> Option<Sourced<usize>> {
        let Some(host) = host else {
            let limits = self.entries.iter().map(|entry| &entry.terms.max_sessions);
            return limits.flatten().min().cloned();
        };
        // The entries with this limit are for whole hosts.
        let target = RequestTarget {
            host,
            path: b"/",
            method: &http::Method::GET,
            contract: Contract::AuthRequest,
        };
        let terms = self.find(&target)?;
        terms.max_sessions.clone()
    }
}

impl IndexedEntry {
    /// Whether the host has the number of labels that a wildcard stands for.
    fn matches_labels(&self, host: &str) -> bool {
        self.single_label_domains.is_empty()
            || self.single_label_domains.iter().any(|domain| {
                let label = host.strip_suffix(domain.as_str());
                label.is_some_and(|label| !label.contains('.'))
            })
    }
}

/// What Curfew knows about the routes of the cluster.
#[derive(Clone, Debug)]
pub enum Routes {
    /// Curfew must know the routes, and has not read them yet. Every check is denied with `source_unavailable`.
    Unknown,
    /// The routes. Without routes, the index is empty.
    Known(Box<RouteIndex>),
}

impl Default for Routes {
    fn default() -> Self {
        Self::Known(Box::default())
    }
}

#[cfg(test)]
mod tests;
