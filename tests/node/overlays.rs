//! Each overlay of `deploy/kubernetes` becomes ready, and checks sessions.

use std::path::Path;

use crate::load::Service;
use crate::support::kubectl::kubectl;
use crate::support::repository_root;
use crate::{NAMESPACE, Namespace, pods, start_redis, wait_for_rollout};

/// Installs an overlay, and waits until it is ready.
pub fn install(overlay: &str) {
    kubectl(
        &["apply", "--server-side", "--force-conflicts", "-k", overlay],
        "",
    );
    wait_for_rollout();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_overlay_becomes_ready_and_checks_sessions() {
    start_redis();
    let overlays = repository_root().join("deploy/kubernetes/overlays");
    let mut count = 0;
    for entry in std::fs::read_dir(overlays).unwrap() {
        let path = entry.unwrap().path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap()
            .to_owned();
        let namespace = Namespace::create();
        install(path.to_str().unwrap());
        let replicas = if name == "memory" { 1 } else { 2 };
        assert_eq!(pods::count_ready(), replicas, "{name}");
        // The installation must not need restarts.
        assert_eq!(pods::count_restarts(), 0, "{name}");
        let service = Service::start(&namespace).await;
        let counts = service.during(&format!("overlay {name}"), || ()).await;
        assert!(counts.errors.is_empty(), "{name}: {:?}", counts.errors);
        count += 1;
    }
    assert_eq!(count, 4);
}

/// With the component `policies`, Curfew uses the token in its pod, and the pod has no other rights.
#[tokio::test(flavor = "multi_thread")]
async fn the_component_policies_works_with_the_token_of_the_pod() {
    start_redis();
    let namespace = Namespace::create();
    // Kustomize refuses absolute paths.
    let directory = tempfile::TempDir::new_in(repository_root().join("target")).unwrap();
    let kustomization = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: curfew\n\
        resources: [../../deploy/kubernetes/overlays/redis]\n\
        components: [../../deploy/kubernetes/components/policies]\n";
    std::fs::write(directory.path().join("kustomization.yaml"), kustomization).unwrap();
    install(directory.path().to_str().unwrap());
    let service = Service::start(&namespace).await;
    kubectl(&["apply", "-f", "-"], POLICY);
    let arguments = [
        "wait",
        "clustersessionpolicy/ceiling",
        "--for=condition=Accepted",
    ];
    kubectl(&[&arguments[..], &["--timeout=60s"]].concat(), "");
    let counts = service.during("with policies", || ()).await;
    assert!(counts.errors.is_empty(), "{:?}", counts.errors);
    let logs = ["logs", "--namespace", NAMESPACE, "deployment/curfew"];
    let log = kubectl(&logs, "");
    assert!(!log.contains("Forbidden"), "{log}");
    kubectl(&["delete", "clustersessionpolicy", "ceiling"], "");
    let token = Path::new("var/run/secrets/kubernetes.io/serviceaccount/token");
    for process in pods::Process::list() {
        assert!(process.root().join(token).exists());
    }
}

const POLICY: &str = "
apiVersion: curfew.dev/v1alpha1
kind: ClusterSessionPolicy
metadata: { name: ceiling }
spec: { namespaceSelector: {}, ceiling: { idle: 30m } }
";
