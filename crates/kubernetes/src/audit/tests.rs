use crate::compile::tests::{compile, state};
use crate::policy::{Contract, RequestTarget};
use crate::session::Timestamp;
use crate::{RouteState, audit};

const CLUSTER: &str = "
{kind: IngressClass, metadata: {name: nginx}, spec: {controller: k8s.io/ingress-nginx}}
---
{kind: Namespace, metadata: {name: crm}}
---
{kind: Namespace, metadata: {name: shop}}
---
kind: Ingress
metadata: {name: crm, namespace: crm, creationTimestamp: '2026-01-01T00:00:00Z'}
spec:
  ingressClassName: nginx
  rules:
  - host: crm.example.com
    http: {paths: [
      {path: /, pathType: Prefix, backend: {service: {name: web}}},
      {path: /api, pathType: Prefix, backend: {service: {name: api}}}]}
---
kind: Ingress
metadata: {name: claim, namespace: shop, creationTimestamp: '2026-02-01T00:00:00Z'}
spec:
  ingressClassName: nginx
  rules: [{host: crm.example.com, http: {paths: [{path: /, pathType: Prefix}]}}]
---
kind: Ingress
metadata: {name: everywhere, namespace: shop, creationTimestamp: '2026-02-01T00:00:00Z'}
spec:
  ingressClassName: nginx
  rules: [{http: {paths: [{path: /, pathType: Prefix}]}}]
---
kind: Ingress
metadata: {name: nowhere, namespace: shop, creationTimestamp: '2026-02-01T00:00:00Z'}
spec:
  ingressClassName: missing
  rules: [{host: nowhere.example.com, http: {paths: [{path: /, pathType: Prefix}]}}]
---
kind: Gateway
metadata: {name: edge, namespace: infra}
spec: {listeners: [{name: https, hostname: '*.example.com'}, {name: http}]}
---
kind: HTTPRoute
metadata: {name: web, namespace: shop, creationTimestamp: '2026-01-01T00:00:00Z'}
spec:
  parentRefs: [{name: edge, namespace: infra}]
  hostnames: [shop.example.com]
  rules:
  - matches: [{path: {value: /beta}, headers: [{name: x-beta}]}]
  - {}
status:
  parents:
  - parentRef: {name: edge, namespace: infra}
    controllerName: gateway.envoyproxy.io/gatewayclass-controller
    conditions: [{type: Accepted, status: 'True'}]
";

#[test]
fn the_report_says_for_each_route_what_is_known() {
    use RouteState::{Checked, Conflicted, EveryHost, NoCheck, NotServed, Uncertain};
    let state = state(CLUSTER);
    let compiled = compile(&state);
    for (host, path) in [
        ("crm.example.com", "/api/x"),
        ("shop.example.com", "/beta/x"),
    ] {
        let target = RequestTarget {
            host,
            path: path.as_bytes(),
            method: &http::Method::GET,
            contract: Contract::ForwardAuth,
        };
        let _ = compiled
            .index
            .find_and_record(&target.normalize(), 29_833_920);
    }
    let report = audit(&state, &compiled.index);
    let found = report.iter().map(|it| {
        let path = it.path.clone().unwrap_or_default();
        (it.state, it.route.as_str(), format!("{}{path}", it.host))
    });
    let expected = [
        (NoCheck, "Ingress crm/crm", "crm.example.com/…"),
        // The request can belong to both, because Curfew does not know the header.
        (Uncertain, "HTTPRoute shop/web", "shop.example.com/beta/…"),
        (Uncertain, "HTTPRoute shop/web", "shop.example.com/…"),
        (EveryHost, "Ingress shop/everywhere", "*/…"),
        (Conflicted, "Ingress shop/claim", "crm.example.com/…"),
        (NotServed, "Ingress shop/nowhere", "*"),
        (Checked, "Ingress crm/crm", "crm.example.com/api/…"),
    ];
    let expected = expected.map(|(state, route, target)| (state, route, target.to_owned()));
    assert_eq!(found.collect::<Vec<_>>(), expected, "{report:#?}");
    let attach = report[0].attach.unwrap();
    assert!(
        attach.contains("nginx.ingress.kubernetes.io/auth-url"),
        "{attach}"
    );
    let attach = report[2].attach.unwrap();
    assert!(attach.starts_with("Envoy Gateway"), "{attach}");
    assert_eq!(report[4].held_by.as_deref(), Some("Ingress crm/crm"));
    let last = report.last().unwrap();
    assert_eq!(
        (last.attach, last.last_check.as_deref()),
        (None, Some("2026-09-22T00:00:00Z"))
    );
}

#[test]
fn the_records_of_checks_survive_a_change_of_the_cluster() {
    let before = compile(&state(CLUSTER));
    let target = RequestTarget {
        host: "crm.example.com",
        path: b"/api",
        method: &http::Method::GET,
        contract: Contract::ForwardAuth,
    };
    let _ = before.index.find_and_record(&target.normalize(), 9);
    let changed = CLUSTER.replace("name: api", "name: other");
    let changed = state(&changed);
    let after = crate::compile(
        &changed,
        crate::Context {
            before: &before.index,
            since: Timestamp::default(),
            cookie_domain: None,
        },
    )
    .unwrap();
    let report = audit(&changed, &after.index);
    let checked = report.iter().filter(|it| it.state == RouteState::Checked);
    assert_eq!(checked.count(), 1);
}
