//! Renders `deploy/kubernetes` and `deploy/helm` with the real kubectl and helm. Validates the result with the
//! schemas of several Kubernetes versions, and with the program.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use curfew::config::{ConfigSource, Environment};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::deployment::installed_path;
use crate::support::helm_values::{ALL_FEATURES, PRODUCTION_VALUES};

/// The oldest supported version, the newest version, and some versions between them.
const KUBERNETES_VERSIONS: [&str; 5] = ["1.29", "1.31", "1.33", "1.35", "1.37"];
const OVERLAYS: [&str; 4] = ["memory", "redis", "sentinel", "cluster"];

fn run_tool(program: &str, arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    Command::new(installed_path(program))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .env("HOME", home.path())
        .output()
        .unwrap()
}

fn stdout_of(output: Output) -> String {
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{messages}");
    String::from_utf8(output.stdout).unwrap()
}

fn render_overlay(name: &str) -> String {
    stdout_of(run_tool(
        "kubectl",
        &["kustomize", &format!("deploy/kubernetes/overlays/{name}")],
    ))
}

fn render_chart(values: &[&str]) -> Output {
    let sets = values.iter().flat_map(|value| ["--set", *value]);
    let arguments = [
        "template",
        "curfew",
        "deploy/helm/curfew",
        "--namespace",
        "curfew",
    ];
    run_tool(
        "helm",
        &arguments.into_iter().chain(sets).collect::<Vec<_>>(),
    )
}

/// Rendered manifests, and the file that contains them.
struct RenderedManifests {
    directory: TempDir,
    documents: Vec<Value>,
}

impl RenderedManifests {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rendered.yaml");
        std::fs::write(&path, text).unwrap();
        let documents = super::read_documents(path.to_str().unwrap());
        Self {
            directory,
            documents,
        }
    }

    fn path(&self) -> String {
        self.directory
            .path()
            .join("rendered.yaml")
            .to_str()
            .unwrap()
            .to_owned()
    }

    fn objects_of_kind(&self, kind: &str) -> Vec<&Value> {
        let all = self.documents.iter();
        all.filter(|document| document["kind"] == kind).collect()
    }

    fn find_object(&self, kind: &str, name: &str) -> &Value {
        let found = self.objects_of_kind(kind).into_iter();
        let mut found = found.filter(|document| document["metadata"]["name"] == name);
        found
            .next()
            .unwrap_or_else(|| panic!("{kind}/{name} is not in the manifests"))
    }

    /// Returns the configuration that the pod mounts.
    fn configuration_text(&self) -> &str {
        let name = self.config_map_name();
        let config_map = self.find_object("ConfigMap", name);
        config_map["data"]["curfew.yaml"].as_str().unwrap()
    }

    /// Returns the name of the ConfigMap that the pod mounts.
    fn config_map_name(&self) -> &str {
        let volumes = self.pod()["volumes"].as_array().unwrap();
        let volume = volumes.iter().find(|volume| volume["name"] == "config");
        volume.unwrap()["configMap"]["name"].as_str().unwrap()
    }

    fn pod(&self) -> &Value {
        &self.find_object("Deployment", "curfew")["spec"]["template"]["spec"]
    }

    /// Returns only the objects of Kubernetes itself.
    fn without_custom_resources(&self) -> Self {
        let core_manifests =
            |document: &&Value| document["apiVersion"] != "monitoring.coreos.com/v1";
        let core_manifests = self
            .documents
            .iter()
            .filter(core_manifests)
            .map(Value::to_string);
        Self::new(&core_manifests.collect::<Vec<_>>().join("\n---\n"))
    }

    fn assert_valid(&self, version: &str) {
        let arguments = ["-k", version, "--strict", &self.path()];
        let output = run_tool("bin/kubernetes-validate", &arguments);
        let messages = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{version}: {messages}");
    }

    /// Asserts that the program accepts the configuration of the ConfigMap together with generated files for the
    /// Secret. Returns the effective configuration.
    fn assert_valid_configuration(&self) -> Value {
        let text = self.configuration_text();
        let secret = self.directory.path().join("secret");
        std::fs::create_dir(&secret).unwrap();
        let secret = secret.to_str().unwrap();
        let curfew = |arguments: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_curfew"));
            stdout_of(command.args(arguments).env_clear().output().unwrap())
        };
        curfew(&["keygen", "--directory", secret]);
        std::fs::write(format!("{secret}/redis-password"), "guess").unwrap();
        let path = self.directory.path().join("curfew.yaml");
        // Outside a pod, the files of a ServiceAccount are missing.
        let text = text.replace("/etc/curfew/secret", secret);
        let text = text
            .replace(
                "kubernetes:\n    enabled: true",
                "kubernetes:\n    enabled: false",
            )
            .replace(
                "kubernetes:\n  policies: true",
                &format!("kubernetes:\n  policies: true\n  token_file: {secret}/keys\n  ca_file: {secret}/keys"),
            );
        std::fs::write(&path, text).unwrap();
        let printed = curfew(&["check-config", "--config", path.to_str().unwrap()]);
        assert!(!printed.contains("guess"), "{printed}");
        let source = ConfigSource {
            file: Some(path),
            environment: Environment::default(),
        };
        serde_json::to_value(source.load().unwrap().effective).unwrap()
    }
}

#[test]
fn the_overlays_are_valid() {
    for name in OVERLAYS {
        let rendered = RenderedManifests::new(&render_overlay(name));
        for version in KUBERNETES_VERSIONS {
            rendered.assert_valid(version);
        }
        let effective = rendered.assert_valid_configuration();
        assert_eq!(effective["shutdown_delay"], "5s");
        let deployment = rendered.find_object("Deployment", "curfew");
        assert_eq!(
            deployment["spec"]["replicas"],
            if name == "memory" { 1 } else { 2 }
        );
        assert_eq!(
            rendered.objects_of_kind("PodDisruptionBudget").len(),
            usize::from(name != "memory")
        );
        assert_restricted(rendered.pod());
        assert_reachable(&rendered);
    }
}

#[test]
fn the_chart_is_valid() {
    for values in [&["replicas=1"][..], &PRODUCTION_VALUES, &ALL_FEATURES] {
        let sets: Vec<&str> = values.iter().flat_map(|value| ["--set", *value]).collect();
        let lint = [&["lint", "--strict", "deploy/helm/curfew"][..], &sets].concat();
        stdout_of(run_tool("helm", &lint));
        let rendered = RenderedManifests::new(&stdout_of(render_chart(values)));
        let core_manifests = rendered.without_custom_resources();
        for version in KUBERNETES_VERSIONS {
            core_manifests.assert_valid(version);
        }
        rendered.assert_valid_configuration();
        assert_restricted(rendered.pod());
        assert_restricted(&rendered.find_object("Pod", "curfew-ready")["spec"]);
        assert_reachable(&rendered);
        let others = super::run_checker(&[&rendered.path()]);
        let mistakes = String::from_utf8_lossy(&others.stderr).into_owned();
        // The checker has no schema for some kinds. The validation above covers these kinds.
        let mistakes = mistakes
            .lines()
            .filter(|line| !line.contains("no schema for"));
        assert_eq!(mistakes.collect::<Vec<_>>(), [""; 0]);
    }
}

#[test]
fn optional_features_are_rendered() {
    let rendered = RenderedManifests::new(&stdout_of(render_chart(&ALL_FEATURES)));
    let config = rendered.configuration_text();
    assert!(config.contains("kubernetes:\n    enabled: true"));
    assert_eq!(rendered.pod()["automountServiceAccountToken"], true);
    let effective = rendered.assert_valid_configuration();
    assert_eq!(effective["listen"]["admin"], "[::]:9188");
    assert_eq!(effective["listen"]["spoe"], "[::]:9182");
    assert_eq!(effective["listen"]["proxy"], "[::]:9184");
    for (kind, count) in [
        ("Service", 3),
        ("HorizontalPodAutoscaler", 1),
        ("PodDisruptionBudget", 1),
        ("NetworkPolicy", 1),
        ("ServiceMonitor", 1),
        ("PrometheusRule", 1),
        ("ConfigMap", 2),
        ("Role", 1),
        ("ClusterRole", 5),
        ("ClusterRoleBinding", 3),
    ] {
        assert_eq!(rendered.objects_of_kind(kind).len(), count, "{kind}");
    }
    let policy = &rendered.find_object("NetworkPolicy", "curfew")["spec"];
    let admin = &policy["ingress"][2];
    assert_eq!(admin["ports"][0]["port"], "admin");
    assert_eq!(
        admin["from"][0]["podSelector"]["matchLabels"]["app"],
        "shop"
    );
    assert!(rendered.find_object("Deployment", "curfew")["spec"]["replicas"].is_null());
    let rule = &rendered.find_object("PrometheusRule", "curfew")["spec"];
    let alerts = super::read_documents("deploy/helm/curfew/files/alerts.yaml");
    assert_eq!(rule, &alerts[0]);
    let dashboard =
        rendered.find_object("ConfigMap", "curfew-dashboard")["data"]["curfew.json"].as_str();
    let dashboard: Value = serde_json::from_str(dashboard.unwrap()).unwrap();
    assert_eq!(dashboard["title"], "Curfew");
    let container = &rendered.pod()["containers"][0];
    assert_eq!(container["env"][1]["name"], "CURFEW__LOG__FILTER");
    assert_eq!(container["volumeMounts"][2]["mountPath"], "/ca");
}

/// `helm test` runs in another pod, with the same image.
#[test]
fn the_test_pod_gets_its_image_as_the_other_pods_do() {
    let values = [
        PRODUCTION_VALUES[0],
        PRODUCTION_VALUES[1],
        "imagePullSecrets[0].name=registry,image.pullPolicy=Always,image.tag=other",
    ];
    let rendered = RenderedManifests::new(&stdout_of(render_chart(&values)));
    let test_pod = &rendered.find_object("Pod", "curfew-ready")["spec"];
    assert_eq!(
        test_pod["imagePullSecrets"],
        json!([{ "name": "registry" }])
    );
    assert_eq!(
        test_pod["imagePullSecrets"],
        rendered.pod()["imagePullSecrets"]
    );
    for field in ["image", "imagePullPolicy"] {
        let value = &test_pod["containers"][0][field];
        assert!(value.is_string());
        assert_eq!(*value, rendered.pod()["containers"][0][field], "{field}");
    }
}

/// During an upgrade, Kubernetes can start a pod of the old template. It must not get a configuration that names files
/// which only the new template mounts. So a change that needs a new pod changes the name of the ConfigMap, and a rollback
/// restores the name. The other changes keep the name, because Curfew reloads them.
#[test]
fn the_config_map_has_another_name_if_the_pods_must_change() {
    let name = |values: &[&str]| {
        let rendered = RenderedManifests::new(&stdout_of(render_chart(values)));
        rendered.config_map_name().to_owned()
    };
    let trial = name(&["replicas=1"]);
    let production = name(&PRODUCTION_VALUES);
    assert_ne!(trial, production);
    // The generated admin token is another one at each rendering.
    assert_eq!(trial, name(&["replicas=1"]));
    let changed = |value| name(&[PRODUCTION_VALUES[0], PRODUCTION_VALUES[1], value]);
    let mut restart_keys = Vec::new();
    for value in [
        "config.listen.grpc=off",
        "config.store.prefix=other",
        "config.events.webhook_url=https://siem.example.com/",
        "config.traces.otlp_url=https://collector.example.com/",
        "config.log.format=human",
        "config.shutdown_delay=9s",
        "config.shutdown_timeout=9s",
    ] {
        assert_ne!(changed(value), production, "{value}");
        let key = value.split_once('=').unwrap().0;
        restart_keys.push(key.strip_prefix("config.").unwrap());
    }
    for value in [
        "kubernetesPolicies.enabled=true",
        "service.spoe=true",
        "secret.existing=other",
        "redis.password=true",
        "env[0].name=A,env[0].value=b",
        "envFrom[0].secretRef.name=other",
        "extraVolumes[0].name=ca,extraVolumes[0].secret.secretName=ca",
        "extraVolumeMounts[0].name=ca,extraVolumeMounts[0].mountPath=/ca",
    ] {
        assert_ne!(changed(value), production, "{value}");
    }
    for value in [
        "config.policies.default.idle=5m",
        "config.log.filter=debug",
        "config.store.check_timeout=1s",
        "config.sign_in.url=https://login.example.com/",
        "replicas=5",
        "image.tag=other",
    ] {
        assert_eq!(changed(value), production, "{value}");
    }
    // The page lists all keys that need a restart.
    let page = include_str!("../../docs/configuration.md");
    let (_, list) = page.split_once("**These keys need a restart:**").unwrap();
    let list = list.split_once(". If").unwrap().0;
    let documented: Vec<&str> = list.split('`').skip(1).step_by(2).collect();
    assert!(documented.len() >= 7, "{documented:?}");
    for key in documented {
        let is_tested = restart_keys.iter().any(|tested| tested.starts_with(key));
        assert!(is_tested || key == "store.check_timeout", "{key}");
    }
}

/// No pod of one overlay gets the configuration of another overlay.
#[test]
fn each_overlay_has_a_config_map_of_its_own() {
    let names = OVERLAYS.map(|name| {
        let rendered = RenderedManifests::new(&render_overlay(name));
        rendered.config_map_name().to_owned()
    });
    assert_eq!(names, OVERLAYS.map(|name| format!("curfew-{name}")));
}

/// The trial needs no Secret of the operator. The admin token is in a generated Secret, because a log must not contain it.
#[test]
fn the_trial_has_a_generated_admin_token() {
    let rendered = RenderedManifests::new(&stdout_of(render_chart(&["replicas=1"])));
    let secret = rendered.find_object("Secret", "curfew-admin-token");
    let read = |key: &str| {
        let text = secret["data"][key].as_str().unwrap();
        String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()
    };
    let token = read("admin-token");
    assert!(
        token.starts_with("cfwadmin_") && token.len() > 50,
        "{token}"
    );
    let hash = Sha256::digest(&token);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(read("admin-token-hashes"), hash);
    let volumes = rendered.pod()["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|volume| volume["name"] == "secret");
    let volume = &volume.unwrap()["secret"];
    assert_eq!(volume["secretName"], "curfew-admin-token");
    // The pod gets the hash, not the token.
    let item = json!([{ "key": "admin-token-hashes", "path": "admin-token-hashes" }]);
    assert_eq!(volume["items"], item);
    let config = rendered.configuration_text();
    assert!(!config.contains(&token), "{config}");
    let effective = rendered.assert_valid_configuration();
    let file = effective["admin"]["token_hashes_file"].as_str().unwrap();
    assert!(file.ends_with("/admin-token-hashes"), "{file}");
    for values in [
        &PRODUCTION_VALUES[..],
        &["replicas=1", "secret.existing=curfew"],
        &["replicas=1", "kubernetesIdentity.enabled=true"],
        &["replicas=1", "config.admin.kubernetes.enabled=true"],
        &["replicas=1", "config.admin.token_hashes_file=/file"],
    ] {
        let rendered = RenderedManifests::new(&stdout_of(render_chart(values)));
        assert!(rendered.objects_of_kind("Secret").is_empty(), "{values:?}");
    }
}

/// By default, the admin API listens on the loopback address, so only processes in the pod can reach it.
#[test]
fn the_admin_api_is_closed_by_default() {
    for rendered in [
        &stdout_of(render_chart(&PRODUCTION_VALUES)),
        &render_overlay("redis"),
    ] {
        let rendered = RenderedManifests::new(rendered);
        assert!(
            !rendered
                .documents
                .iter()
                .any(|it| it.to_string().contains("9188"))
        );
        assert_eq!(
            rendered.assert_valid_configuration()["listen"]["admin"],
            serde_json::json!(["127.0.0.1:9188", "[::1]:9188"])
        );
    }
    let directory = tempfile::tempdir().unwrap();
    let deploy = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes");
    let text = format!(
        "resources: [{0}/overlays/redis]\ncomponents: [{0}/components/admin, {0}/components/identity, {0}/components/policies]\n",
        // kustomize accepts no absolute paths.
        relative_path(&deploy, directory.path())
    );
    std::fs::write(directory.path().join("kustomization.yaml"), text).unwrap();
    let path = directory.path().to_str().unwrap();
    let with_admin_api =
        RenderedManifests::new(&stdout_of(run_tool("kubectl", &["kustomize", path])));
    for version in KUBERNETES_VERSIONS {
        with_admin_api.assert_valid(version);
    }
    let peer = &with_admin_api.find_object("NetworkPolicy", "curfew-admin")["spec"]["ingress"][0]["from"]
        [0];
    let chart = RenderedManifests::new(&stdout_of(render_chart(&ALL_FEATURES)));
    for role in [
        "curfew-session-viewer",
        "curfew-session-operator",
        "curfew-policies",
        "curfew-session-policy-editor",
        "curfew-session-policy-viewer",
    ] {
        let rules = |of: &RenderedManifests| of.find_object("ClusterRole", role)["rules"].clone();
        assert_eq!(rules(&with_admin_api), rules(&chart));
    }
    let reviewer = |of: &RenderedManifests| {
        of.find_object("ClusterRoleBinding", "curfew-reviewer")["roleRef"].clone()
    };
    assert_eq!(reviewer(&with_admin_api), reviewer(&chart));
    let client = json!({ "curfew.dev/admin-client": "true" });
    assert_eq!(peer["podSelector"]["matchLabels"], client);
    assert_eq!(peer["namespaceSelector"]["matchLabels"], client);
}

/// Helm installs the same definitions of resources as Kustomize.
#[test]
fn the_chart_has_the_definitions_of_the_component() {
    let read = |path: &str| crate::support::deployment::read_deploy_file(path);
    assert_eq!(
        read("helm/curfew/crds/curfew.dev.yaml"),
        read("kubernetes/components/policies/crds.yaml")
    );
}

/// The component and the chart have the same admission policies, which need Kubernetes 1.30.
#[test]
fn the_admission_policies_are_valid() {
    let read = |path: &str| crate::support::deployment::read_deploy_file(path);
    assert_eq!(
        read("helm/curfew/files/admission.yaml"),
        read("kubernetes/components/admission/limits.yaml")
    );
    let values = [
        PRODUCTION_VALUES[0],
        PRODUCTION_VALUES[1],
        "kubernetesPolicies.enabled=true",
        "kubernetesPolicies.admission=true",
    ];
    let chart = RenderedManifests::new(&stdout_of(render_chart(&values)));
    let directory = tempfile::tempdir().unwrap();
    let deploy = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes");
    let deploy = relative_path(&deploy, directory.path());
    let text = format!(
        "resources: [{deploy}/overlays/redis]\ncomponents: [{deploy}/components/policies, {deploy}/components/admission, {deploy}/components/checks]\n"
    );
    std::fs::write(directory.path().join("kustomization.yaml"), text).unwrap();
    let path = directory.path().to_str().unwrap();
    let overlay = RenderedManifests::new(&stdout_of(run_tool("kubectl", &["kustomize", path])));
    for version in KUBERNETES_VERSIONS {
        if version != "1.29" {
            chart.assert_valid(version);
            overlay.assert_valid(version);
        }
    }
    for name in ["curfew-ceiling", "curfew-annotations"] {
        for kind in [
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
        ] {
            let [chart, overlay] = [&chart, &overlay].map(|of| of.find_object(kind, name));
            assert_eq!(chart["spec"], overlay["spec"], "{kind} {name}");
        }
    }
    overlay.find_object("ValidatingAdmissionPolicy", "curfew-checks");
    for values in [&ALL_FEATURES[..], &values[..2]] {
        let rendered = RenderedManifests::new(&stdout_of(render_chart(values)));
        assert!(
            rendered
                .objects_of_kind("ValidatingAdmissionPolicy")
                .is_empty()
        );
    }
}

/// Returns the relative path from one directory to another, through the root directory.
fn relative_path(to: &std::path::Path, from: &std::path::Path) -> String {
    let up = "../".repeat(from.canonicalize().unwrap().components().count() - 1);
    let to = to.canonicalize().unwrap();
    format!("{up}{}", to.strip_prefix("/").unwrap().display())
}

/// Probes, the Helm test and Prometheus use the scheme of the ops listener.
#[test]
fn clients_of_the_ops_listener_use_its_scheme() {
    for (tls, scheme) in [
        (None, "http"),
        (
            Some("config.tls.ops.cert_file=/etc/curfew/tls/tls.crt"),
            "https",
        ),
    ] {
        let mut values = ALL_FEATURES.to_vec();
        values.extend(tls);
        let rendered = RenderedManifests::new(&stdout_of(render_chart(&values)));
        let container = &rendered.pod()["containers"][0];
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            // Without a scheme, the kubelet uses HTTP.
            let probe_scheme = container[probe]["httpGet"]["scheme"].as_str();
            assert_eq!(probe_scheme.unwrap_or("HTTP"), scheme.to_uppercase());
        }
        let monitor = rendered.find_object("ServiceMonitor", "curfew");
        assert_eq!(monitor["spec"]["endpoints"][0]["scheme"], scheme);
        let test_pod = rendered.find_object("Pod", "curfew-ready");
        let url = &test_pod["spec"]["containers"][0]["args"][2];
        assert_eq!(*url, format!("{scheme}://curfew-ops:9189"));
    }
}

#[test]
fn invalid_values_are_rejected_with_a_hint() {
    for (values, hint) in [
        (&[][..], "redis.url: required for more than one replica"),
        (
            &["redis.url=redis://r"],
            "secret.existing: required with redis.url",
        ),
        (
            &[
                PRODUCTION_VALUES[0],
                PRODUCTION_VALUES[1],
                "config.tls.ops.client_ca_file=/etc/curfew/tls/ca.pem",
            ],
            "config.tls.ops.client_ca_file: the kubelet has no client certificate",
        ),
        (
            &["replicas=1", "autoscaling.enabled=true"],
            "redis.url: required",
        ),
        (&["replicas=two"], "replicas"),
        (&["replica=1"], "replica"),
        (
            &["redis.url=redis://user:password@r", "secret.existing=c"],
            "redis/url",
        ),
        (&["replicas=1", "image.digest=latest"], "image/digest"),
        (
            &[
                "replicas=1",
                "admin.service=true",
                "networkPolicy.enabled=false",
            ],
            "admin.service: the admin API uses plain HTTP",
        ),
    ] {
        let output = render_chart(values);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{values:?}");
        assert!(error.contains(hint), "{values:?}: {error}");
    }
}

/// The chart and the manifests start the program with the same settings.
#[test]
fn the_chart_and_the_overlays_agree() {
    let (chart, overlay) = (
        RenderedManifests::new(&stdout_of(render_chart(&PRODUCTION_VALUES))),
        RenderedManifests::new(&render_overlay("sentinel")),
    );
    for key in [
        "securityContext",
        "terminationGracePeriodSeconds",
        "automountServiceAccountToken",
        "enableServiceLinks",
    ] {
        assert_eq!(chart.pod()[key], overlay.pod()[key], "{key}");
    }
    let (chart_container, overlay_container) = (
        &chart.pod()["containers"][0],
        &overlay.pod()["containers"][0],
    );
    for key in [
        "args",
        "env",
        "image",
        "ports",
        "startupProbe",
        "livenessProbe",
        "readinessProbe",
        "resources",
        "securityContext",
        "volumeMounts",
    ] {
        assert_eq!(chart_container[key], overlay_container[key], "{key}");
    }
    let image = format!("curfew:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        chart_container["image"], *image,
        "the image should have the version of the crate"
    );
}

/// Asserts that the pod meets the Pod Security Standard `restricted`, and some stricter requirements.
fn assert_restricted(pod: &Value) {
    let security = &pod["securityContext"];
    assert_eq!(security["runAsNonRoot"], true);
    assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
    for container in pod["containers"].as_array().unwrap() {
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
        assert!(container["resources"]["limits"]["memory"].is_string());
    }
}

/// Asserts that probes, Services and network policies name existing ports, and that the Service has the name that the
/// proxies' manifests use.
fn assert_reachable(rendered: &RenderedManifests) {
    let container = &rendered.pod()["containers"][0];
    let ports: BTreeMap<&str, u64> = container["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| {
            let name = port["name"].as_str().unwrap();
            (name, port["containerPort"].as_u64().unwrap())
        })
        .collect();
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let port = container[probe]["httpGet"]["port"].as_str().unwrap();
        assert_eq!(ports[port], 9189);
    }
    for service in rendered.objects_of_kind("Service") {
        for port in service["spec"]["ports"].as_array().unwrap() {
            let target = port["targetPort"].as_str().unwrap();
            assert_eq!(ports[target], port["port"].as_u64().unwrap(), "{port}");
        }
    }
    for policy in rendered.objects_of_kind("NetworkPolicy") {
        for rule in policy["spec"]["ingress"].as_array().unwrap() {
            for port in rule["ports"].as_array().unwrap() {
                assert!(ports.contains_key(port["port"].as_str().unwrap()), "{port}");
            }
        }
    }
    let service = rendered.find_object("Service", "curfew");
    assert_eq!(service["metadata"]["namespace"], "curfew");
    let ingress = crate::support::deployment::read_deploy_file("nginx/ingress.yaml");
    assert!(ingress.contains("http://curfew.curfew.svc.cluster.local:9180/"));
    let labels =
        &rendered.find_object("Deployment", "curfew")["spec"]["template"]["metadata"]["labels"];
    let selector = service["spec"]["selector"].as_object().unwrap();
    assert!(selector.iter().all(|(key, value)| labels[key] == *value));
}

/// helm prints the notes after an installation.
#[test]
fn the_notes_name_the_addresses_and_missing_settings() {
    let render_notes = |values: &[&str]| {
        let sets = values.iter().flat_map(|value| ["--set", *value]);
        let arguments = [
            "install",
            "curfew",
            "deploy/helm/curfew",
            "--dry-run=client",
            "--namespace",
            "auth",
        ];
        let printed = stdout_of(run_tool(
            "helm",
            &arguments.into_iter().chain(sets).collect::<Vec<_>>(),
        ));
        printed.split_once("\nNOTES:\n").unwrap().1.to_owned()
    };
    let trial_notes = render_notes(&["replicas=1"]);
    assert!(
        trial_notes.contains("http://curfew.auth.svc.cluster.local:9180/forward-auth"),
        "{trial_notes}"
    );
    assert!(
        trial_notes.contains("http://curfew.auth.svc.cluster.local:9183"),
        "{trial_notes}"
    );
    assert!(
        trial_notes.contains("Sessions are in memory"),
        "{trial_notes}"
    );
    assert!(
        trial_notes.contains("kubectl --namespace auth port-forward deployment/curfew 9188"),
        "{trial_notes}"
    );
    assert!(
        trial_notes.contains("kubectl --namespace auth get secret curfew-admin-token"),
        "{trial_notes}"
    );
    let production_notes = render_notes(&ALL_FEATURES);
    assert!(
        !production_notes.contains("in memory") && !production_notes.contains("admin token"),
        "{production_notes}"
    );
    assert!(
        production_notes.contains("http://curfew-admin.auth.svc.cluster.local:9188"),
        "{production_notes}"
    );
    assert!(production_notes.contains(":9182"), "{production_notes}");
}

/// Returns the selectors of an object: which pods it protects, opens or serves.
fn selectors(object: &Value) -> Vec<&Value> {
    let spec = &object["spec"];
    match object["kind"].as_str().unwrap_or_default() {
        "PodDisruptionBudget" | "Deployment" => vec![&spec["selector"]["matchLabels"]],
        "NetworkPolicy" => vec![&spec["podSelector"]["matchLabels"]],
        "Service" => vec![&spec["selector"]],
        _ => Vec::new(),
    }
}

/// A budget without a selector protects nothing, and a network policy with an empty one applies to the whole namespace.
#[test]
fn every_selector_selects_exactly_the_pods_of_curfew() {
    let overlays = OVERLAYS
        .iter()
        .map(|name| RenderedManifests::new(&render_overlay(name)));
    let chart = RenderedManifests::new(&stdout_of(render_chart(&ALL_FEATURES)));
    for manifests in overlays.chain([chart]) {
        let deployment = manifests.find_object("Deployment", "curfew");
        let labels = deployment["spec"]["template"]["metadata"]["labels"].as_object();
        let labels = labels.unwrap();
        let mut kinds = std::collections::BTreeSet::new();
        for object in &manifests.documents {
            for selector in selectors(object) {
                let kind = object["kind"].as_str().unwrap();
                let selector = selector.as_object();
                let selector = selector.unwrap_or_else(|| panic!("{kind} has no selector"));
                assert!(!selector.is_empty(), "the selector of {kind} is empty");
                for (name, value) in selector {
                    assert_eq!(labels.get(name), Some(value), "{kind} {name}");
                }
                kinds.insert(kind);
            }
        }
        assert!(
            kinds.contains("NetworkPolicy") && kinds.contains("Service"),
            "{kinds:?}"
        );
    }
}

/// A cluster can have several controllers. Their files must not replace the objects of each other. Two files of one
/// controller are alternatives, so they may.
#[test]
fn files_of_different_controllers_have_different_objects() {
    let controller = |file: &str| match file.rsplit_once('/').unwrap() {
        // These are for different implementations of the Gateway API.
        ("deploy/gateway-api", name) => name.split(['-', '.']).next().unwrap().to_owned(),
        (directory, _) => directory.to_owned(),
    };
    let mut owners: BTreeMap<[String; 3], String> = BTreeMap::new();
    for file in super::MANIFESTS {
        for object in super::read_documents(file) {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let metadata = &object["metadata"];
            let object = [&object["kind"], &metadata["namespace"], &metadata["name"]].map(text);
            let owner = owners.entry(object.clone()).or_insert(controller(file));
            assert_eq!(*owner, controller(file), "{file}: {object:?}");
        }
    }
    assert!(owners.len() > 30, "{owners:?}");
}
