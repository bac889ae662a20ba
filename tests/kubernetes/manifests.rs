//! The server accepts every manifest of `deploy/` without a warning.

use std::path::Path;

use crate::support::helm_values::{ALL_FEATURES, PRODUCTION_VALUES};
use crate::{put_namespace, run};

const KUBERNETES: &str = "deploy/kubernetes";
const CHART: &str = "deploy/helm/curfew";

/// The strictest level of Pod Security.
const RESTRICTED: &str =
    "pod-security.kubernetes.io/enforce: restricted, pod-security.kubernetes.io/warn: restricted";

fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments, "");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Renders the chart with these values, for the namespace `chart`.
fn chart(values: &[&str]) -> String {
    let sets = values.iter().flat_map(|value| ["--set", *value]);
    let arguments = [
        "template",
        "curfew",
        CHART,
        "--include-crds",
        "--namespace",
        "chart",
    ];
    output_of(
        "helm",
        &arguments.into_iter().chain(sets).collect::<Vec<_>>(),
    )
}

/// Returns what the server says about the objects of a manifest; empty if it accepts them without a warning.
fn problems(manifest: &str) -> String {
    let arguments = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "--validate=strict",
        "-f",
        "-",
    ];
    let output = run("kubectl", &arguments, manifest);
    let messages = String::from_utf8(output.stderr).unwrap();
    match output.status.success() {
        true => messages,
        false => format!("refused: {messages}"),
    }
}

fn assert_accepted(name: &str, manifest: &str) {
    let problems = problems(manifest);
    assert!(problems.is_empty(), "{name}: {problems}");
}

/// Renders an overlay with components.
fn overlay(name: &str, components: &[&str]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([KUBERNETES, directory.path().to_str().unwrap()])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(copied.success());
    let overlay = directory.path().join("kubernetes/overlays").join(name);
    let file = overlay.join("kustomization.yaml");
    let mut text = std::fs::read_to_string(&file).unwrap();
    if !components.is_empty() {
        text.push_str("components:\n");
    }
    for component in components {
        text.push_str(&format!("  - ../../components/{component}\n"));
    }
    std::fs::write(&file, text).unwrap();
    output_of("kubectl", &["kustomize", overlay.to_str().unwrap()])
}

#[test]
fn every_overlay_is_accepted() {
    put_namespace("curfew", RESTRICTED);
    let components = ["admin", "identity", "policies", "admission", "checks"];
    for name in ["memory", "redis", "sentinel", "cluster"] {
        assert_accepted(name, &overlay(name, &[]));
        assert_accepted(name, &overlay(name, &components));
    }
}

#[test]
fn the_chart_is_accepted() {
    put_namespace("chart", RESTRICTED);
    for values in [&["replicas=1"][..], &PRODUCTION_VALUES, &ALL_FEATURES] {
        assert_accepted(&format!("{values:?}"), &chart(values));
    }
}

/// Without this test, the two tests above could pass because the server does not look.
#[test]
fn the_server_finds_mistakes() {
    put_namespace("mistakes", RESTRICTED);
    let good = overlay("memory", &[]);
    let privileged = good.replace(
        "allowPrivilegeEscalation: false",
        "allowPrivilegeEscalation: true",
    );
    assert_ne!(good, privileged);
    let found = problems(&privileged);
    assert!(
        found.contains("would violate PodSecurity \"restricted"),
        "{found}"
    );
    let unknown = good.replace("readinessProbe:", "readynessProbe:");
    let found = problems(&unknown);
    assert!(found.contains("readynessProbe"), "{found}");
}

#[test]
fn every_file_for_a_controller_is_accepted() {
    let mut count = 0;
    for directory in ["nginx", "haproxy", "traefik", "gateway-api", "istio"] {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("deploy")
            .join(directory);
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let is_manifest = text.lines().any(|line| line.starts_with("kind: "));
            if !path.extension().is_some_and(|it| it == "yaml") || !is_manifest {
                continue;
            }
            // The objects can be in namespaces of their own, which a dry run does not create.
            for namespace in namespaces(&text) {
                put_namespace(&namespace, "");
            }
            assert_accepted(path.to_str().unwrap(), &text);
            count += 1;
        }
    }
    assert!(count >= 12, "{count}");
}

/// Returns the namespaces of the objects of a manifest.
fn namespaces(manifest: &str) -> Vec<String> {
    let names = manifest.lines().filter_map(|line| {
        let name = line.trim().strip_prefix("namespace: ")?;
        Some(name.trim_end_matches('}').trim().to_owned())
    });
    names.filter(|name| !name.is_empty()).collect()
}
