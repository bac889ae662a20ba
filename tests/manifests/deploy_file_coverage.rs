//! Checks that a test loads, renders or validates each file in `deploy/`.

use std::path::Path;

/// The tests, and the files of `deploy/` that each test loads.
const LOADED_FILES: [(&str, &[&str]); 14] = [
    (
        "tests/streams runs them in NGINX and in Curfew",
        &["nginx/streams.conf", "curfew/streams.yaml"],
    ),
    (
        "tests/proxies runs them in the real proxies",
        &[
            "caddy/Caddyfile",
            "envoy/grpc.yaml",
            "envoy/http.yaml",
            "haproxy/curfew-spoe.conf",
            "haproxy/haproxy.cfg",
            "nginx/curfew.conf",
            "nginx/ingress.yaml",
            "traefik/curfew.yaml",
            "traefik/traefik.yaml",
        ],
    ),
    (
        "tests/manifests checks them against the schemas of their kinds, and compares them with the files of tests/proxies",
        &[
            "contour/contour.yaml",
            "gateway-api/envoy-gateway-global.yaml",
            "gateway-api/envoy-gateway.yaml",
            "gateway-api/external-auth.yaml",
            "haproxy/ingress-global.yaml",
            "haproxy/ingress.yaml",
            "nginx/ingress-global.yaml",
            "nginx/ingress-streams.yaml",
            "istio/authorization-policy-global.yaml",
            "istio/authorization-policy.yaml",
            "istio/mesh-config.yaml",
            "traefik/docker-compose.yaml",
            "traefik/gateway-api.yaml",
            "traefik/ingress-nginx.yaml",
            "traefik/ingress.yaml",
            "traefik/kubernetes-global.yaml",
            "traefik/kubernetes.yaml",
        ],
    ),
    (
        "tests/manifests/admission.rs evaluates their expressions",
        &[
            "kubernetes/components/admission/limits.yaml",
            "kubernetes/components/checks/admission.yaml",
            "nginx/ingress-admission.yaml",
        ],
    ),
    (
        "tests/manifests/configuration.rs and the program load them",
        &["curfew/curfew.schema.json", "curfew/curfew.yaml"],
    ),
    (
        "tests/identity runs them with oauth2-proxy",
        &[
            "oauth2-proxy/curfew.yaml",
            "oauth2-proxy/envoy-cluster.yaml",
            "oauth2-proxy/envoy-routes.yaml",
            "oauth2-proxy/nginx.conf",
            "oauth2-proxy/oauth2-proxy.cfg",
            "oauth2-proxy/traefik.yaml",
        ],
    ),
    (
        "tests/keycloak runs them with Keycloak",
        &[
            "keycloak/realm.json",
            "keycloak/sign-in.yaml",
            "keycloak/tokens.yaml",
        ],
    ),
    (
        "tests/stack runs the files that docker-compose.yml mounts",
        &["compose/curfew.yaml", "prometheus/prometheus.yaml"],
    ),
    (
        "tests/manifests/monitoring.rs",
        &[
            "grafana/dashboards.yaml",
            "grafana/datasource.yaml",
            "helm/curfew/files/alerts.yaml",
            "helm/curfew/files/dashboard.json",
        ],
    ),
    (
        "tests/manifests/kubernetes.rs renders them with helm",
        &[
            "helm/curfew/.helmignore",
            "helm/curfew/Chart.yaml",
            "helm/curfew/templates/NOTES.txt",
            "helm/curfew/templates/_helpers.tpl",
            "helm/curfew/templates/admission.yaml",
            "helm/curfew/templates/configmap.yaml",
            "helm/curfew/templates/deployment.yaml",
            "helm/curfew/templates/horizontalpodautoscaler.yaml",
            "helm/curfew/templates/monitoring.yaml",
            "helm/curfew/templates/networkpolicy.yaml",
            "helm/curfew/templates/poddisruptionbudget.yaml",
            "helm/curfew/templates/policies.yaml",
            "helm/curfew/templates/rbac.yaml",
            "helm/curfew/templates/secret.yaml",
            "helm/curfew/templates/service.yaml",
            "helm/curfew/templates/serviceaccount.yaml",
            "helm/curfew/templates/tests/ready.yaml",
            "helm/curfew/values.schema.json",
            "helm/curfew/values.yaml",
        ],
    ),
    (
        "tests/manifests/kubernetes.rs renders them with kubectl",
        &[
            "kubernetes/base/deployment.yaml",
            "kubernetes/base/kustomization.yaml",
            "kubernetes/base/namespace.yaml",
            "kubernetes/base/networkpolicy.yaml",
            "kubernetes/base/poddisruptionbudget.yaml",
            "kubernetes/base/service.yaml",
            "kubernetes/base/serviceaccount.yaml",
            "kubernetes/components/admin/kustomization.yaml",
            "kubernetes/components/admin/networkpolicy.yaml",
            "kubernetes/components/admin/service.yaml",
            "kubernetes/components/admission/kustomization.yaml",
            "kubernetes/components/checks/kustomization.yaml",
            "kubernetes/components/identity/kustomization.yaml",
            "kubernetes/components/identity/roles.yaml",
            "kubernetes/components/policies/crds.yaml",
            "kubernetes/components/policies/kustomization.yaml",
            "kubernetes/components/policies/roles.yaml",
        ],
    ),
    (
        "tests/manifests/kubernetes.rs compares them with the files of the components",
        &[
            "helm/curfew/crds/curfew.dev.yaml",
            "helm/curfew/files/admission.yaml",
        ],
    ),
    (
        "tests/manifests/kubernetes.rs renders each overlay with kubectl",
        &[
            "kubernetes/overlays/cluster/curfew.yaml",
            "kubernetes/overlays/cluster/kustomization.yaml",
            "kubernetes/overlays/memory/curfew.yaml",
            "kubernetes/overlays/memory/kustomization.yaml",
            "kubernetes/overlays/redis/curfew.yaml",
            "kubernetes/overlays/redis/kustomization.yaml",
            "kubernetes/overlays/sentinel/curfew.yaml",
            "kubernetes/overlays/sentinel/kustomization.yaml",
        ],
    ),
    ("tests/manifests/systemd.rs", &["systemd/curfew.service"]),
];

#[test]
fn every_file_of_deploy_is_tested() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let mut deploy_files = Vec::new();
    let mut folders = vec![deploy.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&deploy).unwrap();
                deploy_files.push(name.to_str().unwrap().to_owned());
            }
        }
    }
    let mut loaded_files: Vec<&str> = LOADED_FILES
        .iter()
        .flat_map(|(_, files)| *files)
        .copied()
        .collect();
    deploy_files.sort_unstable();
    loaded_files.sort_unstable();
    assert_eq!(
        deploy_files, loaded_files,
        "each new file needs a test, and an entry in LOADED_FILES"
    );
}
