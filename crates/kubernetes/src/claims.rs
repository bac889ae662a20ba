//! Which namespace a host and a path belong to. If routes of two namespaces have the same host and path, the route that
//! was created first holds; among routes of the same age, the first by namespace and name. Routes of two namespaces for one
//! host at different proxies are also such a pair, whatever their paths, because the host can lead to only one proxy.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::policy::HostPattern;
use crate::routes::{RouteId, RoutePath, RouteRule};

/// The order of claims: the creation time, the namespace, the name, the kind.
type Holder<'a> = (&'a str, &'a str, &'a str, &'static str);

pub(crate) struct Claims<'a> {
    holders: HashMap<(&'a HostPattern, Cow<'a, str>), Holder<'a>>,
    /// The first route for each host, whatever its path, and its proxy.
    hosts: HashMap<&'a HostPattern, (Holder<'a>, &'a str)>,
}

impl<'a> Claims<'a> {
    pub(crate) fn new(rules: &'a [RouteRule]) -> Self {
        let mut holders: HashMap<(&HostPattern, Cow<'_, str>), Holder<'a>> = HashMap::new();
        let mut hosts: HashMap<&HostPattern, (Holder<'a>, &'a str)> = HashMap::new();
        for rule in rules {
            let RouteId { kind, key } = &*rule.route;
            let claim = (&*rule.created, &*key.namespace, &*key.name, *kind);
            for host in &rule.hosts {
                let claim = (claim, &*rule.proxy);
                let holder = hosts.entry(host).or_insert(claim);
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
    pub(crate) fn holds(&self, rule: &RouteRule, host: &HostPattern) -> bool {
        self.other_holder(rule, host).is_none()
    }

    /// Returns the route of another namespace that holds the path of the rule at this host.
    pub(crate) fn other_holder(&self, rule: &RouteRule, host: &HostPattern) -> Option<String> {
        let is_other = |(_, namespace, ..): &Holder<'_>| *namespace != rule.route.key.namespace;
        let (of_host, proxy) = self.hosts.get(host)?;
        let of_path = path_name(&rule.path).and_then(|path| self.holders.get(&(host, path)));
        let holder = match of_path {
            Some(of_path) if is_other(of_path) => of_path,
            Some(_) if *proxy == &*rule.proxy => return None,
            // A path that Curfew does not know can be any path of the host, so the rule needs the whole host.
            _ => of_host,
        };
        let (_, namespace, name, kind) = holder;
        is_other(holder).then(|| format!("{kind} {namespace}/{name}"))
    }
}

/// The pairs of host and path that a rule claims. A path that Curfew cannot represent claims nothing.
fn claimed(rule: &RouteRule) -> impl Iterator<Item = (&HostPattern, Cow<'_, str>)> {
    let path = path_name(&rule.path);
    let hosts = rule.hosts.iter();
    hosts.filter_map(move |host| Some((host, path.clone()?)))
}

/// Returns a text for a path; `None` for a path that Curfew cannot represent.
pub(crate) fn path_name(path: &RoutePath) -> Option<Cow<'static, str>> {
    match path {
        RoutePath::Any => Some("/…".into()),
        RoutePath::Pattern(pattern) => Some(pattern.to_string().into()),
        RoutePath::Unknown => None,
    }
}
