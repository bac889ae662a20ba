//! What happens while the API server fails.

use http::StatusCode;
use serde_json::json;

use crate::Fixture;
use crate::support::eventually;
use crate::support::kube_api::KubeApi;

const HOST: &str = "app.example.com";

#[tokio::test]
async fn nothing_is_allowed_until_the_policies_are_known() {
    let api = KubeApi::start().await;
    api.fail(Some(StatusCode::INTERNAL_SERVER_ERROR));
    let curfew = Fixture::setup(&api).start();
    let optional = Fixture::setup(&api).set("KUBERNETES__REQUIRED", "false");
    let optional = optional.start();
    let session = curfew.sign_in("alice").await;
    assert_eq!(
        curfew.check(&session).await,
        (503, "source_unavailable".to_owned())
    );
    let (ready, why) = curfew.get_ops("/readyz").await;
    assert_eq!((ready, why.contains("not known yet")), (503, true), "{why}");
    let (_, metrics) = curfew.get_ops("/metrics").await;
    assert!(metrics.contains("curfew_kubernetes_watch_healthy 0"));
    assert_eq!(optional.get_ops("/readyz").await.0, 200);
    let session_of_other = optional.sign_in("alice").await;
    assert_eq!(optional.check(&session_of_other).await.0, 200);
    eventually("the report names the failure", async || {
        let (_, report) = curfew.get_ops("/readyz?verbose").await;
        report.contains("checks are denied until they are known")
    })
    .await;
    api.fail(None);
    eventually("the policies are known", async || {
        curfew.check(&session).await.0 == 200
    })
    .await;
    assert_eq!(curfew.get_ops("/readyz").await.0, 200);
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
            report.contains("sessionpolicies") && report.contains(effect)
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
