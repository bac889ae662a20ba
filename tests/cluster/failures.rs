//! What happens while the API server fails.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::Fixture;
use crate::support::eventually;
use crate::support::kube_api::KubeApi;
use crate::support::tls::Certificates;

const HOST: &str = "app.example.com";

#[tokio::test]
async fn nothing_is_allowed_until_the_policies_are_known() {
    let api = KubeApi::start().await;
    api.fail(Some(StatusCode::INTERNAL_SERVER_ERROR));
    let curfew = Fixture::setup(&api).start();
    let optional = Fixture::setup(&api).set("KUBERNETES__REQUIRED", "false");
    let optional = optional.start();
    let session = optional.sign_in("alice").await;
    assert_eq!(optional.check(&session).await.0, 200);
    // This replica does not have the session, but it does not look for it either.
    assert_eq!(
        curfew.check(&session).await,
        (503, "source_unavailable".to_owned())
    );
    let (ready, why) = curfew.get_ops("/readyz").await;
    assert_eq!((ready, why.contains("not known yet")), (503, true), "{why}");
    let (_, metrics) = curfew.get_ops("/metrics").await;
    assert!(metrics.contains("curfew_kubernetes_watch_healthy 0"));
    assert_eq!(optional.get_ops("/readyz").await.0, 200);
    let new = Some(json!({ "subject": "alice" }));
    let (status, why) = curfew.call("POST", "/api/v1/sessions", new).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{why}");
    eventually("the report names the failure", async || {
        let (_, report) = curfew.get_ops("/readyz?verbose").await;
        report.contains("checks are denied until they are known")
    })
    .await;
    api.fail(None);
    eventually("the policies are known", async || {
        curfew.get_ops("/readyz").await.0 == 200
    })
    .await;
    let session = curfew.sign_in("alice").await;
    assert_eq!(curfew.check(&session).await.0, 200);
}

#[tokio::test]
async fn the_last_known_policies_stay_in_force() {
    let fixture = Fixture::start().await;
    fixture.put_ingress("crm", HOST, &json!({}));
    fixture.put_policy("crm", &json!({ "idle": "5m" }));
    fixture.wait_for(HOST, "10m", 401).await;
    for status in [
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::NOT_FOUND,
    ] {
        fixture.api.fail(Some(status));
        eventually("the report names the failure", async || {
            let (_, report) = fixture.curfew.get_ops("/readyz?verbose").await;
            let effect = "the last known objects stay in force";
            report.contains("sessionpolicies")
                && report.contains(effect)
                && report.contains(", since 20")
        })
        .await;
        assert_eq!(fixture.check_idle(HOST, "10m").await, 401, "{status}");
        fixture.api.fail(None);
        eventually("the watch works again", async || {
            let (_, metrics) = fixture.curfew.get_ops("/metrics").await;
            metrics.contains("curfew_kubernetes_watch_healthy 1")
        })
        .await;
        let (_, report) = fixture.curfew.get_ops("/readyz?verbose").await;
        assert!(!report.contains("sessionpolicies"), "{report}");
    }
}

#[tokio::test]
async fn changes_are_seen_after_lost_watches_and_410() {
    let fixture = Fixture::start().await;
    fixture.put_ingress("crm", HOST, &json!({}));
    for (round, (limit, expected)) in [("5m", 401), ("20m", 200), ("5m", 401)]
        .into_iter()
        .enumerate()
    {
        if round % 2 == 1 {
            fixture.api.compact();
        }
        fixture.api.end_watches();
        fixture.put_policy("crm", &json!({ "idle": limit }));
        fixture.wait_for(HOST, "10m", expected).await;
    }
    // The event of the deletion is gone.
    fixture.api.end_watches();
    fixture.api.delete("sessionpolicies", "crm", "app");
    fixture.api.compact();
    fixture.wait_for(HOST, "10m", 200).await;
}

/// The API server is slow, as when it has much to do. Checks do not wait for it.
#[tokio::test]
async fn a_slow_api_server_delays_changes_and_not_checks() {
    let fixture = Fixture::start().await;
    fixture.put_ingress("crm", HOST, &json!({}));
    fixture.put_policy("crm", &json!({ "idle": "5m" }));
    fixture.wait_for(HOST, "10m", 401).await;
    fixture.api.slow_down(Duration::from_secs(2));
    fixture.api.end_watches();
    fixture.put_policy("crm", &json!({ "idle": "20m" }));
    // The change cannot be known yet: the list alone takes two seconds.
    assert_eq!(fixture.check_idle(HOST, "10m").await, 401);
    fixture.wait_for(HOST, "10m", 200).await;
    fixture.put_policy("crm", &json!({ "idle": "5m" }));
    fixture.wait_for(HOST, "10m", 401).await;
}

/// Kubernetes replaces the token in the file before it expires. Curfew reads the file again.
#[tokio::test]
async fn a_replaced_token_is_read_again() {
    let certificates = Certificates::generate();
    let api = KubeApi::start_with_tls(&certificates).await;
    api.apply(crate::BASE);
    api.require_token("first");
    let token_file = certificates.path("token");
    std::fs::write(&token_file, "first\n").unwrap();
    let setup = Fixture::setup(&api)
        .set("KUBERNETES__URL", &format!("https://{}", api.address))
        .set("KUBERNETES__TOKEN_FILE", token_file.to_str().unwrap())
        .set("KUBERNETES__CA_FILE", &certificates.path_string("ca.pem"));
    let curfew = setup.start();
    let fixture = Fixture { api, curfew };
    fixture.wait_until_known().await;
    fixture.put_ingress("crm", HOST, &json!({}));
    fixture.put_policy("crm", &json!({ "idle": "5m" }));
    fixture.wait_for(HOST, "10m", 401).await;
    fixture.api.require_token("second");
    eventually("the report says that the token is refused", async || {
        let (_, report) = fixture.curfew.get_ops("/readyz?verbose").await;
        report.contains("401") && report.contains("the last known objects stay in force")
    })
    .await;
    assert_eq!(fixture.check_idle(HOST, "10m").await, 401);
    std::fs::write(&token_file, "second").unwrap();
    fixture.put_policy("crm", &json!({ "idle": "20m" }));
    fixture.wait_for(HOST, "10m", 200).await;
}

#[tokio::test]
async fn a_cluster_without_gateway_api_works() {
    let api = KubeApi::start().await;
    api.apply(crate::BASE);
    for plural in ["gateways", "httproutes", "grpcroutes"] {
        api.remove_resource(plural);
    }
    let curfew = Fixture::setup(&api).start();
    let fixture = Fixture { api, curfew };
    fixture.wait_until_known().await;
}
