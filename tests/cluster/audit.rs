//! The report on routes that send no checks.

use std::process::Output;

use http::StatusCode;
use serde_json::{Value, json};

use crate::Fixture;
use crate::support::curfew::{Curfew, Setup};
use crate::support::eventually;

impl Fixture {
    /// Returns the state of the route of each namespace in the report.
    async fn route_states(&self) -> Vec<(String, String)> {
        let (status, report) = self.curfew.call("GET", "/api/v1/routes", None).await;
        assert_eq!(status, StatusCode::OK, "{report}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let routes = report["routes"].as_array().unwrap().iter();
        routes
            .map(|it| (text(&it["route"]), text(&it["state"])))
            .collect()
    }

    fn condition(&self, namespace: &str) -> Value {
        let policy = self.api.object("sessionpolicies", namespace, "app");
        let conditions = policy["status"]["ancestors"][0]["conditions"].as_array();
        let mut conditions = conditions.into_iter().flatten();
        let found = conditions.find(|it| it["type"] == "ChecksSeen");
        found.cloned().unwrap_or_default()
    }
}

/// Runs `curfew audit routes` against a service.
pub fn run_audit(curfew: &Curfew, arguments: &[&str]) -> Output {
    let arguments = [&["audit", "routes"], arguments].concat();
    let shell = Setup::memory()
        .set_variable("CURFEW_ADMIN_URL", &format!("http://{}", curfew.admin))
        .set_variable("CURFEW_ADMIN_TOKEN", &curfew.admin_token);
    shell.command(&arguments).output().unwrap()
}

#[tokio::test]
async fn routes_without_checks_are_reported() {
    let fixture = Fixture::start().await;
    fixture.put_ingress("crm", "crm.example.com", &json!({}));
    fixture.put_ingress("shop", "shop.example.com", &json!({}));
    fixture.put_policy("crm", &json!({ "idle": "5m" }));
    fixture.wait_for("crm.example.com", "6m", 401).await;
    let expected = [
        ("Ingress shop/app".to_owned(), "no_check".to_owned()),
        ("Ingress crm/app".to_owned(), "checked".to_owned()),
    ];
    eventually("the report has both routes", async || {
        fixture.route_states().await == expected
    })
    .await;
    let (_, report) = fixture
        .curfew
        .call("GET", "/api/v1/routes?state=no_check", None)
        .await;
    assert_eq!(report["routes"].as_array().unwrap().len(), 1, "{report}");
    let attach = report["routes"][0]["attach"].as_str().unwrap();
    assert!(
        attach.contains("nginx.ingress.kubernetes.io/auth-url"),
        "{attach}"
    );
    let (status, _) = fixture
        .curfew
        .call("GET", "/api/v1/routes?state=x", None)
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    // The command says the same, and fails because of the route without a check.
    let output = run_audit(&fixture.curfew, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("Ingress shop/app"), "{text}");
    assert!(
        error.contains("1 of 2 routes sent no check since 20"),
        "{error}"
    );
    assert!(!text.contains("Ingress crm/app"), "{text}");
    let output = run_audit(&fixture.curfew, &["--all", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["routes"].as_array().unwrap().len(), 2);
    fixture.put_policy("shop", &json!({ "idle": "5m" }));
    eventually("the status names the route without a check", async || {
        let condition = fixture.condition("shop");
        let message = condition["message"].as_str().unwrap_or_default();
        condition["reason"] == "NoCheckSeen" && message.contains("shop.example.com/…")
    })
    .await;
    eventually("the status says that checks arrive", async || {
        fixture.condition("crm")["reason"] == "ChecksSeen"
    })
    .await;
    eventually("the metric counts the routes", async || {
        let (_, metrics) = fixture.curfew.get_ops("/metrics").await;
        let count = |checks: &str, count: usize| {
            metrics.contains(&format!(
                "curfew_kubernetes_routes{{checks=\"{checks}\"}} {count}\n"
            ))
        };
        count("never", 1) && count("seen", 1) && count("uncertain", 0)
    })
    .await;
}

#[tokio::test]
async fn without_a_cluster_there_is_no_report() {
    let curfew = Setup::memory().start();
    let (status, problem) = curfew.call("GET", "/api/v1/routes", None).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");
    let output = run_audit(&curfew, &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("only with kubernetes.policies"), "{text}");
}
