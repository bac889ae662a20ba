//! Which namespace a host and a path belong to. If routes of two namespaces have the same host and path, the route that
//! was created first holds; among routes of the same age, the first by namespace and name.

use std::collections::BTreeMap;

use crate::policy::HostPattern;
use crate::routes::{RouteId, RoutePath, RouteRule};

/// The order of claims: the creation time, the namespace, the name, the kind.
type Holder<'a> = (&'a str, &'a str, &'a str, &'static str);

pub(super) struct Claims<'a> {
    holders: BTreeMap<(String, String), Holder<'a>>,
    /// The first route for each host, whatever its path.
    hosts: BTreeMap<String, Holder<'a>>,
}

impl<'a> Claims<'a> {
    pub(super) fn new(rules: &'a [RouteRule]) -> Self {
        let mut holders: BTreeMap<(String, String), Holder<'a>> = BTreeMap::new();
        let mut hosts: BTreeMap<String, Holder<'a>> = BTreeMap::new();
        for rule in rules {
            let RouteId { kind, key } = &rule.route;
            let claim = (&*rule.created, &*key.namespace, &*key.name, *kind);
            for host in &rule.hosts {
                let holder = hosts.entry(host_name(Some(host))).or_insert(claim);
                *holder = claim.min(*holder);
            }
            for name in claimed(rule) {
                let holder = holders.entry(name).or_insert(claim);
                *holder = claim.min(*holder);
            }
        }
        Self { holders, hosts }
    }

    /// Whether the namespace of a rule holds the path of the rule at this host.
    pub(super) fn holds(&self, rule: &RouteRule, host: Option<&HostPattern>) -> bool {
        self.other_holder(rule, host).is_none()
    }

    /// Returns the route of another namespace that holds the path of the rule at this host.
    pub(super) fn other_holder(
        &self,
        rule: &RouteRule,
        host: Option<&HostPattern>,
    ) -> Option<String> {
        let host = host_name(host);
        let holder = match path_name(&rule.path) {
            Some(path) => self.holders.get(&(host, path)),
            // The rule can mean any path of the host, so it needs the whole host.
            None => self.hosts.get(&host),
        };
        let (_, namespace, name, kind) = holder?;
        (*namespace != rule.route.key.namespace).then(|| format!("{kind} {namespace}/{name}"))
    }
}

/// The pairs of host and path that a rule claims. A path that Curfew cannot represent claims nothing.
fn claimed(rule: &RouteRule) -> Vec<(String, String)> {
    let Some(path) = path_name(&rule.path) else {
        return Vec::new();
    };
    match rule.hosts.as_slice() {
        [] => vec![(host_name(None), path)],
        hosts => {
            let hosts = hosts.iter();
            hosts
                .map(|host| (host_name(Some(host)), path.clone()))
                .collect()
        }
    }
}

pub(super) fn host_name(host: Option<&HostPattern>) -> String {
    host.map_or("*".to_owned(), ToString::to_string)
}

/// Returns a text for a path; `None` for a path that Curfew cannot represent.
pub(super) fn path_name(path: &RoutePath) -> Option<String> {
    match path {
        RoutePath::Any => Some("/…".to_owned()),
        RoutePath::Pattern(pattern) => Some(pattern.to_string()),
        RoutePath::Unknown => None,
    }
}
