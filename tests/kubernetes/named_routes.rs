//! Two routes differ only in a header, which the index of routes does not contain. If Envoy Gateway names the route, its own
//! limits apply.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::service_account::setup;
use crate::support::backend::Backend;
use crate::support::curfew::{Curfew, client};
use crate::support::kubectl::service;
use crate::support::{eventually, free_port, loopback};
use crate::{Removed, apply, put_namespace};

const NAMESPACE: &str = "named-routes";
const HOST: &str = "named.example.com";

fn object(api: &str, kind: &str, name: &str, spec: Value) -> String {
    json!({
        "apiVersion": api, "kind": kind, "metadata": { "name": name, "namespace": NAMESPACE }, "spec": spec,
    })
    .to_string()
}

fn route(name: &str, headers: Value) -> String {
    let spec = json!({
        "parentRefs": [{ "name": "web" }], "hostnames": [HOST],
        "rules": [{
            "matches": [{ "path": { "type": "PathPrefix", "value": "/" }, "headers": headers }],
            "backendRefs": [{ "name": "application", "port": 80 }],
        }],
    });
    object("gateway.networking.k8s.io/v1", "HTTPRoute", name, spec)
}

fn limit(route: &str, idle: &str) -> String {
    let target =
        json!({ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": route });
    let spec = json!({ "targetRefs": [target], "idle": idle });
    object("curfew.dev/v1alpha1", "SessionPolicy", route, spec)
}

/// The check of the Gateway, with or without the name of the route.
fn check(names_route: bool) -> String {
    let target = json!({ "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "web" });
    let spec = json!({
        "targetRefs": [target],
        "extAuth": {
            "failOpen": false, "includeRouteMetadata": names_route,
            "grpc": { "backendRefs": [{ "name": "curfew", "port": 9181 }] },
        },
    });
    object(
        "gateway.envoyproxy.io/v1alpha1",
        "SecurityPolicy",
        "curfew",
        spec,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_of_the_named_route_apply() {
    let _removed = Removed(&["namespace", NAMESPACE, "--wait=false"]);
    put_namespace(NAMESPACE, "");
    let backend = Backend::start().await;
    let curfew = setup("KUBERNETES", "named-routes")
        .set("KUBERNETES__NAMESPACE", "curfew")
        .set("KUBERNETES__POLICIES", "true")
        .set("LISTEN__GRPC", "127.0.0.1:0")
        .start();
    let address = loopback(free_port());
    let listener = json!({ "name": "web", "port": address.port(), "protocol": "HTTP" });
    let gateway = json!({ "gatewayClassName": "envoy-gateway", "listeners": [listener] });
    let mut objects: Vec<String> = [
        service(NAMESPACE, "application", &[("http", 80, backend.address)]),
        service(NAMESPACE, "curfew", &[("grpc", 9181, curfew.grpc.unwrap())]),
    ]
    .iter()
    .flatten()
    .map(Value::to_string)
    .collect();
    objects.extend([
        object("gateway.networking.k8s.io/v1", "Gateway", "web", gateway),
        route("plain", json!([])),
        route("beta", json!([{ "name": "x-beta", "value": "yes" }])),
        limit("plain", "20m"),
        limit("beta", "5m"),
        check(false),
    ]);
    apply(&objects.join("\n---\n")).unwrap();
    let url = format!("http://{address}/");
    // Without the name, both routes could match, so the shortest limit applies.
    for (names_route, plain, beta) in [(false, 401, 401), (true, 200, 401)] {
        apply(&check(names_route)).unwrap();
        eventually("the limits are in force", async || {
            let results = [
                status_after_six_minutes(&curfew, &url, "no").await,
                status_after_six_minutes(&curfew, &url, "yes").await,
            ];
            results == [plain, beta].map(|code| StatusCode::from_u16(code).ok())
        })
        .await;
    }
}

/// Returns the status of a request in a session that has been idle for six minutes. `beta` is the value of the header.
async fn status_after_six_minutes(curfew: &Curfew, url: &str, beta: &str) -> Option<StatusCode> {
    let session = curfew.sign_in("alice").await;
    curfew.age(&session, "6m").await;
    let request = client().get(url).header("host", HOST);
    let request = request.header("cookie", session.cookie());
    let response = request.header("x-beta", beta).send().await.ok()?;
    Some(response.status())
}
