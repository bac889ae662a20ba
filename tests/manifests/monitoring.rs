//! Tests the alerts and the dashboard with the tool of Prometheus, and with the documented metrics.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::deployment::read_deploy_file;

const ALERTS: &str = "deploy/helm/curfew/files/alerts.yaml";

fn run_promtool(arguments: &[&str]) -> Output {
    Command::new("promtool")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .output()
        .unwrap()
}

fn assert_success(output: &Output) {
    let messages = [&*output.stdout, &*output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&messages)
    );
}

#[test]
fn prometheus_accepts_the_alerts() {
    assert_success(&run_promtool(&["check", "rules", ALERTS]));
}

/// Each alert fires when it should, and does not fire otherwise.
#[test]
fn alerts_fire_as_specified() {
    assert_success(&run_promtool(&[
        "test",
        "rules",
        "tests/manifests/alerts.yaml",
    ]));
    let tests = super::read_documents("tests/manifests/alerts.yaml")
        .remove(0)
        .to_string();
    for alert in alert_names() {
        assert!(
            tests.contains(&format!("\"{alert}\"")),
            "tests/manifests/alerts.yaml has no test for {alert}"
        );
    }
}

fn alert_names() -> Vec<String> {
    let alerts = super::read_documents(ALERTS).remove(0);
    let rules = alerts["groups"][0]["rules"].as_array().unwrap().clone();
    let names = rules
        .iter()
        .map(|rule| rule["alert"].as_str().unwrap().to_owned());
    names.collect()
}

#[test]
fn the_operations_guide_describes_each_alert() {
    let guide = include_str!("../../docs/operations.md");
    for alert in alert_names() {
        assert!(guide.contains(&format!("### {alert}\n")), "{alert}");
    }
}

#[test]
fn prometheus_accepts_its_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("prometheus.yaml");
    std::fs::write(&path, read_deploy_file("prometheus/prometheus.yaml")).unwrap();
    let alerts = read_deploy_file("helm/curfew/files/alerts.yaml");
    std::fs::write(directory.path().join("curfew-alerts.yaml"), alerts).unwrap();
    assert_success(&run_promtool(&["check", "config", path.to_str().unwrap()]));
}

fn read_dashboard() -> Value {
    serde_json::from_str(&read_deploy_file("helm/curfew/files/dashboard.json")).unwrap()
}

fn dashboard_queries() -> Vec<String> {
    let dashboard = read_dashboard();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array());
    let queries = targets.flatten();
    queries
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn prometheus_accepts_the_queries_of_the_dashboard() {
    let rules: Vec<Value> = dashboard_queries()
        .iter()
        .enumerate()
        .map(|(number, query)| {
            let query = query
                .replace("$__rate_interval", "5m")
                .replace("$__range", "1h")
                .replace("$job", ".+");
            json!({ "record": format!("query:{number}"), "expr": query })
        })
        .collect();
    assert!(rules.len() > 25);
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    let text = json!({ "groups": [{ "name": "dashboard", "rules": rules }] }).to_string();
    std::fs::write(file.path(), text).unwrap();
    assert_success(&run_promtool(&[
        "check",
        "rules",
        file.path().to_str().unwrap(),
    ]));
}

/// Queries use only documented metrics, and `tests/process/operation.rs` tests that each documented metric exists.
#[test]
fn queries_use_existing_metrics() {
    let page = include_str!("../../docs/configuration.md");
    let documented: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `curfew_")?.split(['`', '{']).next())
        .collect();
    let mut used_metrics = BTreeSet::new();
    for text in dashboard_queries()
        .into_iter()
        .chain([read_deploy_file("helm/curfew/files/alerts.yaml")])
    {
        for part in text.split("curfew_").skip(1) {
            let end = part.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            let name = &part[..end.unwrap_or(part.len())];
            let name = ["_bucket", "_count", "_sum"]
                .iter()
                .find_map(|end| {
                    name.strip_suffix(end)
                        .filter(|name| documented.contains(name))
                })
                .unwrap_or(name);
            assert!(documented.contains(name), "curfew_{name}");
            used_metrics.insert(name.to_owned());
        }
    }
    assert!(used_metrics.len() > 20, "{used_metrics:?}");
}

/// Panels do not overlap, and each panel has its own ID and a title.
#[test]
fn dashboard_panels_do_not_overlap() {
    let dashboard = read_dashboard();
    let mut used_cells = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let grid_value = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(grid_value("x") + grid_value("w") <= 24);
        for x in grid_value("x")..grid_value("x") + grid_value("w") {
            for y in grid_value("y")..grid_value("y") + grid_value("h") {
                assert!(used_cells.insert((x, y)), "{}", panel["title"]);
            }
        }
        assert!(ids.insert(panel["id"].as_u64().unwrap()));
        assert!(
            panel["title"]
                .as_str()
                .is_some_and(|title| !title.is_empty())
        );
    }
}

/// Grafana's files name the address of Prometheus, and the directory where docker-compose.yml mounts the dashboard.
#[test]
fn grafana_finds_its_data_source_and_dashboard() {
    let compose = super::read_documents("docker-compose.yml").remove(0);
    let mounts = compose["services"]["grafana"]["volumes"].to_string();
    let source = &super::read_documents("deploy/grafana/datasource.yaml")[0]["datasources"][0];
    assert_eq!(source["url"], "http://prometheus:9090");
    let ports = compose["services"]["prometheus"]["ports"].to_string();
    assert!(ports.contains(":9090\""), "{ports}");
    let provider = &super::read_documents("deploy/grafana/dashboards.yaml")[0]["providers"][0];
    let folder = provider["options"]["path"].as_str().unwrap();
    assert!(
        mounts.contains(&format!("dashboard.json:{folder}/curfew.json:ro")),
        "{mounts}"
    );
    // The default data source of the dashboard is the data source in the file.
    let chosen = &read_dashboard()["templating"]["list"][0]["current"]["value"];
    assert_eq!(*chosen, source["uid"]);
    assert_eq!(read_dashboard()["uid"], "curfew");
}
