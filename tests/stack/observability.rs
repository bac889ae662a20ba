//! A real Prometheus scrapes both replicas, answers the queries of the dashboard, and evaluates all alerts without an
//! error.

use std::process::Command;

use serde_json::Value;

use crate::stack::Stack;
use crate::support::curfew::client;
use crate::support::deployment::{Server, read_deploy_file};
use crate::support::{eventually, free_port, loopback};

#[tokio::test]
async fn prometheus_answers_the_queries_of_the_dashboard() {
    let stack = Stack::start().await;
    let address = loopback(free_port());
    let mut files = stack.compose.read_mounted_files("prometheus");
    for (_, text) in &mut files {
        for (name, replica) in ["curfew-1:9189", "curfew-2:9189"]
            .iter()
            .zip(&stack.replicas)
        {
            *text = text.replace(name, &replica.ops.to_string());
        }
        *text = text.replace("_interval: 5s", "_interval: 500ms");
    }
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (&**name, &**text))
        .collect();
    let _prometheus = Server::start(
        Command::new("prometheus")
            .args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={address}")),
        &files,
        &[address],
    );
    let get = async |path: &str, query: &[(&str, &str)]| -> Value {
        let mut url = url::Url::parse(&format!("http://{address}{path}")).unwrap();
        url.query_pairs_mut().extend_pairs(query);
        let answer = client().get(url).send().await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    };
    let (one, two) = (&stack.replicas[0], &stack.replicas[1]);
    let (alice, bob) = (one.sign_in("alice").await, two.sign_in("bob").await);
    one.revoke(&alice).await;
    let alice = one.sign_in("alice").await;
    let both_are_counted = async || {
        for (replica, session) in [(one, &alice), (two, &bob)] {
            let cookie = format!("session={}", session.token);
            assert_eq!(
                replica.check_with_host("localhost:8081", &cookie).await.0,
                200
            );
        }
        let query = [(
            "query",
            "sum(rate(curfew_checks_total[30s])) > 0 and count(up == 1) == 2",
        )];
        let found = get("/api/v1/query", &query).await;
        found["data"]["result"]
            .as_array()
            .is_some_and(|result| !result.is_empty())
    };
    eventually("both replicas are scraped", both_are_counted).await;
    let dashboard: Value =
        serde_json::from_str(&read_deploy_file("helm/curfew/files/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    for panel in panels.filter(|panel| panel["type"] != "row") {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let query = query
                .replace("$__rate_interval", "30s")
                .replace("$__range", "1m")
                .replace("$job", ".+");
            // These metrics have no values, because the stack has no identity provider, no webhook, and no policy
            // with `on_store_failure: known`.
            let metrics_without_values = [
                "curfew_logins_total",
                "curfew_webhooks_total",
                "curfew_degraded_checks_total",
            ];
            let has_values = !metrics_without_values
                .iter()
                .any(|name| query.contains(name));
            // Prometheus needs two scrapes of a series to compute a rate.
            let has_an_answer = async || {
                let answer = get("/api/v1/query", &[("query", &query)]).await;
                assert_eq!(answer["status"], "success", "{query}: {answer}");
                !has_values || !answer["data"]["result"].as_array().unwrap().is_empty()
            };
            eventually(&format!("{}: {query}", panel["title"]), has_an_answer).await;
        }
    }
    let rules = get("/api/v1/rules", &[]).await;
    let rules = rules["data"]["groups"][0]["rules"]
        .as_array()
        .unwrap()
        .clone();
    assert!(rules.len() > 10);
    for rule in rules {
        assert_ne!(rule["health"], "err", "{rule}");
    }
}
