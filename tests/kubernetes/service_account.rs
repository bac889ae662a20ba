//! Curfew with its own service account, over TLS, as in a pod.

use serde_json::json;

use crate::support::curfew::Setup;
use crate::support::eventually;
use crate::support::kubectl::run_path;
use crate::{Removed, apply, kubectl, put_namespace};

/// The audience of tokens for the API server.
pub(crate) const SERVER: &str = "https://kubernetes.default.svc";

/// Writes a new token of Curfew's service account, with this lifetime, to a file. Returns the path.
fn write_token(name: &str, duration: &str) -> String {
    let arguments = [
        "create",
        "token",
        "curfew",
        "--namespace",
        "curfew",
        "--duration",
        duration,
    ];
    let path = run_path(name);
    std::fs::write(&path, kubectl(&arguments, "")).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A Curfew that uses the API server, for a section of the configuration. `name` is the name of its token file.
pub(crate) fn setup(section: &str, name: &str) -> Setup {
    let token = write_token(&format!("{name}.token"), "1h");
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
    curfew_sees_no_token(&curfew).await;
    assert_eq!(check_idle("6m").await, 401);
    apply(&ingress(
        "accounts.example.com",
        json!({ "curfew.dev/idle": "20m" }),
    ))
    .unwrap();
    write_token("limits.token", "1h");
    eventually("the change is in force", async || {
        check_idle("6m").await == 200
    })
    .await;
    let (_, report) = curfew.get_ops("/readyz?verbose").await;
    assert!(!report.contains("token"), "{report}");
}

/// Waits until the report says that the server refuses the token. Curfew reads the file again with each request, so one of
/// its watches has to end before: the server ends each after some minutes, and a restart of the server ends all.
async fn curfew_sees_no_token(curfew: &crate::support::curfew::Curfew) {
    restart_server();
    eventually("the report says that the token is refused", async || {
        let (_, report) = curfew.get_ops("/readyz?verbose").await;
        report.contains("the last known objects stay in force")
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
