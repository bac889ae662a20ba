//! The admin API with the roles of the cluster: TokenReview and SubjectAccessReview by the real server.

use http::StatusCode;
use serde_json::json;

use crate::service_account::{SERVER, setup};
use crate::support::curfew::Curfew;
use crate::support::kubectl::run_path;
use crate::{apply, kubectl, put_namespace, wait_until};

const NAMESPACE: &str = "identity";

fn token(account: &str, audience: &str) -> String {
    let arguments = ["create", "token", account, "--namespace", NAMESPACE];
    let audience = ["--audience", audience];
    kubectl(&[&arguments[..], &audience].concat(), "")
        .trim()
        .to_owned()
}

/// Binds a ClusterRole to a ServiceAccount in the whole cluster.
fn bind(role: &str, account: &str) {
    let manifest = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": { "name": format!("identity-{account}") },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": NAMESPACE }],
    });
    apply(&manifest.to_string()).unwrap();
}

async fn call(curfew: &Curfew, token: &str, method: &str, path: &str) -> StatusCode {
    let body = (method == "POST").then(|| json!({ "subject": "alice" }));
    curfew.call_with_token(token, method, path, body).await.0
}

#[tokio::test]
async fn roles_of_the_cluster_decide_who_may_see_and_end_sessions() {
    put_namespace(NAMESPACE, "");
    let roles = "deploy/kubernetes/components/identity/roles.yaml";
    kubectl(&["apply", "--server-side", "-f", roles], "");
    for account in ["helpdesk", "viewer", "only-bob", "nobody"] {
        let manifest = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": account, "namespace": NAMESPACE },
        });
        apply(&manifest.to_string()).unwrap();
    }
    // `kubectl create clusterrole` refuses this role, because the server does not know the resource.
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "identity-only-bob" },
        "rules": [{
            "apiGroups": ["sessions.curfew.dev"], "resources": ["sessions"], "verbs": ["get", "list"],
            "resourceNames": ["bob"],
        }],
    });
    apply(&role.to_string()).unwrap();
    bind("curfew-session-operator", "helpdesk");
    bind("curfew-session-viewer", "viewer");
    bind("identity-only-bob", "only-bob");
    let curfew = setup("ADMIN__KUBERNETES", "identity")
        .set("ADMIN__KUBERNETES__ENABLED", "true")
        .set("ADMIN__KUBERNETES__CACHE", "1s")
        .start();
    let helpdesk = token("helpdesk", "curfew");
    let viewer = token("viewer", "curfew");
    let only_bob = token("only-bob", "curfew");
    let nobody = token("nobody", "curfew");
    let foreign = token("helpdesk", "other");
    let of_server = token("helpdesk", SERVER);
    let (alice, bob) = (
        "/api/v1/sessions?subject=alice",
        "/api/v1/sessions?subject=bob",
    );
    for (token, method, path, expected) in [
        (&helpdesk, "POST", "/api/v1/sessions", 201),
        (&viewer, "POST", "/api/v1/sessions", 403),
        (&viewer, "GET", alice, 200),
        (&viewer, "GET", "/api/v1/sessions", 200),
        (&viewer, "DELETE", alice, 403),
        (&only_bob, "GET", bob, 200),
        (&only_bob, "GET", alice, 403),
        (&only_bob, "GET", "/api/v1/sessions", 403),
        (&nobody, "GET", alice, 403),
        (&helpdesk, "DELETE", alice, 200),
        (&foreign, "GET", alice, 401),
        (&of_server, "GET", alice, 401),
        (&"unknown".to_owned(), "GET", alice, 401),
    ] {
        let status = call(&curfew, token, method, path).await;
        assert_eq!(status, expected, "{method} {path}");
    }
    // A deleted account loses its access when the cache expires.
    kubectl(
        &[
            "delete",
            "serviceaccount",
            "helpdesk",
            "--namespace",
            NAMESPACE,
        ],
        "",
    );
    crate::support::eventually("the token is refused", async || {
        call(&curfew, &helpdesk, "GET", alice).await == 401
    })
    .await;
    // The same for a role that is taken away.
    kubectl(&["delete", "clusterrolebinding", "identity-viewer"], "");
    crate::support::eventually("the role is gone", async || {
        call(&curfew, &viewer, "GET", alice).await == 403
    })
    .await;
    wait_until("the server records who asked", || {
        let audit = std::fs::read_to_string(run_path("log/audit")).unwrap();
        audit.contains("system:serviceaccount:curfew:curfew") && audit.contains("tokenreviews")
    });
}
