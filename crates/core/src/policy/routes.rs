//! The terms that the routes of a cluster add to those of the configuration. They only tighten.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use globset::{Candidate, GlobSet, GlobSetBuilder};

use super::path::NormalPath;
use super::rule::{Conditions, Rule, Terms};
use super::rules::{RequestTarget, Rules, RulesError};
use super::{ActivityKind, PathPattern, PathPatternError, StreamActivity};
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
fn lesser<T: Clone + Ord>(a: &Option<T>, b: &Option<T>) -> Option<T> {
    a.iter().chain(b).min().cloned()
}

/// Paths whose requests never count as activity, as globs.
#[derive(Clone, Debug, Default)]
pub struct PassivePaths {
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
        let mut globs = GlobSetBuilder::new();
        for text in &texts {
            match PathPattern::glob(text) {
                Ok(PathPattern::Glob(glob)) => globs.add(glob),
                Ok(_) => continue,
                Err(error) => return Err((text.clone(), error)),
            };
        }
        let built = globs.build();
        let too_large = |error: globset::Error| {
            let all = texts.iter().map(String::as_str).collect::<Vec<_>>();
            (all.join(", "), PathPatternError::Glob(error.to_string()))
        };
        let globs = built.map_err(too_large)?;
        Ok(Self { texts, globs })
    }

    /// Whether requests for this path never count as activity. An ambiguous path never counts if there is any passive
    /// path.
    #[must_use]
    pub fn contain(&self, path: &[u8]) -> bool {
        !self.texts.is_empty()
            && NormalPath::new(path).map_or(true, |path| {
                self.globs
                    .is_match_candidate(&Candidate::new(path.as_str()))
            })
    }

    fn union(&self, other: &Self) -> Self {
        if other.texts.is_subset(&self.texts) {
            return self.clone();
        }
        if self.texts.is_subset(&other.texts) {
            return other.clone();
        }
        let texts = self.texts.union(&other.texts).map(String::as_str);
        Self::new_or_all(texts)
    }

    /// Compiles globs that are valid one by one. If all together are too large, every path is passive.
    #[must_use]
    pub fn new_or_all<'a>(texts: impl IntoIterator<Item = &'a str> + Clone) -> Self {
        Self::new(texts.clone()).unwrap_or_else(|_| {
            let mut globs = GlobSetBuilder::new();
            if let Ok(glob) = globset::Glob::new("**") {
                globs.add(glob);
            }
            Self {
                texts: texts.into_iter().map(str::to_owned).collect(),
                globs: globs.build().unwrap_or_default(),
            }
        })
    }
}

/// A set of requests, and the terms for them.
#[derive(Clone, Debug)]
pub struct RouteEntry {
    /// The requests.
    pub conditions: Conditions,
    /// The terms.
    pub terms: Arc<RouteTerms>,
    /// Whether a request that meets the conditions belongs to this route for certain. Otherwise the router can choose
    /// another route, because this route has conditions that Curfew does not know, for example on headers.
    pub is_certain: bool,
}

/// Finds the terms of a request. Uses the same index as the rules.
#[derive(Clone, Debug, Default)]
pub struct RouteIndex {
    index: Rules,
    entries: Vec<(Arc<RouteTerms>, bool)>,
}

impl RouteIndex {
    /// Builds an index. Earlier entries take precedence.
    ///
    /// # Errors
    /// [`RulesError`] if the globs are too large.
    pub fn new(entries: Vec<RouteEntry>) -> Result<Self, RulesError> {
        let mut rules = Vec::with_capacity(entries.len());
        let mut terms = Vec::with_capacity(entries.len());
        for (index, entry) in entries.into_iter().enumerate() {
            rules.push(Rule {
                index,
                conditions: entry.conditions,
                terms: Terms::default(),
            });
            terms.push((entry.terms, entry.is_certain));
        }
        Ok(Self {
            index: Rules::new(rules, Terms::default())?,
            entries: terms,
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

    /// The terms of a request: the tightest of all entries up to the first that the request belongs to for certain. If
    /// the path is ambiguous, the tightest of all entries whose other conditions the request meets. `None` if there is
    /// no such entry.
    #[must_use]
    pub fn find(&self, target: &RequestTarget<'_>) -> Option<Arc<RouteTerms>> {
        if self.entries.is_empty() {
            return None;
        }
        let found = self.index.find_all(target);
        let mut all: Option<Arc<RouteTerms>> = None;
        for position in found.positions {
            let (terms, is_certain) = &self.entries[position];
            all = Some(match all {
                None => Arc::clone(terms),
                Some(all) if Arc::ptr_eq(&all, terms) => all,
                Some(all) => Arc::new(all.strictest(terms)),
            });
            if *is_certain && !found.is_path_ambiguous {
                break;
            }
        }
        all
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
