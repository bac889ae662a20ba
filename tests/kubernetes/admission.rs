//! The admission policies of `deploy/`, as the server applies them. `tests/manifests` has tables of more cases.

use serde_json::{Value, json};

use crate::{Removed, apply, dry_run, kubectl, put_namespace, run, wait_until};

const NAMESPACE: &str = "admission";

fn apply_file(file: &str) {
    let output = run("kubectl", &["apply", "--server-side", "-f", file], "");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && error.is_empty(),
        "{file}: {error}"
    );
}

fn session_policy(idle: &str) -> String {
    let target = json!({ "group": "networking.k8s.io", "kind": "Ingress", "name": "crm" });
    json!({
        "apiVersion": "curfew.dev/v1alpha1", "kind": "SessionPolicy",
        "metadata": { "name": "crm", "namespace": NAMESPACE },
        "spec": { "idle": idle, "targetRefs": [target] },
    })
    .to_string()
}

fn ingress(name: &str, annotations: Value) -> String {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "name": name, "namespace": NAMESPACE, "annotations": annotations },
        "spec": { "ingressClassName": "nginx", "rules": [{ "host": "crm.example.com", "http": { "paths": [{
            "path": "/", "pathType": "Prefix", "backend": { "service": { "name": "crm", "port": { "number": 80 } } },
        }] } }] },
    })
    .to_string()
}

fn is_refused(object: &str, reason: &str) -> bool {
    dry_run(object).is_err_and(|error| error.contains(reason))
}

#[test]
fn a_limit_above_the_ceiling_is_refused_when_it_is_applied() {
    let file = "deploy/kubernetes/components/admission/limits.yaml";
    let _removed = Removed(&["-f", "deploy/kubernetes/components/admission/limits.yaml"]);
    let _ceiling = Removed(&["clustersessionpolicy", "corporate"]);
    put_namespace(NAMESPACE, "scope: pci");
    apply_file(file);
    kubectl(&["delete", "clustersessionpolicies", "--all"], "");
    wait_until("without a ceiling, everything is allowed", || {
        dry_run(&session_policy("1h")).is_ok()
    });
    let ceiling = json!({
        "apiVersion": "curfew.dev/v1alpha1", "kind": "ClusterSessionPolicy", "metadata": { "name": "corporate" },
        "spec": { "namespaceSelector": { "matchLabels": { "scope": "pci" } }, "ceiling": { "idle": "15m" } },
    });
    apply(&ceiling.to_string()).unwrap();
    wait_until("the ceiling is enforced", || {
        is_refused(
            &session_policy("1h"),
            "idle is 1h, but ClusterSessionPolicy corporate allows at most 15m",
        )
    });
    dry_run(&session_policy("15m")).unwrap();
    for (value, is_wrong) in [("16m", true), ("15m", false)] {
        let object = ingress("crm", json!({ "curfew.dev/idle": value }));
        assert_eq!(
            is_refused(&object, "allows at most 15m"),
            is_wrong,
            "{value}"
        );
    }
    let unreadable = ingress("crm", json!({ "curfew.dev/idle": "soon" }));
    wait_until("unreadable annotations are refused", || {
        is_refused(&unreadable, "curfew.dev/idle")
    });
    // Another namespace has no ceiling.
    put_namespace(NAMESPACE, "");
    wait_until("the namespace is not selected", || {
        dry_run(&session_policy("1h")).is_ok()
    });
}

#[test]
fn teams_cannot_switch_the_check_off() {
    let _removed = Removed(&["-f", "deploy/kubernetes/components/checks/admission.yaml"]);
    put_namespace(NAMESPACE, "");
    apply_file("deploy/kubernetes/components/checks/admission.yaml");
    let open = ingress(
        "crm",
        json!({ "nginx.ingress.kubernetes.io/enable-global-auth": "false" }),
    );
    wait_until("the annotation is refused", || {
        is_refused(&open, "enable-global-auth")
    });
    dry_run(&ingress("crm", json!({}))).unwrap();
    let policy = |spec: Value| {
        json!({
            "apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "SecurityPolicy",
            "metadata": { "name": "crm", "namespace": NAMESPACE }, "spec": spec,
        })
        .to_string()
    };
    let targets =
        json!([{ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "crm" }]);
    assert!(is_refused(
        &policy(
            json!({ "targetRefs": targets, "cors": { "allowOrigins": ["https://example.com"] } })
        ),
        "curfew"
    ));
    let proxy = |policy: Value| {
        let route = json!({ "authPolicy": policy, "services": [{ "name": "crm", "port": 80 }] });
        json!({
            "apiVersion": "projectcontour.io/v1", "kind": "HTTPProxy",
            "metadata": { "name": "crm", "namespace": NAMESPACE }, "spec": { "routes": [route] },
        })
        .to_string()
    };
    dry_run(&proxy(json!({ "context": { "policy": "payments" } }))).unwrap();
    assert!(is_refused(
        &proxy(json!({ "disabled": true })),
        "authPolicy"
    ));
}

#[test]
fn the_annotations_of_the_check_are_added() {
    let _removed = Removed(&["-f", "deploy/nginx/ingress-admission.yaml"]);
    put_namespace(NAMESPACE, "");
    apply_file("deploy/nginx/ingress-admission.yaml");
    let create = |object: &str| {
        let arguments = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
        let output = run("kubectl", &arguments, object);
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["metadata"]["annotations"].take()
    };
    let plain = ingress("crm", json!({ "example.com/team": "crm" }));
    let url = "nginx.ingress.kubernetes.io/auth-url";
    wait_until("the annotations are added", || {
        create(&plain)[url].is_string()
    });
    let annotations = create(&plain);
    assert!(
        annotations[url].as_str().unwrap().contains(":9180/"),
        "{annotations}"
    );
    assert_eq!(annotations["example.com/team"], "crm");
    let mut other: Value = serde_json::from_str(&plain).unwrap();
    other["spec"]["ingressClassName"] = json!("haproxy");
    assert!(create(&other.to_string())[url].is_null());
}
