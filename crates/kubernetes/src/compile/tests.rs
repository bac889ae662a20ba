//! Tables over every form of route, with manifests as users write them.

use std::time::Duration;

use http::Method;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::policy::{Contract, RequestTarget};
use crate::status::Condition;

pub(crate) fn compile(state: &State) -> Compiled {
    compile_alone(state).unwrap()
}

/// Adds the objects of a YAML stream to a state.
fn apply(state: &mut State, yaml: &str) {
    let skipped = state.read(yaml).unwrap();
    assert!(skipped.is_empty(), "{skipped:?}");
}

pub(crate) fn state(yaml: &str) -> State {
    let mut state = State::default();
    apply(&mut state, yaml);
    state
}

fn find(compiled: &Compiled, method: &str, host: &str, path: &str) -> Option<Arc<RouteTerms>> {
    let method = method.parse::<Method>().unwrap();
    let target = RequestTarget {
        host,
        path: path.as_bytes(),
        method: &method,
        contract: Contract::ForwardAuth,
    };
    compiled.index.find(&target.normalize())
}

/// Returns the idle limit of a GET request in minutes, and the object that sets it.
fn idle(compiled: &Compiled, host: &str, path: &str) -> Option<(u64, String)> {
    let terms = find(compiled, "GET", host, path)?;
    let limit = terms.idle.as_ref()?;
    Some((limit.value.as_secs() / 60, limit.from.to_string()))
}

fn minutes(compiled: &Compiled, host: &str, path: &str) -> Option<u64> {
    idle(compiled, host, path).map(|(minutes, _)| minutes)
}

fn accepted<'a>(compiled: &'a Compiled, namespace: &str, name: &str) -> &'a Condition {
    &compiled.session_policies[&ObjectKey::new(namespace, name)].ancestors[0].conditions[0]
}

/// Returns the properties of `spec` in the definition of a kind.
fn defined_properties(kind: &str) -> Vec<(String, Value)> {
    let text = include_str!("../../../../deploy/kubernetes/components/policies/crds.yaml");
    let documents = yaml_rust2::YamlLoader::load_from_str(text).unwrap();
    let mut definitions = documents.iter().map(crate::read::to_json);
    let definition = definitions
        .find(|it| it["spec"]["names"]["kind"] == kind)
        .unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let properties = schema["properties"]["spec"]["properties"]
        .as_object()
        .unwrap();
    properties.clone().into_iter().collect()
}

/// Returns a value of a schema.
fn sample(name: &str, schema: &Value) -> Value {
    match schema["type"].as_str().unwrap() {
        "string" => match &schema["enum"][1] {
            Value::String(word) => word.clone().into(),
            _ if name == "idle" || name == "absolute" || name == "maxAuthAge" => "5m".into(),
            _ => "x".into(),
        },
        "array" => Value::Array(vec![sample(name, &schema["items"])]),
        "object" => {
            let properties = schema["properties"].as_object().into_iter().flatten();
            let properties = properties.map(|(name, schema)| (name.clone(), sample(name, schema)));
            let mut object: serde_json::Map<_, _> = properties.collect();
            if object.is_empty() {
                object.insert("key".to_owned(), "value".into());
            }
            Value::Object(object)
        }
        "integer" => 5.into(),
        other => unreachable!("{other}"),
    }
}

#[test]
fn every_field_of_the_definitions_is_read() {
    for (name, schema) in defined_properties("SessionPolicy") {
        let spec: crate::SessionPolicySpec =
            serde_json::from_value(serde_json::json!({ &*name: sample(&name, &schema) })).unwrap();
        assert_ne!(spec, crate::SessionPolicySpec::default(), "{name}");
    }
    for (name, schema) in defined_properties("ClusterSessionPolicy") {
        let spec: crate::ClusterSessionPolicySpec =
            serde_json::from_value(serde_json::json!({ &*name: sample(&name, &schema) })).unwrap();
        assert_ne!(spec, crate::ClusterSessionPolicySpec::default(), "{name}");
        let (_, mistakes) = spec.parse();
        assert_eq!(mistakes, [""; 0], "{name}");
    }
    let bounds = defined_properties("ClusterSessionPolicy");
    let (_, standards) = bounds.iter().find(|(name, _)| name == "standards").unwrap();
    let names = standards["items"]["enum"].as_array().unwrap().iter();
    let names: Vec<&str> = names.map(|name| name.as_str().unwrap()).collect();
    assert_eq!(names, crate::policy::Preset::ALL.map(|preset| preset.name));
    {}
}

const CLASSES: &str = "
{kind: IngressClass, metadata: {name: nginx}, spec: {controller: k8s.io/ingress-nginx}}
---
{kind: Namespace, metadata: {name: crm, labels: {scope: pci}}}
---
{kind: Namespace, metadata: {name: shop}}
---
";

/// An Ingress of the namespace `crm`, and a policy for it.
const CRM: &str = "
kind: Ingress
metadata: {name: crm, namespace: crm, creationTimestamp: '2026-01-02T00:00:00Z'}
spec:
  ingressClassName: nginx
  rules:
  - host: crm.example.com
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: crm}}}
      - {path: /admin, pathType: Prefix, backend: {service: {name: admin}}}
      - {path: /health, pathType: Exact, backend: {service: {name: crm}}}
---
kind: SessionPolicy
metadata: {name: crm, namespace: crm}
spec:
  targetRefs: [{group: networking.k8s.io, kind: Ingress, name: crm}]
  idle: 30m
  requireGroups: [crm-users]
---
";

#[test]
fn an_ingress_gets_the_limits_of_its_policy_its_services_and_its_namespace() {
    let yaml = format!(
        "{CLASSES}{CRM}
kind: Service
metadata: {{name: admin, namespace: crm, annotations: {{curfew.dev/idle: 5m}}}}
---
kind: Service
metadata: {{name: admin, namespace: shop, annotations: {{curfew.dev/idle: 1m}}}}"
    );
    let mut objects = state(&yaml);
    let compiled = compile(&objects);
    for (path, expected) in [
        ("/", 30),
        ("/x/y", 30),
        ("/admin", 5),
        ("/admin/x", 5),
        ("/administrator", 30),
        ("/health", 30),
    ] {
        assert_eq!(
            minutes(&compiled, "crm.example.com", path),
            Some(expected),
            "{path}"
        );
    }
    assert_eq!(minutes(&compiled, "other.example.com", "/"), None);
    assert_eq!(
        idle(&compiled, "crm.example.com", "/admin").unwrap().1,
        "Service crm/admin (annotation)"
    );
    let groups = &find(&compiled, "GET", "crm.example.com", "/")
        .unwrap()
        .groups;
    assert_eq!(groups.first().unwrap().value, ["crm-users"]);
    assert!(accepted(&compiled, "crm", "crm").status);
    let namespace = objects
        .namespaces
        .get_mut(&ObjectKey::new("", "crm"))
        .unwrap();
    namespace
        .metadata
        .annotations
        .insert("curfew.dev/idle".to_owned(), "2m".to_owned());
    let compiled = compile(&objects);
    assert_eq!(minutes(&compiled, "crm.example.com", "/admin"), Some(2));
}

#[test]
fn only_routes_that_a_proxy_serves_count() {
    for (class, is_served) in [("nginx", true), ("missing", false)] {
        let yaml = format!("{CLASSES}{CRM}").replace(
            "ingressClassName: nginx",
            &format!("ingressClassName: {class}"),
        );
        let compiled = compile(&state(&yaml));
        assert_eq!(
            minutes(&compiled, "crm.example.com", "/").is_some(),
            is_served,
            "{class}"
        );
        assert_eq!(
            accepted(&compiled, "crm", "crm").status,
            is_served,
            "{class}"
        );
    }
    let without_class = format!("{CLASSES}{CRM}").replace("  ingressClassName: nginx\n", "");
    let mut objects = state(&without_class);
    assert_eq!(minutes(&compile(&objects), "crm.example.com", "/"), None);
    let class = objects
        .ingress_classes
        .get_mut(&ObjectKey::new("", "nginx"))
        .unwrap();
    let default = crate::objects::DEFAULT_CLASS.to_owned();
    class
        .metadata
        .annotations
        .insert(default, "true".to_owned());
    assert_eq!(
        minutes(&compile(&objects), "crm.example.com", "/"),
        Some(30)
    );
}

/// A Gateway with one listener, a route that the Gateway has accepted, and a policy for the route.
fn gateway(listener_host: &str, route: &str) -> String {
    format!(
        "
kind: Gateway
metadata: {{name: edge, namespace: infra}}
spec: {{listeners: [{{name: web{listener_host}}}]}}
---
{route}
---
kind: SessionPolicy
metadata: {{name: limits, namespace: crm}}
spec: {{targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: app}}], idle: 10m}}
"
    )
}

fn http_route(hosts: &str, rules: &str) -> String {
    format!(
        "
kind: HTTPRoute
metadata: {{name: app, namespace: crm, creationTimestamp: '2026-01-02T00:00:00Z'}}
spec:
  parentRefs: [{{name: edge, namespace: infra}}]
  hostnames: {hosts}
  rules: {rules}
status:
  parents:
  - parentRef: {{name: edge, namespace: infra}}
    conditions: [{{type: Accepted, status: 'True'}}]"
    )
}

#[test]
fn the_hosts_of_a_route_are_those_that_a_listener_serves_too() {
    for (listener, route, host, is_found) in [
        ("", "[a.example.com]", "a.example.com", true),
        ("", "[a.example.com]", "b.example.com", false),
        // A team must not limit the hosts of all others.
        ("", "[]", "anything.example", false),
        (", hostname: '*.example.com'", "[]", "a.example.com", true),
        (", hostname: '*.example.com'", "[]", "example.org", false),
        (
            ", hostname: '*.example.com'",
            "[a.example.com, a.example.org]",
            "a.example.com",
            true,
        ),
        (
            ", hostname: '*.example.com'",
            "[a.example.com, a.example.org]",
            "a.example.org",
            false,
        ),
        (
            ", hostname: '*.example.com'",
            "['*.b.example.com']",
            "a.b.example.com",
            true,
        ),
        (
            ", hostname: '*.b.example.com'",
            "['*.example.com']",
            "a.b.example.com",
            true,
        ),
        (
            ", hostname: '*.b.example.com'",
            "['*.example.com']",
            "c.example.com",
            false,
        ),
        (
            ", hostname: a.example.com",
            "['*.example.com']",
            "a.example.com",
            true,
        ),
        (
            ", hostname: a.example.com",
            "['*.example.com']",
            "b.example.com",
            false,
        ),
        (
            ", hostname: a.example.com",
            "[b.example.com]",
            "b.example.com",
            false,
        ),
    ] {
        let compiled = compile(&state(&gateway(listener, &http_route(route, "[{}]"))));
        assert_eq!(
            minutes(&compiled, host, "/"),
            is_found.then_some(10),
            "{listener} {route} {host}"
        );
    }
}

#[test]
fn a_route_counts_only_if_its_gateway_has_accepted_it() {
    for (from, to) in [
        ("status: 'True'", "status: 'False'"),
        ("type: Accepted", "type: ResolvedRefs"),
        (
            "  - parentRef: {name: edge, namespace: infra}",
            "  - parentRef: {name: other, namespace: infra}",
        ),
        ("kind: Gateway\n", "kind: Namespace\n"),
    ] {
        let yaml = gateway("", &http_route("[a.example.com]", "[{}]"));
        assert!(yaml.contains(from), "{from}");
        let compiled = compile(&state(&yaml.replacen(from, to, 1)));
        assert_eq!(minutes(&compiled, "a.example.com", "/"), None, "{to}");
        assert_eq!(
            accepted(&compiled, "crm", "limits").reason,
            "TargetNotFound",
            "{to}"
        );
    }
}

#[test]
fn a_route_with_conditions_on_headers_could_match() {
    let rules = "
  - matches: [{path: {type: PathPrefix, value: /api}, headers: [{name: x-canary}]}]
    backendRefs: [{name: canary}]
  - matches: [{path: {type: PathPrefix, value: /api}}]
    backendRefs: [{name: stable}]
  - matches: [{path: {type: Exact, value: /api/v1}, method: POST}]
    backendRefs: [{name: writer}]
  - backendRefs: [{name: web}]";
    let services = [("canary", 3), ("stable", 7), ("writer", 1), ("web", 9)];
    let services: String = services
        .iter()
        .map(|(name, idle)| {
            format!("\n---\nkind: Service\nmetadata: {{name: {name}, namespace: crm, annotations: {{curfew.dev/idle: {idle}m}}}}")
        })
        .collect();
    let yaml = gateway("", &http_route("[a.example.com]", rules)) + &services;
    let compiled = compile(&state(&yaml));
    let value = |method, path| {
        let terms = find(&compiled, method, "a.example.com", path).unwrap();
        terms.idle.as_ref().unwrap().value.as_secs() / 60
    };
    // The tightest of the candidates: the canary could get the request.
    assert_eq!(value("GET", "/api/x"), 3);
    assert_eq!(value("POST", "/api/v1"), 1);
    assert_eq!(value("GET", "/api/v1"), 3);
    assert_eq!(value("GET", "/x"), 9);
}

#[test]
fn what_curfew_cannot_represent_gets_the_tightest_of_the_namespace() {
    let rules = "[{matches: [{path: {type: RegularExpression, value: '/a[0-9]+'}}]}, {matches: [{path: {value: /b}}]}]";
    let other = "
---
kind: SessionPolicy
metadata: {name: other, namespace: crm}
spec: {targetRefs: [{group: '', kind: Service, name: none}], idle: 2m}";
    let yaml = gateway("", &http_route("[a.example.com]", rules)) + other;
    let compiled = compile(&state(&yaml));
    for path in ["/a1", "/b", "/c"] {
        assert_eq!(minutes(&compiled, "a.example.com", path), Some(2), "{path}");
    }
    let condition = accepted(&compiled, "crm", "limits");
    assert_eq!((condition.status, condition.reason), (false, "Invalid"));
    assert!(
        condition.message.contains("RegularExpression"),
        "{}",
        condition.message
    );
}

#[test]
fn grpc_routes_match_services_and_methods() {
    let route = http_route(
        "[a.example.com]",
        "
  - {name: one, matches: [{method: {service: shop.Cart, method: Add}}], backendRefs: [{name: add}]}
  - {matches: [{method: {service: shop.Cart}}], backendRefs: [{name: cart}]}
  - {matches: [{method: {method: Watch}}], backendRefs: [{name: watch}]}",
    )
    .replace("kind: HTTPRoute", "kind: GRPCRoute");
    let services = "
---
{kind: Service, metadata: {name: add, namespace: crm, annotations: {curfew.dev/idle: 1m}}}
---
{kind: Service, metadata: {name: cart, namespace: crm, annotations: {curfew.dev/idle: 2m}}}
---
{kind: Service, metadata: {name: watch, namespace: crm, annotations: {curfew.dev/idle: 3m}}}";
    let yaml = gateway("", &route).replace(
        "kind: HTTPRoute, name: app",
        "kind: GRPCRoute, name: app, sectionName: one",
    );
    let compiled = compile(&state(&(yaml + services)));
    for (path, expected) in [
        ("/shop.Cart/Add", Some(1)),
        ("/shop.Cart/List", Some(2)),
        ("/shop.Other/Watch", Some(3)),
        ("/shop.Other/List", None),
    ] {
        assert_eq!(
            minutes(&compiled, "a.example.com", path),
            expected,
            "{path}"
        );
    }
    assert!(accepted(&compiled, "crm", "limits").status);
}

#[test]
fn a_policy_can_name_a_rule_or_a_listener() {
    let rules = "[{name: admin, matches: [{path: {value: /admin}}]}, {name: rest}]";
    let yaml = gateway("", &http_route("[a.example.com]", rules))
        .replace("name: app}]", "name: app, sectionName: admin}]");
    let compiled = compile(&state(&yaml));
    assert_eq!(minutes(&compiled, "a.example.com", "/admin"), Some(10));
    assert_eq!(minutes(&compiled, "a.example.com", "/x"), None);
    let missing = yaml.replace("sectionName: admin", "sectionName: nothing");
    assert_eq!(
        accepted(&compile(&state(&missing)), "crm", "limits").reason,
        "TargetNotFound"
    );
    let of_gateway = "
---
kind: SessionPolicy
metadata: {name: edge, namespace: infra}
spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge, sectionName: web}], idle: 4m}
---
kind: SessionPolicy
metadata: {name: foreign, namespace: crm}
spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}], idle: 1m}";
    let compiled = compile(&state(&(yaml + of_gateway)));
    assert_eq!(minutes(&compiled, "a.example.com", "/x"), Some(4));
    // A policy reaches only objects of its own namespace.
    assert_eq!(
        accepted(&compiled, "crm", "foreign").reason,
        "TargetNotFound"
    );
}

const CORPORATE: &str = "
kind: ClusterSessionPolicy
metadata: {name: corporate}
spec:
  namespaceSelector: {matchLabels: {scope: pci}}
  ceiling: {idle: 15m}
  floor: {idle: 2m}
  defaults: {absolute: 8h}
  forbid: [PublicRules, StreamActivity]
---
";

#[test]
fn a_ceiling_clamps_and_the_status_says_so() {
    let compiled = compile(&state(&format!("{CLASSES}{CRM}{CORPORATE}")));
    assert_eq!(
        idle(&compiled, "crm.example.com", "/").unwrap(),
        (15, "ClusterSessionPolicy corporate".to_owned())
    );
    let terms = find(&compiled, "GET", "crm.example.com", "/").unwrap();
    assert_eq!(
        terms.absolute.as_ref().unwrap().value,
        Duration::from_secs(8 * 3600)
    );
    assert_eq!(
        terms.forbids_public.as_deref(),
        Some("ClusterSessionPolicy corporate")
    );
    let status = &compiled.session_policies[&ObjectKey::new("crm", "crm")];
    assert_eq!(status.idle.as_ref().unwrap().value, "15m");
    let programmed = &status.ancestors[0].conditions[1];
    assert_eq!(
        (programmed.kind, programmed.status, programmed.reason),
        ("Programmed", true, "Overridden")
    );
    assert_eq!(
        programmed.message,
        "idle 30m of SessionPolicy crm/crm is 15m because of ClusterSessionPolicy corporate. Each host has its own session, \
         so only activity on the same host counts for idle."
    );
    let context = Context {
        before: &RouteIndex::default(),
        since: Timestamp::default(),
        cookie_domain: Some("example.com"),
    };
    let with_domain =
        super::compile(&state(&format!("{CLASSES}{CRM}{CORPORATE}")), context).unwrap();
    let status = &with_domain.session_policies[&ObjectKey::new("crm", "crm")];
    let message = &status.ancestors[0].conditions[1].message;
    let sentence =
        "All hosts below example.com share a session, so activity on any of them counts for idle.";
    assert!(message.ends_with(sentence), "{message}");
    let lower = format!("{CLASSES}{CRM}{CORPORATE}").replace("idle: 30m", "idle: 1m");
    assert_eq!(
        minutes(&compile(&state(&lower)), "crm.example.com", "/"),
        Some(2)
    );
    let conflict =
        format!("{CLASSES}{CRM}{CORPORATE}").replace("floor: {idle: 2m}", "floor: {idle: 20m}");
    let compiled = compile(&state(&conflict));
    assert_eq!(minutes(&compiled, "crm.example.com", "/"), Some(15));
    let condition = &compiled.cluster_policies["corporate"].conditions[0];
    assert_eq!((condition.status, condition.reason), (false, "Conflicted"));
}

#[test]
fn bounds_of_hosts_apply_without_any_route() {
    let yaml = "
kind: ClusterSessionPolicy
metadata: {name: pay}
spec: {hosts: ['*.pay.example.com'], ceiling: {idle: 5m}, defaults: {absolute: 1h}, standards: [pci-dss]}";
    let compiled = compile(&state(yaml));
    assert_eq!(minutes(&compiled, "a.pay.example.com", "/x/../y"), Some(5));
    assert_eq!(minutes(&compiled, "pay.example.com", "/"), None);
    let terms = find(&compiled, "GET", "a.pay.example.com", "/").unwrap();
    assert_eq!(
        terms.absolute.as_ref().unwrap().value,
        Duration::from_secs(3600)
    );
    let invalid = compile(&state(
        &yaml.replace("'*.pay.example.com'", "'*.pay.example.com', 'a b'"),
    ));
    assert_eq!(
        minutes(&invalid, "other.example.com", "/"),
        Some(5),
        "a mistake must not loosen"
    );
    assert_eq!(
        invalid.cluster_policies["pay"].conditions[0].reason,
        "Invalid"
    );
}

#[test]
fn a_bound_for_some_hosts_of_a_route_leaves_the_others_alone() {
    let yaml = gateway("", &http_route("['*.example.com']", "[{}]"))
        + "
---
kind: Namespace
metadata: {name: crm, labels: {scope: pci}}
---
kind: ClusterSessionPolicy
metadata: {name: pay}
spec: {namespaceSelector: {matchLabels: {scope: pci}}, hosts: [pay.example.com], ceiling: {idle: 5m}}";
    let compiled = compile(&state(&yaml));
    assert_eq!(minutes(&compiled, "pay.example.com", "/"), Some(5));
    assert_eq!(minutes(&compiled, "crm.example.com", "/"), Some(10));
}

/// The names of the policies are in another order than the sizes of their hosts.
#[test]
fn the_default_of_the_smallest_host_applies_whatever_its_policy_is_called() {
    let policy = |name: &str, host: &str, idle: &str| {
        format!(
            "\n---\nkind: ClusterSessionPolicy\nmetadata: {{name: {name}}}\n\
             spec: {{hosts: ['{host}'], defaults: {{idle: {idle}}}}}\n"
        )
    };
    let route = gateway("", &http_route("['*.example.com']", "[{}]"))
        .replace("idle: 10m", "maxAuthAge: 10m");
    for [first, second] in [["a", "z"], ["z", "a"]] {
        let yaml = route.clone()
            + &policy(first, "*.b.example.com", "60m")
            + &policy(second, "x.b.example.com", "5m");
        let compiled = compile(&state(&yaml));
        assert_eq!(
            minutes(&compiled, "x.b.example.com", "/"),
            Some(5),
            "{first}"
        );
        assert_eq!(
            minutes(&compiled, "y.b.example.com", "/"),
            Some(60),
            "{first}"
        );
        assert_eq!(minutes(&compiled, "c.example.com", "/"), None, "{first}");
    }
}

#[test]
fn the_route_that_was_created_first_holds_its_host_and_path() {
    let other = CRM
        .replace("namespace: crm", "namespace: shop")
        .replace("2026-01-02", "2026-03-04")
        .replace("idle: 30m", "idle: 1m")
        .replace(
            "      - {path: /admin, pathType: Prefix, backend: {service: {name: admin}}}\n",
            "      - {path: /shop, pathType: Prefix, backend: {service: {name: shop}}}\n",
        );
    let compiled = compile(&state(&format!("{CLASSES}{CRM}{other}")));
    assert_eq!(minutes(&compiled, "crm.example.com", "/x"), Some(30));
    // A path that nobody else has claimed belongs to the other namespace.
    assert_eq!(minutes(&compiled, "crm.example.com", "/shop"), Some(1));
    let condition = accepted(&compiled, "shop", "crm");
    assert_eq!((condition.status, condition.reason), (false, "Conflicted"));
    assert!(
        condition.message.contains("belongs to Ingress crm/crm"),
        "{}",
        condition.message
    );
    assert!(accepted(&compiled, "crm", "crm").status);
}

/// An Ingress of the namespace `shop` at a host, and a policy that nobody can meet.
fn hostile(host: &str, path_type: &str, path: &str) -> String {
    let host = if host.is_empty() {
        String::new()
    } else {
        format!("host: {host}, ")
    };
    format!(
        "
kind: Ingress
metadata: {{name: hostile, namespace: shop, creationTimestamp: '2026-05-05T00:00:00Z'}}
spec:
  ingressClassName: nginx
  rules: [{{{host}http: {{paths: [{{path: '{path}', pathType: {path_type}, backend: {{service: {{name: x}}}}}}]}}}}]
---
kind: SessionPolicy
metadata: {{name: hostile, namespace: shop}}
spec: {{targetRefs: [{{group: networking.k8s.io, kind: Ingress, name: hostile}}], requireGroups: [nobody]}}
---
"
    )
}

/// No route of another namespace can lock people out of a host, or remove its ceiling.
#[test]
fn a_namespace_cannot_change_the_hosts_of_another() {
    let base = format!("{CLASSES}{CRM}{CORPORATE}");
    for (host, path_type, path) in [
        ("crm.example.com", "ImplementationSpecific", "/zz"),
        ("crm.example.com", "Exact", "/a;b"),
        ("crm.example.com", "Prefix", "/"),
        ("crm.example.com", "Exact", "/health"),
        ("'*.example.com'", "Prefix", "/"),
        ("'*.example.com'", "ImplementationSpecific", "/x"),
        ("", "Prefix", "/"),
        ("", "ImplementationSpecific", "/x"),
    ] {
        let compiled = compile(&state(&format!("{base}{}", hostile(host, path_type, path))));
        for request in ["/", "/admin", "/health", "/zz", "/a%2Fb"] {
            let terms = find(&compiled, "GET", "crm.example.com", request).unwrap();
            let lists = terms.groups.iter().map(|groups| &*groups.from);
            let name = format!("{host} {path_type} {path}: {request}");
            assert!(!lists.clone().any(|it| it.contains("shop")), "{name}");
            assert_eq!(
                minutes(&compiled, "crm.example.com", request),
                Some(15),
                "{name}"
            );
        }
        // A host that no route names, and a host with more labels than the wildcard.
        for other in ["elsewhere.example.org", "a.b.example.com"] {
            let terms = find(&compiled, "GET", other, "/");
            assert!(
                terms.is_none_or(|terms| terms.groups.is_empty()),
                "{host}: {other}"
            );
        }
    }
    // At another proxy, the host belongs to its first route as a whole.
    let other_class = "{kind: IngressClass, metadata: {name: other}, spec: {controller: x}}\n---\n";
    for (path_type, path) in [
        ("Prefix", "/"),
        ("Prefix", "/zz"),
        ("Exact", "/health"),
        ("ImplementationSpecific", "/x"),
    ] {
        let elsewhere = hostile("crm.example.com", path_type, path)
            .replace("ClassName: nginx", "ClassName: other");
        let compiled = compile(&state(&format!("{base}{other_class}{elsewhere}")));
        for request in ["/", "/health", "/zz/x"] {
            let terms = find(&compiled, "GET", "crm.example.com", request).unwrap();
            let lists = terms.groups.iter().map(|groups| &*groups.from);
            assert!(
                !lists.clone().any(|it| it.contains("shop")),
                "{path_type} {path}: {request}"
            );
        }
        assert_eq!(accepted(&compiled, "shop", "hostile").reason, "Conflicted");
    }
    // Bounds for one host do not give a wildcard route the precedence of an exact host.
    let bounds = "
kind: ClusterSessionPolicy
metadata: {name: one-host}
spec: {hosts: [crm.example.com], ceiling: {idle: 20m}}
---
";
    let wildcard = hostile("'*.example.com'", "Prefix", "/admin");
    let compiled = compile(&state(&format!("{base}{bounds}{wildcard}")));
    let terms = find(&compiled, "GET", "crm.example.com", "/admin/x").unwrap();
    assert!(
        terms
            .groups
            .iter()
            .all(|groups| !groups.from.contains("shop")),
        "{terms:?}"
    );
    // A new path of the host belongs to the other namespace, but the ceiling of the host holds there too.
    let new_path = hostile("crm.example.com", "Prefix", "/accounts");
    let compiled = compile(&state(&format!("{base}{new_path}")));
    assert_eq!(
        minutes(&compiled, "crm.example.com", "/accounts/x"),
        Some(15)
    );
}

/// A ceiling holds for a host of its namespaces, however the route is served, and also if Curfew does not know the namespace.
#[test]
fn a_ceiling_does_not_depend_on_how_a_route_is_served() {
    let ingress = format!("{CLASSES}{CRM}{CORPORATE}");
    for (from, to) in [
        ("ingressClassName: nginx", "ingressClassName: missing"),
        ("  ingressClassName: nginx\n", ""),
        (
            "{kind: Namespace, metadata: {name: crm, labels: {scope: pci}}}\n---\n",
            "",
        ),
        (
            "matchLabels: {scope: pci}",
            "matchExpressions: [{key: scope, operator: In}]",
        ),
        (
            "matchLabels: {scope: pci}",
            "matchExpressions: [{key: scope, operator: Sometimes}]",
        ),
        (
            "  - host: crm.example.com\n    http:",
            "  - host: '*.example.com'\n    http:",
        ),
    ] {
        assert!(ingress.contains(from), "{from}");
        let compiled = compile(&state(&ingress.replace(from, to)));
        assert_eq!(minutes(&compiled, "crm.example.com", "/"), Some(15), "{to}");
    }
    let not_accepted =
        http_route("[crm.example.com]", "[{}]").replace("status: 'True'", "status: 'False'");
    let yaml = format!("{CLASSES}{}\n---\n{CORPORATE}", gateway("", &not_accepted));
    assert_eq!(
        minutes(&compile(&state(&yaml)), "crm.example.com", "/"),
        Some(15)
    );
}

/// Curfew does not know which of two proxies sends a check.
#[test]
fn the_tightest_of_two_proxies_applies() {
    let ingress = CRM
        .replace("crm.example.com", "a.example.com")
        .replace("idle: 30m", "idle: 20m");
    let route = gateway(
        "",
        &http_route("[a.example.com]", "[{matches: [{path: {value: /api}}]}]"),
    );
    let compiled = compile(&state(&format!("{CLASSES}{ingress}{route}")));
    assert_eq!(minutes(&compiled, "a.example.com", "/api"), Some(10));
    assert_eq!(minutes(&compiled, "a.example.com", "/x"), Some(20));
    let tighter = ingress.replace("idle: 20m", "idle: 3m");
    let compiled = compile(&state(&format!("{CLASSES}{tighter}{route}")));
    assert_eq!(minutes(&compiled, "a.example.com", "/api"), Some(3));
}

#[test]
fn a_policy_for_a_listener_leaves_the_hosts_of_other_listeners_alone() {
    let listeners = ", hostname: admin.example.com}, {name: public, hostname: '*.example.com'";
    let yaml = gateway(listeners, &http_route("['*.example.com']", "[{}]"))
        + "
---
kind: SessionPolicy
metadata: {name: admin, namespace: infra}
spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge, sectionName: web}], idle: 1m}";
    let compiled = compile(&state(&yaml));
    assert_eq!(minutes(&compiled, "admin.example.com", "/"), Some(1));
    assert_eq!(minutes(&compiled, "app.example.com", "/"), Some(10));
}

/// The same host at two listeners: the limits of each apply, because Curfew does not know the port.
#[test]
fn a_policy_for_one_of_two_listeners_with_the_same_host_applies() {
    for section in ["web", "secure"] {
        let yaml = gateway(", hostname: a.example.com}, {name: secure, hostname: a.example.com", &http_route("[a.example.com]", "[{}]"))
            + &format!(
                "
---
kind: SessionPolicy
metadata: {{name: listener, namespace: infra}}
spec: {{targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: edge, sectionName: {section}}}], idle: 1m}}"
            );
        assert_eq!(
            minutes(&compile(&state(&yaml)), "a.example.com", "/"),
            Some(1),
            "{section}"
        );
    }
}

/// Without its index, no limit would apply. So too many patterns make the limits apply to more requests.
#[test]
fn too_many_methods_never_remove_the_limits() {
    let methods: String = (0..20_000)
        .map(|number| {
            format!(
                "\n  - {{matches: [{{method: {{method: 'Method{number}WithALongName{number}'}}}}]}}"
            )
        })
        .collect();
    let route =
        http_route("[a.example.com]", &methods).replace("kind: HTTPRoute", "kind: GRPCRoute");
    let yaml =
        gateway("", &route).replace("kind: HTTPRoute, name: app", "kind: GRPCRoute, name: app");
    let compiled = compile(&state(&format!("{CLASSES}{yaml}\n---\n{CORPORATE}")));
    assert_eq!(
        minutes(&compiled, "a.example.com", "/x.Y/Method7WithALongName7"),
        Some(10)
    );
    // The patterns are too large, so the limits apply to the whole host.
    assert_eq!(minutes(&compiled, "a.example.com", "/other"), Some(10));
}

#[test]
fn a_default_applies_although_a_wildcard_route_serves_the_host() {
    let yaml = gateway("", &http_route("['*.example.com']", "[{}]"))
        .replace(", idle: 10m}", ", absolute: 2h}")
        + "
---
kind: ClusterSessionPolicy
metadata: {name: pay}
spec: {hosts: [pay.example.com], defaults: {idle: 15m}}";
    let compiled = compile(&state(&yaml));
    assert_eq!(minutes(&compiled, "pay.example.com", "/"), Some(15));
    assert_eq!(minutes(&compiled, "crm.example.com", "/"), None);
    // A policy of the route replaces the default.
    let compiled = compile(&state(&yaml.replace("absolute: 2h", "idle: 1h")));
    assert_eq!(minutes(&compiled, "pay.example.com", "/"), Some(60));
}

#[test]
fn an_invalid_host_widens_only_the_ceiling() {
    let bounds = "
kind: ClusterSessionPolicy
metadata: {name: corporate}
spec: {hosts: ['a b'], ceiling: {idle: 25m}, floor: {idle: 1h}, defaults: {absolute: 1m}}";
    let compiled = compile(&state(
        &format!("{CLASSES}{CRM}{bounds}").replace("idle: 30m", "idle: 15m"),
    ));
    assert_eq!(minutes(&compiled, "crm.example.com", "/"), Some(15));
    let terms = find(&compiled, "GET", "crm.example.com", "/").unwrap();
    assert_eq!(terms.absolute, None);
    let all_passive = format!("{CLASSES}{CRM}").replace("idle: 30m", "passivePaths: [poll/**]");
    let terms = find(
        &compile(&state(&all_passive)),
        "GET",
        "crm.example.com",
        "/",
    )
    .unwrap();
    assert!(terms.passive_paths.contain(b"/poll/x"));
}

#[test]
fn an_unreadable_value_never_loosens() {
    let yaml =
        format!("{CLASSES}{CRM}{CORPORATE}").replace("idle: 30m", "idle: soon\n  absolute: 1h");
    let compiled = compile(&state(&yaml));
    assert_eq!(minutes(&compiled, "crm.example.com", "/"), Some(15));
    let terms = find(&compiled, "GET", "crm.example.com", "/").unwrap();
    assert_eq!(
        terms.absolute.as_ref().unwrap().value,
        Duration::from_secs(3600)
    );
    let condition = accepted(&compiled, "crm", "crm");
    assert_eq!(condition.reason, "Invalid");
    assert!(
        condition.message.starts_with("idle = \"soon\": must be"),
        "{}",
        condition.message
    );
    let annotated = format!("{CLASSES}{CRM}").replace(
        "{name: crm, namespace: crm, creationTimestamp: '2026-01-02T00:00:00Z'}",
        "{name: crm, namespace: crm, annotations: {curfew.dev/idle: never}}",
    );
    let compiled = compile(&state(&annotated));
    assert_eq!(minutes(&compiled, "crm.example.com", "/"), Some(30));
    let mistake = compiled.mistakes[0].to_string();
    assert!(mistake.starts_with("Ingress crm/crm: "), "{mistake}");
}

proptest! {
    /// A further `SessionPolicy` or a further ceiling never loosens a request, whatever it targets.
    #[test]
    fn a_further_policy_never_loosens(
        idle in 1_u64..40,
        kind in 0_usize..4,
        section in any::<bool>(),
        path in prop_oneof![Just("/"), Just("/admin/x"), Just("/health"), Just("/x/../y")],
    ) {
        let base = format!("{CLASSES}{CRM}{CORPORATE}").replace("  defaults: {absolute: 8h}\n", "");
        let target = [
            "{group: networking.k8s.io, kind: Ingress, name: crm}",
            "{group: '', kind: Service, name: admin}",
            "{group: '', kind: Service, name: missing}",
            "{group: x, kind: Widget, name: crm}",
        ][kind];
        let target = if section { target.replace('}', ", sectionName: x}") } else { target.to_owned() };
        let further = format!(
            "
kind: SessionPolicy
metadata: {{name: a, namespace: crm}}
spec: {{targetRefs: [{target}], idle: {idle}m}}"
        );
        let before = compile(&state(&base));
        let after = compile(&state(&format!("{base}{further}")));
        let (before, after) = (minutes(&before, "crm.example.com", path), minutes(&after, "crm.example.com", path));
        prop_assert!(after <= before, "{before:?} {after:?}");
        prop_assert!(after.unwrap() >= 2);
    }
}
