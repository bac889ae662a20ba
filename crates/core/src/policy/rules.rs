use std::collections::HashMap;

use globset::{Candidate, GlobSet, GlobSetBuilder};
use http::Method;

use super::contract::Contract;
use super::host::{HostPattern, normalize_host, parent_domains};
use super::path::{AmbiguousPath, NormalPath};
use super::rule::{PathPattern, Rule, Terms};

/// All rules, compiled into an index. Finding the first match takes about as long with a thousand rules as with one.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    /// The terms if no rule matches.
    default_terms: Terms,
    exact_hosts: HashMap<String, PathIndex>,
    /// The rules for the hosts below a domain. Each domain begins with a dot.
    domains: HashMap<String, PathIndex>,
    /// The rules without a host condition.
    any_host: PathIndex,
}

/// The properties of a request that the conditions of rules can use.
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

/// The result of matching a request with the rules.
#[derive(Clone, Copy, Debug)]
pub struct MatchedRule<'a> {
    /// The first rule that matches; `None` if no rule matches.
    pub rule: Option<&'a Rule>,
    /// The terms of this rule, or the default terms if no rule matches.
    pub terms: &'a Terms,
}

/// The rules that match a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MatchedPositions {
    /// The positions of the rules, in ascending order.
    pub positions: Vec<usize>,
    /// Whether the path has two possible interpretations.
    pub is_path_ambiguous: bool,
}

/// All globs together exceed the size limit of the glob compiler.
#[derive(Debug, thiserror::Error)]
#[error("could not compile the path globs: {0}")]
pub struct RulesError(#[from] globset::Error);

impl Rules {
    /// Compiles rules. The terms in `default_terms` apply if no rule matches.
    ///
    /// # Errors
    /// [`RulesError`] if the globs are too large.
    pub fn new(rules: Vec<Rule>, default_terms: Terms) -> Result<Self, RulesError> {
        let mut exact_hosts: HashMap<&str, PathIndexBuilder<'_>> = HashMap::new();
        let mut domains: HashMap<&str, PathIndexBuilder<'_>> = HashMap::new();
        let mut any_host = PathIndexBuilder::default();
        for (position, rule) in rules.iter().enumerate() {
            if rule.conditions.hosts.is_empty() {
                any_host.add(position, rule);
            }
            for host in &rule.conditions.hosts {
                let index = match host {
                    HostPattern::Exact(host) => exact_hosts.entry(host).or_default(),
                    HostPattern::Subdomains(domain) => domains.entry(domain).or_default(),
                };
                index.add(position, rule);
            }
        }
        let build = |indexes: HashMap<&str, PathIndexBuilder<'_>>| {
            let built = indexes
                .into_iter()
                .map(|(host, index)| Ok((host.to_owned(), index.build()?)));
            built.collect::<Result<HashMap<_, _>, RulesError>>()
        };
        Ok(Self {
            exact_hosts: build(exact_hosts)?,
            domains: build(domains)?,
            any_host: any_host.build()?,
            default_terms,
            rules,
        })
    }

    /// Finds the first rule that matches a request.
    ///
    /// # Errors
    /// [`AmbiguousPath`] if the result depends on the path, and the path has two possible interpretations.
    pub fn find(&self, target: &RequestTarget<'_>) -> Result<MatchedRule<'_>, AmbiguousPath> {
        let default_match = MatchedRule {
            rule: None,
            terms: &self.default_terms,
        };
        if self.rules.is_empty() {
            return Ok(default_match);
        }
        let path = NormalPath::new(target.path);
        let host = normalize_host(target.host);
        let indexes = self.indexes(&host);
        let meets_other_conditions = |position: &usize| {
            let conditions = &self.rules[*position].conditions;
            conditions.match_method_and_contract(target.method, target.contract)
        };
        let first = match &path {
            Ok(path) => indexes
                .filter_map(|index| index.find_first(path, meets_other_conditions))
                .min(),
            Err(_) => indexes
                .filter_map(|index| index.all_rules.iter().copied().find(meets_other_conditions))
                .min(),
        };
        let Some(rule) = first.map(|position| &self.rules[position]) else {
            return Ok(default_match);
        };
        let found = MatchedRule {
            rule: Some(rule),
            terms: &rule.terms,
        };
        let paths = &rule.conditions.paths;
        let is_ambiguous = |pattern| matches!(pattern, &PathPattern::Ambiguous);
        match path {
            Err(ambiguous) if !paths.is_empty() && !paths.iter().any(is_ambiguous) => {
                Err(ambiguous)
            }
            _ => Ok(found),
        }
    }

    /// Finds all rules that match a request, in their order. If the path is ambiguous, finds all rules whose other
    /// conditions the request meets.
    #[must_use]
    pub fn find_all(&self, target: &RequestTarget<'_>) -> MatchedPositions {
        let path = NormalPath::new(target.path);
        let host = normalize_host(target.host);
        let mut positions = Vec::new();
        for index in self.indexes(&host) {
            match &path {
                Ok(path) => index.find_all(path, &mut positions),
                Err(_) => positions.extend(&index.all_rules),
            }
        }
        positions.sort_unstable();
        positions.dedup();
        positions.retain(|position| {
            let conditions = &self.rules[*position].conditions;
            conditions.match_method_and_contract(target.method, target.contract)
        });
        MatchedPositions {
            positions,
            is_path_ambiguous: path.is_err(),
        }
    }

    /// The indexes of the rules that can match a host.
    fn indexes<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a PathIndex> {
        let parents = parent_domains(host).filter_map(|domain| self.domains.get(domain));
        let indexes = self.exact_hosts.get(host).into_iter().chain(parents);
        indexes.chain([&self.any_host])
    }

    /// All rules in the order of the configuration.
    #[must_use]
    pub fn as_slice(&self) -> &[Rule] {
        &self.rules
    }

    /// The terms if no rule matches.
    #[must_use]
    pub const fn default_terms(&self) -> &Terms {
        &self.default_terms
    }
}

/// The positions of the rules for one host, indexed by path. Each list is in the order of the configuration.
#[derive(Clone, Debug, Default)]
struct PathIndex {
    /// All rules for the host.
    all_rules: Vec<usize>,
    /// The rules without a path condition.
    without_path: Vec<usize>,
    exact: HashMap<String, Vec<usize>>,
    prefixes: HashMap<String, Vec<usize>>,
    globs: GlobSet,
    /// For each glob in `globs`, the position of its rule.
    glob_rules: Vec<usize>,
}

impl PathIndex {
    /// The position of the first rule that matches this path and meets the other conditions.
    fn find_first(
        &self,
        path: &NormalPath<'_>,
        meets_other_conditions: impl Fn(&usize) -> bool,
    ) -> Option<usize> {
        let find_first =
            |positions: &Vec<usize>| positions.iter().copied().find(&meets_other_conditions);
        let mut best = find_first(&self.without_path);
        let mut consider = |found: Option<usize>| best = best.into_iter().chain(found).min();
        if !self.exact.is_empty() {
            consider(self.exact.get(path.as_str()).and_then(find_first));
        }
        if !self.prefixes.is_empty() {
            let paths = path.with_parents();
            consider(
                paths
                    .filter_map(|path| find_first(self.prefixes.get(path)?))
                    .min(),
            );
        }
        if !self.glob_rules.is_empty() {
            let matched = self.globs.matches_candidate(&Candidate::new(path.as_str()));
            let positions = matched.into_iter().map(|glob| self.glob_rules[glob]);
            consider(positions.filter(&meets_other_conditions).min());
        }
        best
    }
}

impl PathIndex {
    /// Adds the positions of all rules that match this path to `positions`. A position can occur several times.
    fn find_all(&self, path: &NormalPath<'_>, positions: &mut Vec<usize>) {
        positions.extend(&self.without_path);
        positions.extend(self.exact.get(path.as_str()).into_iter().flatten());
        if !self.prefixes.is_empty() {
            let prefixes = path.with_parents();
            positions.extend(
                prefixes
                    .filter_map(|path| self.prefixes.get(path))
                    .flatten(),
            );
        }
        if !self.glob_rules.is_empty() {
            let matched = self.globs.matches_candidate(&Candidate::new(path.as_str()));
            positions.extend(matched.into_iter().map(|glob| self.glob_rules[glob]));
        }
    }
}

/// Builds the [`PathIndex`] for one host.
#[derive(Default)]
struct PathIndexBuilder<'a> {
    index: PathIndex,
    globs: Vec<&'a globset::Glob>,
}

impl<'a> PathIndexBuilder<'a> {
    fn add(&mut self, position: usize, rule: &'a Rule) {
        let index = &mut self.index;
        index.all_rules.push(position);
        if rule.conditions.paths.is_empty() {
            index.without_path.push(position);
        }
        for path in &rule.conditions.paths {
            let list = match path {
                PathPattern::Exact(path) => index.exact.entry(path.clone()).or_default(),
                PathPattern::Prefix(path) => index.prefixes.entry(path.clone()).or_default(),
                PathPattern::Glob(glob) => {
                    self.globs.push(glob);
                    &mut index.glob_rules
                }
                PathPattern::Ambiguous => continue,
            };
            list.push(position);
        }
    }

    fn build(self) -> Result<PathIndex, RulesError> {
        let mut globs = GlobSetBuilder::new();
        for glob in self.globs {
            globs.add(glob.clone());
        }
        Ok(PathIndex {
            globs: globs.build()?,
            ..self.index
        })
    }
}

#[cfg(test)]
mod tests;
