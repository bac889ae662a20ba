//! Policies are in force soon after the API server has them.

use serde_json::json;

use crate::Fixture;

const HOST: &str = "app.example.com";

#[tokio::test]
async fn a_policy_is_in_force_after_each_change() {
    let fixture = Fixture::start().await;
    fixture.put_ingress("crm", HOST, &json!({}));
    assert_eq!(fixture.check_idle(HOST, "10m").await, 200);
    for (limit, expected) in [("5m", 401), ("20m", 200), ("5m", 401)] {
        fixture.put_policy("crm", &json!({ "idle": limit }));
        fixture.wait_for(HOST, "10m", expected).await;
        // Other hosts keep the limit of the configuration.
        assert_eq!(fixture.check_idle("other.example.com", "10m").await, 200);
    }
    let (_, metrics) = fixture.curfew.get_ops("/metrics").await;
    for line in [
        "curfew_kubernetes_objects{kind=\"session_policy\"} 1",
        "curfew_kubernetes_objects{kind=\"route\"} 1",
        "curfew_kubernetes_watch_healthy 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    fixture.api.delete("sessionpolicies", "crm", "app");
    fixture.wait_for(HOST, "10m", 200).await;
    let events = fixture
        .curfew
        .wait_for_audit_events("policy.changed", 4)
        .await;
    let changes = events
        .iter()
        .map(|event| event["curfew.object.change"].as_str().unwrap());
    assert_eq!(
        changes.collect::<Vec<_>>(),
        ["created", "changed", "changed", "deleted"]
    );
    assert_eq!(events[3]["curfew.object.name"], "SessionPolicy crm/app");
    assert!(events[3]["curfew.object.version"].is_string());
}

/// The security team sets a ceiling, and application teams set their own limits below it.
#[tokio::test]
async fn a_ceiling_holds_for_every_team() {
    let fixture = Fixture::start().await;
    let shop = "shop.example.com";
    fixture.put_ingress("crm", HOST, &json!({}));
    fixture.put_ingress("shop", shop, &json!({ "curfew.dev/idle": "30m" }));
    fixture.put_policy("crm", &json!({ "idle": "30m" }));
    fixture.wait_for(HOST, "31m", 401).await;
    fixture.api.put(json!({
        "apiVersion": "curfew.dev/v1alpha1", "kind": "ClusterSessionPolicy", "metadata": { "name": "corporate" },
        "spec": { "namespaceSelector": { "matchLabels": { "scope": "pci" } }, "standards": ["pci-dss"] },
    }));
    fixture.wait_for(HOST, "16m", 401).await;
    assert_eq!(fixture.check_idle(HOST, "14m").await, 200);
    assert_eq!(fixture.check_idle(shop, "16m").await, 200);
    assert_eq!(fixture.check_idle(shop, "31m").await, 401);
    fixture.put_policy("crm", &json!({ "idle": "5m" }));
    fixture.wait_for(HOST, "6m", 401).await;
    // Another namespace claims the host, and changes nothing there.
    fixture.put_ingress("shop", HOST, &json!({ "curfew.dev/idle": "1m" }));
    fixture.wait_for(shop, "31m", 200).await;
    assert_eq!(fixture.check_idle(HOST, "2m").await, 200);
}

#[tokio::test]
async fn an_unreadable_annotation_is_reported_and_never_loosens() {
    let fixture = Fixture::start().await;
    fixture.put_policy("crm", &json!({ "idle": "5m" }));
    fixture.put_ingress("crm", HOST, &json!({ "curfew.dev/idle": "five minutes" }));
    fixture.wait_for(HOST, "6m", 401).await;
    let (_, report) = fixture.curfew.get_ops("/readyz?verbose").await;
    let expected = "Ingress crm/app: curfew.dev/idle = \"five minutes\": must be";
    assert!(report.contains(expected), "{report}");
    let (_, metrics) = fixture.curfew.get_ops("/metrics").await;
    let count = "curfew_kubernetes_mistakes{kind=\"annotation\"} 1";
    assert!(metrics.contains(count), "{metrics}");
    let events = fixture.wait_for_events(1).await;
    assert_eq!(events[0]["reason"], "UnreadableAnnotation");
    assert_eq!(events[0]["type"], "Warning");
    assert_eq!(events[0]["regarding"]["kind"], "Ingress");
    let ingress = fixture.api.object("ingresses", "crm", "app");
    assert_eq!(events[0]["regarding"]["uid"], ingress["metadata"]["uid"]);
    let note = events[0]["note"].as_str().unwrap();
    assert!(note.contains("five minutes"), "{note}");
    // A change of another object writes no further event.
    fixture.put_ingress("shop", "shop.example.com", &json!({}));
    fixture.put_policy("shop", &json!({ "idle": "5m" }));
    fixture.wait_for("shop.example.com", "6m", 401).await;
    assert_eq!(fixture.api.objects("events").len(), 1);
}
