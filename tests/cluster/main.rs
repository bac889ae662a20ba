//! Session limits as Kubernetes resources: a real Curfew watches an API server, while checks go on. The server is a
//! stand-in without schemas and authentication, or a real one if `scripts/cluster.sh` runs the tests.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use curfew_testkit as support;

mod audit;
mod failures;
mod policies;
mod status;
mod story;

use serde_json::{Value, json};
use support::curfew::{Curfew, Setup};
use support::eventually;
use support::kube_api::KubeApi;

/// A Curfew, and the API server that it watches.
struct Fixture {
    api: KubeApi,
    curfew: Curfew,
}

/// The objects that every test needs: a class, and two namespaces.
const BASE: &str = "
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: nginx}, spec: {controller: k8s.io/ingress-nginx}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: crm, labels: {scope: pci}}, spec: {}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: shop}, spec: {}}
";

impl Fixture {
    /// Starts both, with the base objects.
    async fn start() -> Self {
        let api = KubeApi::start().await;
        api.apply(BASE);
        let curfew = Self::setup(&api).start();
        let fixture = Self { api, curfew };
        fixture.wait_until_known().await;
        fixture
    }

    fn setup(api: &KubeApi) -> Setup {
        Setup::memory()
            .limits("1h", "8h")
            .set("ADMIN__ALLOW_AGEING", "true")
            .set("KUBERNETES__POLICIES", "true")
            .set("KUBERNETES__NAMESPACE", "curfew")
            .set("KUBERNETES__URL", &format!("http://{}", api.address))
    }

    /// Waits until Curfew has read all objects.
    async fn wait_until_known(&self) {
        eventually("Curfew knows the objects of the cluster", async || {
            self.curfew.get_ops("/readyz").await.0 == 200
        })
        .await;
    }

    /// Adds or replaces an Ingress of a namespace for one host. The names of both are `name`.
    fn put_ingress(&self, namespace: &str, host: &str, annotations: &Value) {
        self.api.put(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {
                "name": "app", "namespace": namespace, "annotations": annotations,
                "uid": format!("uid-of-{namespace}"),
                "creationTimestamp": if namespace == "crm" { "2026-01-01T00:00:00Z" } else { "2026-02-01T00:00:00Z" },
            },
            "spec": {
                "ingressClassName": "nginx",
                "rules": [{ "host": host, "http": { "paths": [
                    { "path": "/", "pathType": "Prefix", "backend": { "service": { "name": "app", "port": { "number": 80 } } } },
                ] } }],
            },
        }));
    }

    /// Adds or replaces a SessionPolicy for the Ingress of a namespace.
    fn put_policy(&self, namespace: &str, fields: &Value) {
        let target = json!({ "group": "networking.k8s.io", "kind": "Ingress", "name": "app" });
        let mut spec = json!({ "targetRefs": [target] });
        for (name, value) in fields.as_object().unwrap() {
            spec[name] = value.clone();
        }
        self.api.put(json!({
            "apiVersion": "curfew.dev/v1alpha1", "kind": "SessionPolicy",
            "metadata": { "name": "app", "namespace": namespace }, "spec": spec,
        }));
    }

    /// Returns the output of `curfew explain` for a URL with these objects.
    fn explain(&self, url: &str, objects: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, objects).unwrap();
        let path = file.path().to_str().unwrap();
        let setup = Self::setup(&self.api);
        let mut command = setup.command(&["explain", "--url", url, "--objects", path]);
        let output = command.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until the cluster has this many events, and returns them.
    async fn wait_for_events(&self, count: usize) -> Vec<Value> {
        eventually("the events are written", async || {
            self.api.objects("events").len() >= count
        })
        .await;
        self.api.objects("events")
    }

    /// Checks a request for this host with a session that has been idle for this time. Returns the status.
    async fn check_idle(&self, host: &str, idle: &str) -> u16 {
        let session = self.curfew.sign_in("alice").await;
        self.curfew.age(&session, idle).await;
        let cookie = session.cookie();
        self.curfew.check_with_host(host, &cookie).await.0
    }

    /// Waits until such a check has the status.
    async fn wait_for(&self, host: &str, idle: &str, status: u16) {
        eventually("the change is in force", async || {
            self.check_idle(host, idle).await == status
        })
        .await;
    }
}
