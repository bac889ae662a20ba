//! Tests files that only a cluster or containers could run. The tests validate them with published schemas, and
//! compare them with the files that other tests run.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use curfew_testkit as support;

mod admission;
mod caddy;
mod configuration;
mod container;
mod deploy_file_coverage;
mod documentation;
mod gateways;
mod haproxy_ingress;
mod kubernetes;
mod language;
mod monitoring;
mod systemd;
mod traefik;

use std::process::{Command, Output};

use serde_json::{Value, json};
use support::deployment::installed_path;

const MANIFESTS: [&str; 20] = [
    "deploy/nginx/ingress.yaml",
    "deploy/nginx/ingress-streams.yaml",
    "deploy/nginx/ingress-global.yaml",
    "deploy/nginx/ingress-admission.yaml",
    "deploy/traefik/ingress-nginx.yaml",
    "deploy/traefik/kubernetes.yaml",
    "deploy/traefik/ingress.yaml",
    "deploy/traefik/gateway-api.yaml",
    "deploy/traefik/kubernetes-global.yaml",
    "deploy/istio/mesh-config.yaml",
    "deploy/istio/authorization-policy.yaml",
    "deploy/istio/authorization-policy-global.yaml",
    "deploy/gateway-api/envoy-gateway.yaml",
    "deploy/gateway-api/envoy-gateway-global.yaml",
    "deploy/gateway-api/external-auth.yaml",
    "deploy/contour/contour.yaml",
    "deploy/haproxy/ingress.yaml",
    "deploy/haproxy/ingress-global.yaml",
    "deploy/kubernetes/components/admission/limits.yaml",
    "deploy/kubernetes/components/checks/admission.yaml",
];

/// Runs `check.mjs`. The first comment of that file describes the arguments.
fn run_checker(arguments: &[&str]) -> Output {
    Command::new(installed_path("bin/node"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("tests/manifests/check.mjs")
        .args(arguments)
        .output()
        .unwrap()
}

/// Returns the documents of a YAML file.
fn read_documents(file: &str) -> Vec<Value> {
    let output = run_checker(&["--json", file]);
    assert!(output.status.success(), "{output:?}");
    let mut parsed: Value = serde_json::from_slice(&output.stdout).unwrap();
    serde_json::from_value(parsed[file].take()).unwrap()
}

/// Returns the document of this kind and name in a file.
fn read_document(file: &str, kind: &str, name: &str) -> Value {
    let mut found = read_documents(file)
        .into_iter()
        .filter(|document| document["kind"] == kind && document["metadata"]["name"] == name);
    let document = found.next();
    document.unwrap_or_else(|| panic!("{kind}/{name} is not in {file}"))
}

/// Returns the names of a list, in lower case and sorted.
fn sorted_names(list: &Value) -> Vec<String> {
    let list = list
        .as_array()
        .unwrap_or_else(|| panic!("{list} should be a list"));
    let mut names: Vec<String> = list
        .iter()
        .map(|name| name.as_str().unwrap().to_lowercase())
        .collect();
    names.sort();
    names
}

/// Returns the names of the identity headers for applications.
fn identity_headers() -> Vec<String> {
    sorted_names(&json!([
        "x-session-user",
        "x-session-groups",
        "x-session-email",
        "x-session-id",
        "x-session-policy"
    ]))
}

#[test]
fn manifests_match_their_schemas() {
    let output = run_checker(&MANIFESTS);
    let mistakes = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{mistakes}");
}

#[test]
fn the_checker_finds_mistakes() {
    let output = run_checker(&["tests/manifests/mistakes.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    let found = String::from_utf8(output.stderr).unwrap();
    assert_eq!(found.lines().count(), 57, "{found}");
    for mistake in [
        "Middleware/middleware-misspelt: spec.forwardAuth.adress: unknown field",
        "IngressRoute/ingress-route-misspelt: spec.entrypoints: unknown field",
        "IngressRoute/ingress-route: spec.routes[0]: ",
        "AuthorizationPolicy/authorization-policy: spec.action: ",
        "HTTPRoute/http-route: spec.rules[0].filters[2].type: ",
        "Ingress/ingress: spec.rules[0].http.paths[0]: must have required property pathType",
        "Configmap/unknown-kind: kind: no schema for Configmap of v1",
        "meshConfig: meshConfig.extensionProviders[0].envoyExtAuthzHttp: port is missing",
    ] {
        let line = format!("tests/manifests/mistakes.yaml: {mistake}");
        assert!(found.contains(&line), "{line}\nis not in\n{found}");
    }
    for kind in [
        "SecurityPolicy",
        "ClientTrafficPolicy",
        "VirtualService",
        "EnvoyFilter",
        "ConfigMap",
    ] {
        let start = format!("tests/manifests/mistakes.yaml: {kind}/");
        assert!(found.contains(&start), "{kind}\nis not in\n{found}");
    }
}
