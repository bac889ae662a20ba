//! The requests that the routes of a cluster serve.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;

use crate::objects::{
    Backend, CLASS_ANNOTATION, DEFAULT_CLASS, GrpcMethodMatch, GrpcRouteMatch, GrpcRouteRule,
    HttpPathMatch, HttpRouteMatch, HttpRouteRule, IngressPath, Metadata, ObjectKey, ParentRef,
    RouteStatus,
};
use crate::policy::{HostPattern, PathPattern, RouteName};
use crate::state::State;

/// The kind and the key of a route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RouteId {
    pub(crate) kind: &'static str,
    pub(crate) key: ObjectKey,
}

impl fmt::Display for RouteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.key)
    }
}

impl RouteId {
    pub(crate) fn new(kind: &'static str, key: &ObjectKey) -> Self {
        let key = key.clone();
        Self { kind, key }
    }
}

/// The paths of a rule.
#[derive(Clone, Debug)]
pub(crate) enum RoutePath {
    /// All paths.
    Any,
    /// The paths of this pattern.
    Pattern(PathPattern),
    /// Paths that Curfew cannot represent, for example those of a regular expression.
    Unknown,
}

/// A rule of a route: the requests that it serves, and the objects that can tighten them.
#[derive(Clone, Debug)]
pub(crate) struct RouteRule {
    pub(crate) route: Arc<RouteId>,
    pub(crate) created: Arc<str>,
    /// The name of the rule, which `sectionName` of a policy can name.
    pub(crate) section: Option<String>,
    /// The hosts; empty for all hosts.
    pub(crate) hosts: Vec<HostPattern>,
    pub(crate) path: RoutePath,
    pub(crate) method: Option<http::Method>,
    /// Whether the router chooses this rule for all requests for its hosts, path and method.
    pub(crate) is_certain: bool,
    /// The proxy that serves the rule: a class of Ingresses, or a Gateway.
    pub(crate) proxy: Arc<str>,
    /// Whether a wildcard stands for exactly one label, as in an Ingress.
    pub(crate) is_single_label: bool,
    pub(crate) services: Vec<ObjectKey>,
    /// The Gateway and the listener.
    pub(crate) listener: Option<Arc<(ObjectKey, String)>>,
}

impl RouteRule {
    /// The name by which a proxy can name the rule.
    pub(crate) fn name(&self) -> RouteName {
        let RouteId { kind, key } = &*self.route;
        RouteName::new(kind, &key.namespace, &key.name, self.section.as_deref())
    }
}

/// The rules of all routes that a proxy serves, and the reason for each part that Curfew cannot represent.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    pub(crate) rules: Vec<RouteRule>,
    /// Every route that a proxy serves.
    pub(crate) served: BTreeSet<RouteId>,
    /// What Curfew cannot represent of a route.
    pub(crate) unknown: BTreeMap<RouteId, String>,
    /// The hosts that the routes of each namespace name, served or not.
    pub(crate) named_hosts: BTreeMap<String, HashSet<HostPattern>>,
    /// The namespaces with routes for every host.
    pub(crate) with_every_host: BTreeSet<String>,
    /// The name of the controller of each proxy.
    pub(crate) controllers: BTreeMap<String, String>,
}

impl Routes {
    pub(crate) fn of(state: &State) -> Self {
        let objects = state.ingresses.len() + state.http_routes.len() + state.grpc_routes.len();
        let mut routes = Self {
            // Most objects have one rule.
            rules: Vec::with_capacity(objects),
            ..Self::default()
        };
        routes.add_ingresses(state);
        for (key, route) in &state.http_routes {
            let spec = &route.spec;
            let id = RouteId::new("HTTPRoute", key);
            for base in routes.bases(
                state,
                id,
                &route.metadata,
                &route.status,
                &spec.parent_refs,
                &spec.hostnames,
            ) {
                for rule in &spec.rules {
                    routes.add_http_rule(&base, rule);
                }
            }
        }
        for (key, route) in &state.grpc_routes {
            let spec = &route.spec;
            let id = RouteId::new("GRPCRoute", key);
            for base in routes.bases(
                state,
                id,
                &route.metadata,
                &route.status,
                &spec.parent_refs,
                &spec.hostnames,
            ) {
                for rule in &spec.rules {
                    routes.add_grpc_rule(&base, rule);
                }
            }
        }
        routes
    }

    fn add_http_rule(&mut self, base: &RouteRule, rule: &HttpRouteRule) {
        let every = [HttpRouteMatch::default()];
        let matches = match &*rule.matches {
            [] => &every,
            matches => matches,
        };
        for condition in matches {
            let has_more = !condition.headers.is_empty() || !condition.query_params.is_empty();
            let path = self.http_path(&base.route, condition.path.as_ref());
            self.rules.push(RouteRule {
                section: rule.name.clone(),
                method: condition.method.as_ref().and_then(|it| it.parse().ok()),
                is_certain: !has_more && !matches!(path, RoutePath::Unknown),
                path,
                services: services(&base.route.key, &rule.backend_refs),
                ..base.clone()
            });
        }
    }

    fn add_grpc_rule(&mut self, base: &RouteRule, rule: &GrpcRouteRule) {
        let every = [GrpcRouteMatch::default()];
        let matches = match &*rule.matches {
            [] => &every,
            matches => matches,
        };
        for condition in matches {
            let path = self.grpc_path(&base.route, condition.method.as_ref());
            self.rules.push(RouteRule {
                section: rule.name.clone(),
                is_certain: condition.headers.is_empty() && !matches!(path, RoutePath::Unknown),
                path,
                services: services(&base.route.key, &rule.backend_refs),
                ..base.clone()
            });
        }
    }

    /// Records the hosts that a route names.
    fn name_hosts(&mut self, namespace: &str, hosts: &[HostPattern]) {
        if hosts.is_empty() {
            self.with_every_host.insert(namespace.to_owned());
        }
        let named = self.named_hosts.entry(namespace.to_owned()).or_default();
        named.extend(hosts.iter().cloned());
    }

    fn add_ingresses(&mut self, state: &State) {
        let mut classes = state.ingress_classes.values();
        let default_class = classes.find(|class| {
            let is_default = class.metadata.annotations.get(DEFAULT_CLASS);
            is_default.is_some_and(|value| value == "true")
        });
        let default_class = default_class.map(|class| class.metadata.name.clone());
        for (key, ingress) in &state.ingresses {
            let route = RouteId::new("Ingress", key);
            let rules = ingress.spec.rules.iter().filter_map(|rule| {
                let hosts = self.hosts(&route, rule.host.iter())?;
                self.name_hosts(&key.namespace, &hosts);
                Some((rule, hosts))
            });
            let rules: Vec<_> = rules.collect();
            // Controllers also serve an Ingress with the older annotation, which needs no IngressClass.
            let by_annotation = ingress.metadata.annotations.get(CLASS_ANNOTATION).cloned();
            let exists = |class: &String| {
                let class = ObjectKey::new("", class);
                state.ingress_classes.contains_key(&class)
            };
            let class = match &ingress.spec.ingress_class_name {
                Some(class) => Some(class.clone()).filter(exists),
                None => by_annotation.or_else(|| default_class.clone()),
            };
            let Some(class) = class else {
                continue;
            };
            self.served.insert(route.clone());
            let object = state.ingress_classes.get(&ObjectKey::new("", &class));
            let controller = object
                .map_or(&class, |class| &class.spec.controller)
                .clone();
            self.controllers
                .insert(format!("class {class}"), controller);
            let base = RouteRule {
                route: Arc::new(route.clone()),
                created: created(&ingress.metadata),
                section: None,
                hosts: Vec::new(),
                path: RoutePath::Any,
                method: None,
                is_certain: true,
                proxy: format!("class {class}").into(),
                is_single_label: true,
                services: Vec::new(),
                listener: None,
            };
            let service = |backend: &crate::objects::IngressBackend| {
                let service = backend.service.as_ref();
                let key = service.map(|service| ObjectKey::new(&key.namespace, &service.name));
                key.into_iter().collect::<Vec<_>>()
            };
            for (rule, hosts) in rules {
                if hosts.is_empty() {
                    self.refuse_every_host(&route);
                }
                for path in &rule.http.paths {
                    let matched = self.ingress_path(&route, path);
                    self.rules.push(RouteRule {
                        hosts: hosts.clone(),
                        is_certain: !matches!(matched, RoutePath::Unknown),
                        path: matched,
                        services: service(&path.backend),
                        ..base.clone()
                    });
                }
            }
            if ingress.spec.default_backend.is_some() {
                self.with_every_host.insert(key.namespace.clone());
                self.refuse_every_host(&route);
            }
        }
    }

    /// Returns the rules of a route with everything but their own conditions, one for each listener that serves the route.
    fn bases(
        &mut self,
        state: &State,
        route: RouteId,
        metadata: &Metadata,
        status: &RouteStatus,
        parents: &[ParentRef],
        hostnames: &[String],
    ) -> Vec<RouteRule> {
        let listening = Listening::new(state, metadata, parents, status);
        let Some(own) = self.hosts(&route, hostnames.iter()) else {
            return Vec::new();
        };
        self.name_hosts(&route.key.namespace, &own);
        if !listening.0.is_empty() {
            self.served.insert(route.clone());
        }
        for parent in &status.parents {
            let gateway = parent.parent_ref.gateway(&route.key.namespace);
            let name = parent.controller_name.clone();
            self.controllers.insert(format!("Gateway {gateway}"), name);
        }
        let shared = Arc::new(route.clone());
        let created = created(metadata);
        let bases = listening.0.iter().filter_map(|(gateway, listener, host)| {
            Some(RouteRule {
                hosts: intersect(&own, host.as_ref())?,
                route: Arc::clone(&shared),
                created: Arc::clone(&created),
                section: None,
                path: RoutePath::Any,
                method: None,
                is_certain: true,
                proxy: format!("Gateway {gateway}").into(),
                is_single_label: false,
                services: Vec::new(),
                listener: Some(Arc::new((gateway.clone(), listener.clone()))),
            })
        });
        let bases: Vec<RouteRule> = bases.collect();
        if bases.iter().any(|base| base.hosts.is_empty()) {
            self.refuse_every_host(&route);
        }
        bases
    }

    /// Records that a route serves every host. Its policies do not apply there: otherwise, one team could limit the hosts of
    /// all others.
    fn refuse_every_host(&mut self, route: &RouteId) {
        let problem = "a part of it serves every host; name the hosts";
        self.refuse(route, problem.to_owned());
    }

    /// Records what Curfew cannot represent of a route.
    fn refuse(&mut self, route: &RouteId, problem: String) {
        self.unknown.insert(route.clone(), problem);
    }

    /// Parses hosts. `None` if there are hosts, and all of them are invalid.
    fn hosts<'a>(
        &mut self,
        route: &RouteId,
        names: impl Iterator<Item = &'a String>,
    ) -> Option<Vec<HostPattern>> {
        let names: Vec<&String> = names.collect();
        let mut hosts = Vec::new();
        for name in &names {
            match HostPattern::parse(name) {
                Ok(host) => hosts.push(host),
                Err(error) => self.refuse(route, format!("host {name:?} {error}")),
            }
        }
        (names.is_empty() || !hosts.is_empty()).then_some(hosts)
    }

    fn ingress_path(&mut self, route: &RouteId, path: &IngressPath) -> RoutePath {
        let text = path.path.as_deref().unwrap_or("/");
        match path.path_type.as_str() {
            "Exact" => self.pattern(route, text, PathPattern::exact),
            "Prefix" => self.pattern(route, text, PathPattern::prefix),
            // Each controller reads such a path in its own way.
            _ if text == "/" => RoutePath::Any,
            kind => {
                let problem = format!(
                    "the path {text:?} has the type {kind:?}, which each controller reads in its own way"
                );
                self.refuse(route, problem);
                RoutePath::Unknown
            }
        }
    }

    fn http_path(&mut self, route: &RouteId, path: Option<&HttpPathMatch>) -> RoutePath {
        let Some(path) = path else {
            return RoutePath::Any;
        };
        let text = path.value.as_deref().unwrap_or("/");
        match path.kind.as_deref().unwrap_or("PathPrefix") {
            "Exact" => self.pattern(route, text, PathPattern::exact),
            "PathPrefix" => self.pattern(route, text, PathPattern::prefix),
            kind => {
                let problem = format!("the path {text:?} has the type {kind:?}");
                self.refuse(route, problem);
                RoutePath::Unknown
            }
        }
    }

    fn grpc_path(&mut self, route: &RouteId, method: Option<&GrpcMethodMatch>) -> RoutePath {
        let Some(method) = method else {
            return RoutePath::Any;
        };
        let is_exact = method.kind.as_deref().unwrap_or("Exact") == "Exact";
        match (is_exact, &method.service, &method.method) {
            (true, Some(service), Some(name)) => {
                self.pattern(route, &format!("/{service}/{name}"), PathPattern::exact)
            }
            (true, Some(service), None) => {
                self.pattern(route, &format!("/{service}"), PathPattern::prefix)
            }
            (true, None, Some(name)) => {
                self.pattern(route, &format!("/*/{name}"), PathPattern::glob)
            }
            (true, None, None) => RoutePath::Any,
            (false, ..) => {
                let problem = "a method is a regular expression".to_owned();
                self.refuse(route, problem);
                RoutePath::Unknown
            }
        }
    }

    fn pattern(
        &mut self,
        route: &RouteId,
        text: &str,
        parse: fn(&str) -> Result<PathPattern, crate::policy::PathPatternError>,
    ) -> RoutePath {
        match parse(text) {
            Ok(PathPattern::Prefix(path)) if path.is_empty() => RoutePath::Any,
            Ok(pattern) => RoutePath::Pattern(pattern),
            Err(error) => {
                self.refuse(route, format!("the path {text:?}: {error}"));
                RoutePath::Unknown
            }
        }
    }
}

/// The time of the creation. An object of a file has none yet, so it will be the newest.
fn created(metadata: &Metadata) -> Arc<str> {
    match &*metadata.creation_timestamp {
        "" => "9999".into(),
        created => created.into(),
    }
}

fn services(route: &ObjectKey, backends: &[Backend]) -> Vec<ObjectKey> {
    let services = backends
        .iter()
        .filter(|backend| backend.kind.as_deref().unwrap_or("Service") == "Service");
    let keys = services.map(|backend| {
        let namespace = backend.namespace.as_ref().unwrap_or(&route.namespace);
        ObjectKey::new(namespace, &backend.name)
    });
    keys.collect()
}

/// The listeners of Gateways that serve a route, each with its host; `None` for a listener that serves every host.
struct Listening(Vec<(ObjectKey, String, Option<HostPattern>)>);

impl Listening {
    /// Finds the listeners. A Gateway serves a route if it says that it has accepted the route.
    fn new(state: &State, route: &Metadata, parents: &[ParentRef], status: &RouteStatus) -> Self {
        let key = |parent: &ParentRef| parent.gateway(&route.namespace);
        let is_accepted = |parent: &ParentRef| {
            status.parents.iter().any(|it| {
                key(&it.parent_ref) == key(parent)
                    && it.parent_ref.section_name == parent.section_name
                    && it
                        .conditions
                        .iter()
                        .any(|condition| condition.kind == "Accepted" && condition.status == "True")
            })
        };
        let mut found = Vec::new();
        for parent in parents {
            let is_gateway = parent.kind.as_deref().unwrap_or("Gateway") == "Gateway";
            if !is_gateway || !is_accepted(parent) {
                continue;
            }
            let gateway = key(parent);
            let Some(object) = state.gateways.get(&gateway) else {
                continue;
            };
            for listener in &object.spec.listeners {
                if parent
                    .section_name
                    .as_ref()
                    .is_some_and(|name| *name != listener.name)
                {
                    continue;
                }
                // A host that Curfew cannot parse counts as every host.
                let host = listener.hostname.as_ref();
                let host = host.and_then(|host| HostPattern::parse(host).ok());
                found.push((gateway.clone(), listener.name.clone(), host));
            }
        }
        Self(found)
    }
}

/// Returns the hosts that both a route and a listener serve. `None` if there are none. An empty list stands for all hosts.
fn intersect(route: &[HostPattern], listener: Option<&HostPattern>) -> Option<Vec<HostPattern>> {
    let Some(listener) = listener else {
        return Some(route.to_vec());
    };
    if route.is_empty() {
        return Some(vec![listener.clone()]);
    }
    let both = route.iter().filter_map(|host| host.intersection(listener));
    let both: Vec<HostPattern> = both.collect();
    (!both.is_empty()).then_some(both)
}
