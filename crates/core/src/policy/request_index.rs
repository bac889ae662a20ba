//! Finds conditions by the host and the path of a request. The time hardly depends on the number of conditions, and the
//! index is small, because a cluster can have 10,000 routes.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use globset::{Candidate, Glob, GlobSet, GlobSetBuilder};
use http::Method;

use super::contract::Contract;
use super::host::{HostPattern, normalize_host, parent_domains};
use super::path::{AmbiguousPath, NormalPath};
use super::routes::RouteName;
use super::rule::{Conditions, PathPattern};
use super::rules::RulesError;

/// The properties of a request that conditions can use.
#[derive(Clone, Copy, Debug)]
pub struct RequestTarget<'a> {
    /// The host, with or without a port.
    pub host: &'a str,
    /// The path as the client wrote it, without the query.
    pub path: &'a [u8],
    /// The method.
    pub method: &'a Method,
    /// The contract (the protocol) of the proxy.
    pub contract: Contract,
}

/// The target of a request with a normal host and path. It is computed once for each check.
#[derive(Clone, Debug)]
pub struct NormalTarget<'a> {
    pub(super) host: Cow<'a, str>,
    pub(super) path: Result<NormalPath<'a>, AmbiguousPath>,
    pub(super) method: &'a Method,
    pub(super) contract: Contract,
    pub(super) route: Option<RouteName>,
}

impl NormalTarget<'_> {
    /// The normal path; `None` if the path is ambiguous.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.path.as_ref().ok().map(NormalPath::as_str)
    }

    /// The same target, for which a proxy names a route.
    #[must_use]
    pub fn with_route(self, route: Option<RouteName>) -> Self {
        Self { route, ..self }
    }
}

impl<'a> RequestTarget<'a> {
    /// Normalizes the host and the path.
    #[must_use]
    pub fn normalize(&self) -> NormalTarget<'a> {
        NormalTarget {
            host: normalize_host(self.host),
            path: NormalPath::new(self.path),
            method: self.method,
            contract: self.contract,
            route: None,
        }
    }
}

/// The positions of conditions in a list, indexed by host and path.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestIndex {
    exact_hosts: HashMap<Box<str>, PathIndex>,
    /// The conditions for the hosts below a domain. Each domain begins with a dot.
    domains: HashMap<Box<str>, PathIndex>,
    /// The conditions without a host.
    any_host: PathIndex,
}

impl RequestIndex {
    /// Indexes a list of conditions.
    ///
    /// # Errors
    /// [`RulesError`] if the globs are too large.
    pub(super) fn new<'a>(list: impl Iterator<Item = &'a Conditions>) -> Result<Self, RulesError> {
        let mut exact_hosts: HashMap<&str, PathIndexBuilder<'_>> = HashMap::new();
        let mut domains: HashMap<&str, PathIndexBuilder<'_>> = HashMap::new();
        let mut any_host = PathIndexBuilder::default();
        for (position, conditions) in (0..).zip(list) {
            if conditions.hosts.is_empty() {
                any_host.add(position, conditions);
            }
            for host in &conditions.hosts {
                let index = match host {
                    HostPattern::Exact(host) => exact_hosts.entry(host).or_default(),
                    HostPattern::Subdomains(domain) => domains.entry(domain).or_default(),
                };
                index.add(position, conditions);
            }
        }
        let build = |indexes: HashMap<&str, PathIndexBuilder<'_>>| {
            let built = indexes.into_iter();
            let built = built.map(|(host, index)| Ok((Box::from(host), index.build()?)));
            built.collect::<Result<HashMap<_, _>, RulesError>>()
        };
        Ok(Self {
            exact_hosts: build(exact_hosts)?,
            domains: build(domains)?,
            any_host: any_host.build()?,
        })
    }

    /// The first position whose host and path match, and that meets further conditions. An ambiguous path matches every
    /// path.
    pub(super) fn find_first(
        &self,
        target: &NormalTarget<'_>,
        meets_other_conditions: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let meets = |position: u32| meets_other_conditions(position as usize);
        let indexes = self.indexes(&target.host);
        let first = match &target.path {
            Ok(path) => indexes
                .filter_map(|index| index.find_first(path, meets))
                .min(),
            Err(_) => {
                let first = |index: &PathIndex| index.all.iter().copied().find(|it| meets(*it));
                indexes.filter_map(first).min()
            }
        };
        first.map(|position| position as usize)
    }

    /// All positions whose host and path match, in order. An ambiguous path matches every path.
    pub(super) fn find_all(&self, target: &NormalTarget<'_>) -> Vec<u32> {
        let mut positions = Vec::new();
        for index in self.indexes(&target.host) {
            match &target.path {
                Ok(path) => index.find_all(path, &mut positions),
                Err(_) => positions.extend(&index.all),
            }
        }
        positions.sort_unstable();
        positions.dedup();
        positions
    }

    /// The indexes of the conditions that can match a host.
    fn indexes<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a PathIndex> {
        let parents = parent_domains(host).filter_map(|domain| self.domains.get(domain));
        let indexes = self.exact_hosts.get(host).into_iter().chain(parents);
        indexes.chain([&self.any_host])
    }
}

/// Positions in ascending order. Four bytes are enough for each.
type Positions = Box<[u32]>;

/// The positions of the conditions for one host, indexed by path.
#[derive(Clone, Debug, Default)]
struct PathIndex {
    /// All conditions for the host.
    all: Positions,
    /// The conditions without a path.
    without_path: Positions,
    exact: PathMap,
    prefixes: PathMap,
    globs: Option<Box<Globs>>,
}

/// Paths with the positions of their conditions. Most hosts have few paths, and a sorted list is smaller than a hash map.
#[derive(Clone, Debug)]
#[expect(
    clippy::box_collection,
    reason = "most hosts have few paths, and the box keeps their entries small"
)]
enum PathMap {
    Few(Box<[(Box<str>, Positions)]>),
    Many(Box<HashMap<Box<str>, Positions>>),
}

/// From this number of paths on, a hash map is faster than a sorted list.
const MANY_PATHS: usize = 16;

impl Default for PathMap {
    fn default() -> Self {
        Self::Few(Box::default())
    }
}

impl PathMap {
    fn new(paths: BTreeMap<&str, Vec<u32>>) -> Self {
        let is_small = paths.len() < MANY_PATHS;
        let paths = paths.into_iter();
        let paths = paths.map(|(path, positions)| (Box::from(path), positions.into_boxed_slice()));
        if is_small {
            Self::Few(paths.collect())
        } else {
            Self::Many(Box::new(paths.collect()))
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Few(paths) if paths.is_empty())
    }

    /// The positions of a path; empty for a path without conditions.
    fn get(&self, path: &str) -> &[u32] {
        match self {
            Self::Few(paths) => {
                let found = paths.binary_search_by(|(it, _)| (**it).cmp(path));
                found.map_or(&[], |index| &paths[index].1)
            }
            Self::Many(paths) => paths.get(path).map_or(&[], |positions| positions),
        }
    }
}

/// Globs, each with the position of its conditions.
#[derive(Clone, Debug)]
struct Globs {
    set: GlobSet,
    positions: Positions,
}

impl Globs {
    fn find(&self, path: &NormalPath<'_>) -> impl Iterator<Item = u32> {
        let matched = self.set.matches_candidate(&Candidate::new(path.as_str()));
        matched.into_iter().map(|glob| self.positions[glob])
    }
}

impl PathIndex {
    /// The first position that matches this path and meets the other conditions.
    fn find_first(&self, path: &NormalPath<'_>, meets: impl Fn(u32) -> bool) -> Option<u32> {
        let first = |positions: &[u32]| positions.iter().copied().find(|it| meets(*it));
        let mut best = first(&self.without_path);
        let mut consider = |found: Option<u32>| best = best.into_iter().chain(found).min();
        if !self.exact.is_empty() {
            consider(first(self.exact.get(path.as_str())));
        }
        if !self.prefixes.is_empty() {
            let paths = path.with_parents();
            consider(
                paths
                    .filter_map(|path| first(self.prefixes.get(path)))
                    .min(),
            );
        }
        if let Some(globs) = &self.globs {
            consider(globs.find(path).filter(|it| meets(*it)).min());
        }
        best
    }

    /// Adds all positions that match this path. A position can occur several times.
    fn find_all(&self, path: &NormalPath<'_>, positions: &mut Vec<u32>) {
        positions.extend(&self.without_path);
        positions.extend(self.exact.get(path.as_str()));
        if !self.prefixes.is_empty() {
            let prefixes = path.with_parents();
            positions.extend(prefixes.flat_map(|path| self.prefixes.get(path)));
        }
        if let Some(globs) = &self.globs {
            positions.extend(globs.find(path));
        }
    }
}

/// Builds the [`PathIndex`] for one host.
#[derive(Default)]
struct PathIndexBuilder<'a> {
    all: Vec<u32>,
    without_path: Vec<u32>,
    exact: BTreeMap<&'a str, Vec<u32>>,
    prefixes: BTreeMap<&'a str, Vec<u32>>,
    globs: Vec<(&'a Glob, u32)>,
}

impl<'a> PathIndexBuilder<'a> {
    fn add(&mut self, position: u32, conditions: &'a Conditions) {
        self.all.push(position);
        if conditions.paths.is_empty() {
            self.without_path.push(position);
        }
        for path in &conditions.paths {
            match path {
                PathPattern::Exact(path) => self.exact.entry(path).or_default().push(position),
                PathPattern::Prefix(path) => self.prefixes.entry(path).or_default().push(position),
                PathPattern::Glob(glob) => self.globs.push((glob, position)),
                PathPattern::Ambiguous => {}
            }
        }
    }

    fn build(self) -> Result<PathIndex, RulesError> {
        let mut set = GlobSetBuilder::new();
        for (glob, _) in &self.globs {
            set.add((*glob).clone());
        }
        let globs = match self.globs.as_slice() {
            [] => None,
            globs => Some(Box::new(Globs {
                set: set.build()?,
                positions: globs.iter().map(|(_, position)| *position).collect(),
            })),
        };
        Ok(PathIndex {
            all: self.all.into_boxed_slice(),
            without_path: self.without_path.into_boxed_slice(),
            exact: PathMap::new(self.exact),
            prefixes: PathMap::new(self.prefixes),
            globs,
        })
    }
}
