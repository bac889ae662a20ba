//! Curfew with its own service account, over TLS, as in a pod.

use serde_json::json;

use crate::support::curfew::Setup;
use crate::support::eventually;
use crate::support::kubectl::run_path;
use crate::{Removed, apply, kubectl, put_namespace};

/// The audience of tokens for the API server.
pub(crate) const SERVER: &str = "https://kubernetes.default.svc";

/// What the report says about a watch that fails.
const STALE_OBJECTS_MESSAGE: &str = "the last known objects stay in force";

/// Writes a new token of Curfew's service account to a file. Returns the path.
fn write_token(name: &str) -> String {
    let arguments = ["create", "token", "curfew", "--namespace", "curfew"];
    let path = run_path(name);
    std::fs::write(&path, kubectl(&arguments, "")).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A Curfew that uses the API server, for a section of the configuration. `name` is the name of its token file.
pub(crate) fn setup(section: &str, name: &str) -> Setup {
    let token = write_token(&format!("{name}.token"));
    let authority = run_path("keys/ca.crt");
    Setup::memory()
        .limits("1h", "8h")
        .set(&format!("{section}__URL"), SERVER)
        .set(&format!("{section}__TOKEN_FILE"), &token)
        .set(&format!("{section}__CA_FILE"), authority.to_str().unwrap())
}

fn ingress(host: &str, annotations: serde_json::Value) -> String {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "name": "app", "namespace": "accounts", "annotations": annotations },
        "spec": { "ingressClassName": "accounts", "rules": [{ "host": host, "http": { "paths": [{
            "path": "/", "pathType": "Prefix", "backend": { "service": { "name": "app", "port": { "number": 80 } } },
        }] } }] },
    })
    .to_string()
}

#[tokio::test]
async fn limits_hold_with_the_rights_of_the_service_account() {
    put_namespace("accounts", "");
    let class = "{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: accounts}, spec: {controller: example.com/accounts}}";
    apply(class).unwrap();
    let _class = Removed(&["ingressclass", "accounts"]);
    let _ingress = Removed(&["--namespace", "accounts", "ingress", "app"]);
    apply(&ingress(
        "accounts.example.com",
        json!({ "curfew.dev/idle": "5m" }),
    ))
    .unwrap();
    let curfew = setup("KUBERNETES", "limits")
        .set("KUBERNETES__NAMESPACE", "curfew")
        .set("KUBERNETES__POLICIES", "true")
        .start();
    eventually("Curfew knows the objects of the cluster", async || {
        curfew.get_ops("/readyz").await.0 == 200
    })
    .await;
    let check_idle = async |idle: &str| {
        let session = curfew.sign_in("alice").await;
        curfew.age(&session, idle).await;
        let cookie = session.cookie();
        curfew
            .check_with_host("accounts.example.com", &cookie)
            .await
            .0
    };
    assert_eq!(check_idle("6m").await, 401);
    assert_eq!(check_idle("4m").await, 200);
    // Without the token, nothing changes. With a new one, Curfew sees the changes.
    std::fs::write(run_path("limits.token"), "revoked").unwrap();
    // Curfew reads the file again when it starts a watch. The restart of the server ends all watches.
    restart_server();
    eventually("the report says that the token is refused", async || {
        let (_, report) = curfew.get_ops("/readyz?verbose").await;
        report.contains("Unauthorized") && report.contains(STALE_OBJECTS_MESSAGE)
    })
    .await;
    assert_eq!(check_idle("6m").await, 401);
    apply(&ingress(
        "accounts.example.com",
        json!({ "curfew.dev/idle": "20m" }),
    ))
    .unwrap();
    write_token("limits.token");
    eventually("the change is in force", async || {
        check_idle("6m").await == 200
    })
    .await;
    eventually("all watches work again", async || {
        let (_, report) = curfew.get_ops("/readyz?verbose").await;
        !report.contains(STALE_OBJECTS_MESSAGE)
    })
    .await;
}

/// Restarts the API server, and waits until it answers.
fn restart_server() {
    let restart = std::process::Command::new("scripts/cluster/restart.sh")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(restart.success());
}
