//! The report for auditors: which routes of the cluster send checks.

use std::collections::{BTreeMap, HashMap};

use http::Method;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::claims::{Claims, path_name};
use crate::compile::id;
use crate::duration::format_duration;
use crate::policy::{CheckTimes, Contract, HostPattern, PathPattern, RequestTarget, RouteIndex};
use crate::routes::{RouteId, RoutePath, RouteRule, Routes};
use crate::state::State;
use crate::status::EffectiveLimit;

/// What Curfew knows about the checks of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouteState {
    /// No check has arrived since the observation began.
    NoCheck,
    /// Curfew cannot tell: a check arrived that can be for this route or for another one.
    Uncertain,
    /// Curfew cannot tell: the route serves every host.
    EveryHost,
    /// A route of another namespace holds the host and the path.
    Conflicted,
    /// No controller serves the route, so no traffic reaches it through a proxy that Curfew knows.
    NotServed,
    /// A check has arrived that can only be for this route.
    Checked,
}

impl RouteState {
    /// All states, in the order of the report.
    pub const ALL: [Self; 6] = [
        Self::NoCheck,
        Self::Uncertain,
        Self::EveryHost,
        Self::Conflicted,
        Self::NotServed,
        Self::Checked,
    ];

    /// The name in the report.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCheck => "no_check",
            Self::Uncertain => "uncertain",
            Self::EveryHost => "every_host",
            Self::Conflicted => "conflicted",
            Self::NotServed => "not_served",
            Self::Checked => "checked",
        }
    }
}

/// The report on the routes of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct RouteReport {
    /// When the observation began, in RFC 3339. A route without checks has sent none since then.
    pub since: String,
    /// All routes, those without checks first.
    pub routes: Vec<AuditedRoute>,
}

/// A rule of a route and one of its hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct AuditedRoute {
    /// The object, such as `Ingress team-crm/crm`.
    pub route: String,
    /// The host; `*` for every host.
    pub host: String,
    /// The path, as a pattern; absent for a path that Curfew cannot represent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The method; absent for every method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The proxy: a class of Ingresses or a Gateway; absent if no controller serves the route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// What Curfew knows about its checks.
    pub state: RouteState,
    /// The minute of the last check, in RFC 3339; absent without checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_check: Option<String>,
    /// The limits for requests of the route: `idle`, `absolute` and `maxAuthAge`, if an object sets them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<&'static str, EffectiveLimit>,
    /// The route that holds the host and the path instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
    /// How to send checks from this proxy; only for a route without checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attach: Option<&'static str>,
}

/// Returns what is known about the checks of each route, the routes without checks first. `index` has the times of the
/// checks.
#[must_use]
pub fn audit(state: &State, index: &RouteIndex) -> Vec<AuditedRoute> {
    let routes = Routes::of(state);
    let claims = Claims::new(&routes.rules);
    let times = index.checks().map(|checks| (checks.id, checks.times()));
    let times: HashMap<u64, CheckTimes> = times.collect();
    let mut all = Vec::new();
    for rule in &routes.rules {
        if rule.hosts.is_empty() {
            all.push(audited(&routes, rule, None, RouteState::EveryHost, 0));
        }
        for host in &rule.hosts {
            let times = times.get(&id(rule, host)).copied().unwrap_or_default();
            let holder = claims.other_holder(rule, host);
            let state = if holder.is_some() {
                RouteState::Conflicted
            } else if times.certain > 0 {
                RouteState::Checked
            } else if times.possible > 0 {
                RouteState::Uncertain
            } else {
                RouteState::NoCheck
            };
            let last = times.certain.max(times.possible);
            let mut route = audited(&routes, rule, Some(host), state, last);
            route.held_by = holder;
            route.limits = limits(index, rule, host);
            all.push(route);
        }
    }
    let ids = state.ingresses.keys().map(|key| ("Ingress", key));
    let ids = ids.chain(state.http_routes.keys().map(|key| ("HTTPRoute", key)));
    let ids = ids.chain(state.grpc_routes.keys().map(|key| ("GRPCRoute", key)));
    let ids = ids.map(|(kind, key)| RouteId::new(kind, key));
    let not_served = ids.filter(|id| !routes.served.contains(id));
    all.extend(not_served.map(|id| AuditedRoute {
        route: id.to_string(),
        host: "*".to_owned(),
        path: None,
        method: None,
        proxy: None,
        state: RouteState::NotServed,
        last_check: None,
        limits: BTreeMap::new(),
        held_by: None,
        attach: None,
    }));
    let key = |it: &AuditedRoute| {
        let path = it.path.clone();
        (
            it.state,
            it.route.clone(),
            it.host.clone(),
            path,
            it.method.clone(),
            it.proxy.clone(),
        )
    };
    all.sort_by_cached_key(key);
    // Listeners of a Gateway, and rules that differ only in headers, are one line.
    all.dedup();
    all
}

fn audited(
    routes: &Routes,
    rule: &RouteRule,
    host: Option<&HostPattern>,
    state: RouteState,
    last: u32,
) -> AuditedRoute {
    let needs_check = matches!(state, RouteState::NoCheck | RouteState::Uncertain);
    let controller = routes.controllers.get(&*rule.proxy);
    AuditedRoute {
        route: rule.route.to_string(),
        host: host.map_or_else(|| "*".to_owned(), ToString::to_string),
        path: path_name(&rule.path).map(Into::into),
        method: rule.method.as_ref().map(ToString::to_string),
        proxy: Some(rule.proxy.to_string()),
        state,
        last_check: (last > 0).then(|| CheckTimes::time(last).to_rfc3339_seconds()),
        limits: BTreeMap::new(),
        held_by: None,
        attach: needs_check.then(|| attach(controller.map_or("", |it| it))),
    }
}

/// The limits for a typical request of a rule.
fn limits(
    index: &RouteIndex,
    rule: &RouteRule,
    host: &HostPattern,
) -> BTreeMap<&'static str, EffectiveLimit> {
    let host = host.to_string().replacen('*', "any", 1);
    let path = match &rule.path {
        RoutePath::Pattern(PathPattern::Exact(path)) => path.clone(),
        RoutePath::Pattern(PathPattern::Prefix(path)) => path.clone() + "/",
        RoutePath::Pattern(_) | RoutePath::Any | RoutePath::Unknown => "/".to_owned(),
    };
    let target = RequestTarget {
        host: &host,
        path: path.as_bytes(),
        method: rule.method.as_ref().unwrap_or(&Method::GET),
        contract: Contract::ForwardAuth,
    };
    let Some(terms) = index.find(&target.normalize()) else {
        return BTreeMap::new();
    };
    let limits = [
        ("idle", &terms.idle),
        ("absolute", &terms.absolute),
        ("maxAuthAge", &terms.max_auth_age),
    ];
    let limits = limits.into_iter().filter_map(|(name, limit)| {
        let limit = limit.as_ref()?;
        let in_force = EffectiveLimit {
            value: format_duration(limit.value),
            from: limit.from.to_string(),
        };
        Some((name, in_force))
    });
    limits.collect()
}

/// How to send checks from a proxy, by the name of its controller.
fn attach(controller: &str) -> &'static str {
    const KNOWN: [(&str, &str); 9] = [
        (
            "ingress-nginx",
            "ConfigMap of ingress-nginx: global-auth-url; or the annotation nginx.ingress.kubernetes.io/auth-url",
        ),
        (
            "traefik.io/gateway",
            "Traefik: a ForwardAuth middleware at the entry point, or an ExtensionRef filter of the route",
        ),
        (
            "traefik",
            "Traefik: a ForwardAuth middleware at the entry point, or the annotation traefik.ingress.kubernetes.io/router.middlewares",
        ),
        (
            "gateway.envoyproxy.io",
            "Envoy Gateway: a SecurityPolicy with extAuth for the Gateway",
        ),
        (
            "istio.io",
            "Istio: an AuthorizationPolicy with the action CUSTOM in the root namespace",
        ),
        (
            "haproxy-ingress",
            "haproxy-ingress: auth-url in its ConfigMap, or the annotation haproxy-ingress.github.io/auth-url",
        ),
        (
            "gateway.nginx.org",
            "NGINX Gateway Fabric: the filter ExternalAuth of the route",
        ),
        (
            "projectcontour.io",
            "Contour: globalExtAuth in its configuration",
        ),
        (
            "nginx",
            "the directive auth_request, through the configuration of this controller",
        ),
    ];
    let found = KNOWN.iter().find(|(name, _)| controller.contains(name));
    found.map_or(
        "the external authorization of this controller",
        |(_, attach)| attach,
    )
}

#[cfg(test)]
mod tests;
