//! One replica writes the status of the policies.

use serde_json::{Value, json};

use crate::support::eventually;
use crate::{BASE, Fixture};

const HOST: &str = "app.example.com";

impl Fixture {
    fn status(&self, namespace: &str) -> Value {
        self.api.object("sessionpolicies", namespace, "app")["status"].clone()
    }

    fn count_status_writes(&self) -> usize {
        self.api.statuses().len()
    }

    /// Waits until the status of a policy has a condition with this reason.
    async fn wait_for_reason(&self, namespace: &str, kind: &str, reason: &str) {
        eventually("the status has the condition", async || {
            let status = self.status(namespace);
            let conditions = status["ancestors"][0]["conditions"].as_array();
            let mut conditions = conditions.into_iter().flatten();
            conditions.any(|it| it["type"] == kind && it["reason"] == reason)
        })
        .await;
    }
}

/// Security sets a ceiling; a team asks for more and sees what it gets; another team claims its host and is refused.
#[tokio::test]
async fn the_status_says_what_holds_and_why() {
    let fixture = Fixture::start().await;
    fixture.put_policy("crm", &json!({ "idle": "30m" }));
    fixture
        .wait_for_reason("crm", "Accepted", "TargetNotFound")
        .await;
    fixture.put_ingress("crm", HOST, &json!({}));
    fixture
        .wait_for_reason("crm", "Programmed", "Programmed")
        .await;
    assert_eq!(
        fixture.status("crm")["effective"]["idle"],
        json!({ "value": "30m", "from": "SessionPolicy crm/app" })
    );
    fixture.api.put(json!({
        "apiVersion": "curfew.dev/v1alpha1", "kind": "ClusterSessionPolicy", "metadata": { "name": "corporate" },
        "spec": { "namespaceSelector": { "matchLabels": { "scope": "pci" } }, "standards": ["pci-dss"] },
    }));
    fixture
        .wait_for_reason("crm", "Programmed", "Overridden")
        .await;
    assert_eq!(
        fixture.status("crm")["effective"]["idle"],
        json!({ "value": "15m", "from": "ClusterSessionPolicy corporate" })
    );
    eventually("the status of the ceiling is written", async || {
        let ceiling = fixture
            .api
            .object("clustersessionpolicies", "", "corporate");
        ceiling["status"]["conditions"][0]["reason"] == "Accepted"
    })
    .await;
    fixture.put_ingress("shop", HOST, &json!({}));
    fixture.put_policy("shop", &json!({ "idle": "5m" }));
    fixture
        .wait_for_reason("shop", "Accepted", "Conflicted")
        .await;
    // The owners see an event: TargetNotFound, Overridden, Conflicted, and perhaps a state in between.
    let events = fixture.wait_for_events(3).await;
    for (namespace, reason, kind) in [
        ("crm", "TargetNotFound", "Warning"),
        ("crm", "Overridden", "Normal"),
        ("shop", "Conflicted", "Warning"),
    ] {
        let found = events.iter().any(|event| {
            event["metadata"]["namespace"] == namespace
                && event["reason"] == reason
                && event["type"] == kind
        });
        assert!(found, "{namespace} {reason}: {events:?}");
    }
    // The tests of the limits themselves are in `policies`.
    let writes = fixture.count_status_writes();
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    assert_eq!(
        fixture.count_status_writes(),
        writes,
        "a status that is right is not written again"
    );
}

#[tokio::test]
async fn another_replica_continues_when_the_holder_of_the_lease_stops() {
    let fixture = Fixture::start().await;
    fixture.put_ingress("crm", HOST, &json!({}));
    fixture.put_policy("crm", &json!({ "idle": "5m" }));
    fixture
        .wait_for_reason("crm", "Programmed", "Programmed")
        .await;
    let holder = || {
        fixture.api.object("leases", "curfew", "curfew-policies")["spec"]["holderIdentity"].clone()
    };
    let first = holder();
    assert!(
        first.as_str().is_some_and(|name| !name.is_empty()),
        "{first}"
    );
    let second = Fixture::setup(&fixture.api).start();
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    assert_eq!(holder(), first, "a second replica does not take the lease");
    let writes = fixture.count_status_writes();
    fixture.put_policy("crm", &json!({ "idle": "6m" }));
    eventually("the status is new", async || {
        fixture.status("crm")["effective"]["idle"]["value"] == "6m"
    })
    .await;
    assert_eq!(
        fixture.count_status_writes(),
        writes + 1,
        "only the holder of the lease writes"
    );
    fixture.curfew.signal("TERM");
    eventually("the second replica takes the lease", async || {
        let now = holder();
        now != first && now != ""
    })
    .await;
    fixture.put_policy("crm", &json!({ "idle": "7m" }));
    eventually("the second replica writes", async || {
        fixture.status("crm")["effective"]["idle"]["value"] == "7m"
    })
    .await;
    drop(second);
}

#[tokio::test]
async fn limits_apply_although_the_status_cannot_be_written() {
    let fixture = Fixture::start().await;
    fixture.api.remove_resource("leases");
    fixture.api.apply(BASE);
    fixture.put_ingress("crm", HOST, &json!({}));
    fixture.put_policy("crm", &json!({ "idle": "5m" }));
    fixture.wait_for(HOST, "6m", 401).await;
}
