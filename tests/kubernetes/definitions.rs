//! The definitions of SessionPolicy and ClusterSessionPolicy, as the server checks them.

use serde_json::{Value, json};

use crate::{Removed, apply, dry_run, kubectl, put_namespace, try_kubectl};

const NAMESPACE: &str = "definitions";

fn session_policy(spec: Value) -> String {
    json!({
        "apiVersion": "curfew.dev/v1alpha1", "kind": "SessionPolicy",
        "metadata": { "name": "crm", "namespace": NAMESPACE }, "spec": spec,
    })
    .to_string()
}

/// Returns a SessionPolicy for an Ingress with these fields.
fn limits(fields: Value) -> String {
    let mut spec = json!({ "targetRefs": [{ "group": "networking.k8s.io", "kind": "Ingress", "name": "crm" }] });
    for (name, value) in fields.as_object().unwrap() {
        spec[name] = value.clone();
    }
    session_policy(spec)
}

fn ceiling(spec: Value) -> String {
    json!({
        "apiVersion": "curfew.dev/v1alpha1", "kind": "ClusterSessionPolicy",
        "metadata": { "name": "definitions" }, "spec": spec,
    })
    .to_string()
}

fn target(group: &str, kind: &str, more: Value) -> String {
    let mut target = json!({ "group": group, "kind": kind, "name": "crm" });
    for (name, value) in more.as_object().unwrap() {
        target[name] = value.clone();
    }
    session_policy(json!({ "targetRefs": [target] }))
}

#[test]
fn right_objects_are_accepted() {
    put_namespace(NAMESPACE, "");
    for object in [
        limits(json!({})),
        limits(json!({ "idle": "15m", "absolute": "8h", "maxAuthAge": "30m" })),
        limits(json!({ "idle": "1h30m", "absolute": "1h30m" })),
        limits(
            json!({ "activity": "explicit", "requireGroups": ["crm-users"], "passivePaths": ["/api/poll"] }),
        ),
        target("networking.k8s.io", "Ingress", json!({})),
        target("", "Service", json!({})),
        target(
            "gateway.networking.k8s.io",
            "HTTPRoute",
            json!({ "sectionName": "admin" }),
        ),
        target("gateway.networking.k8s.io", "GRPCRoute", json!({})),
        target(
            "gateway.networking.k8s.io",
            "Gateway",
            json!({ "sectionName": "https" }),
        ),
        ceiling(json!({})),
        ceiling(json!({
            "namespaceSelector": { "matchLabels": { "scope": "pci" } }, "hosts": ["*.pay.example.com"],
            "ceiling": { "idle": "10m", "absolute": "12h", "maxAuthAge": "4h", "maxSessions": 3 },
            "floor": { "idle": "2m" }, "defaults": { "absolute": "8h" },
            "forbid": ["PublicRules", "ServiceTokens", "StreamActivity"], "standards": ["pci-dss"],
        })),
    ] {
        dry_run(&object).unwrap_or_else(|error| panic!("{object}: {error}"));
    }
}

#[test]
fn wrong_objects_are_refused_with_a_reason() {
    put_namespace(NAMESPACE, "");
    let targets: Vec<_> = (0..17)
        .map(|number| json!({ "group": "", "kind": "Service", "name": format!("crm-{number}") }))
        .collect();
    for (object, reason) in [
        (
            limits(json!({ "idle": "9h", "absolute": "8h" })),
            "idle must not be longer than absolute",
        ),
        (
            limits(json!({ "idle": "0s" })),
            "must be more than 0 and at most 9600h",
        ),
        (
            limits(json!({ "absolute": "9601h" })),
            "must be more than 0 and at most 9600h",
        ),
        (limits(json!({ "idle": "soon" })), "spec.idle"),
        (limits(json!({ "idle": "1.5h" })), "spec.idle"),
        (limits(json!({ "idle": 15 })), "idle"),
        (limits(json!({ "idel": "15m" })), "idel"),
        (limits(json!({ "activity": "always" })), "spec.activity"),
        (session_policy(json!({ "idle": "15m" })), "targetRefs"),
        (session_policy(json!({ "targetRefs": [] })), "targetRefs"),
        (
            session_policy(json!({ "targetRefs": targets })),
            "must have at most 16 items",
        ),
        (
            target("apps", "Deployment", json!({})),
            "Unsupported value: \"Deployment\"",
        ),
        (
            target("apps", "Ingress", json!({})),
            "the group is networking.k8s.io for an Ingress",
        ),
        (
            target("", "HTTPRoute", json!({})),
            "the group is networking.k8s.io for an Ingress",
        ),
        (
            target("", "Service", json!({ "sectionName": "http" })),
            "only a route or a Gateway has sections",
        ),
        (
            target("", "Service", json!({ "namespace": "other" })),
            "namespace",
        ),
        (
            ceiling(json!({ "ceiling": { "idle": "9h", "absolute": "8h" } })),
            "idle must not be longer than absolute",
        ),
        (
            ceiling(json!({ "ceiling": { "maxSessions": 0 } })),
            "maxSessions",
        ),
        (ceiling(json!({ "forbid": ["Everything"] })), "forbid"),
        (ceiling(json!({ "cieling": {} })), "cieling"),
    ] {
        let error = dry_run(&object).expect_err(&object);
        assert!(error.contains(reason), "{object}: {error}");
    }
}

#[test]
fn people_see_the_limits_in_force() {
    put_namespace(NAMESPACE, "");
    apply(&limits(json!({ "idle": "15m" }))).unwrap();
    let _removed = Removed(&["--namespace", NAMESPACE, "sessionpolicy", "crm"]);
    let status = json!({ "status": {
        "effective": { "idle": { "value": "10m", "from": "ClusterSessionPolicy corporate" } },
    } })
    .to_string();
    let patch = [
        "patch",
        "sessionpolicy",
        "crm",
        "--namespace",
        NAMESPACE,
        "--type=merge",
        "--patch",
    ];
    // A write of the object cannot change its status.
    kubectl(&[&patch[..], &[&status]].concat(), "");
    let get = ["get", "sessionpolicy", "crm", "--namespace", NAMESPACE];
    let output = kubectl(&get, "");
    assert!(!output.contains("10m"), "{output}");
    kubectl(
        &[&patch[..], &[&status, "--subresource=status"]].concat(),
        "",
    );
    let output = kubectl(&get, "");
    let header = output.lines().next().unwrap();
    let columns: Vec<_> = header.split_whitespace().collect();
    assert_eq!(
        columns,
        ["NAME", "IDLE", "ABSOLUTE", "ACCEPTED", "PROGRAMMED", "AGE"]
    );
    assert!(output.contains("10m"), "{output}");
    let explained = kubectl(&["explain", "sessionpolicies.spec.idle"], "");
    assert!(
        explained.contains("longest time without activity"),
        "{explained}"
    );
    // The category lists both kinds.
    let listed = try_kubectl(&["get", "curfew", "--namespace", NAMESPACE], "").unwrap();
    assert!(listed.contains("sessionpolicy.curfew.dev/crm"), "{listed}");
}
