//! The page `docs/kubernetes-story.md`: the test applies the manifests of the page, and sees what the page says.

use serde_json::Value;

use crate::Fixture;
use crate::audit::run_audit;
use crate::support::eventually;
use crate::support::kube_api::KubeApi;

const PAGE: &str = include_str!("../../docs/kubernetes-story.md");

/// Returns the code blocks of the page in this language.
fn blocks(language: &str) -> Vec<&'static str> {
    let parts = PAGE.split("```").skip(1).step_by(2);
    parts
        .filter_map(|block| block.strip_prefix(language))
        .collect()
}

/// Returns a SessionPolicy whose name is its namespace.
fn policy(api: &KubeApi, team: &str) -> Value {
    api.object("sessionpolicies", team, team)
}

fn has_condition(policy: &Value, reason: &str, message: &str) -> bool {
    let conditions = policy["status"]["ancestors"][0]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|it| {
        let said = it["message"].as_str().unwrap_or_default();
        it["reason"] == reason && said.starts_with(message)
    })
}

#[tokio::test]
async fn each_step_of_the_page_gives_what_the_page_says() {
    let manifests = blocks("yaml");
    let [cluster, ceiling, crm, payments, wiki] = manifests.as_slice() else {
        panic!("{} manifests", manifests.len());
    };
    let said = blocks("text").concat();
    let message = |reason: &str| {
        let line = said.lines().find(|line| line.contains(reason)).unwrap();
        line.split_once(": ").unwrap().1.trim()
    };
    let api = KubeApi::start().await;
    api.apply(cluster);
    let curfew = Fixture::setup(&api).start();
    let fixture = Fixture { api, curfew };
    fixture.wait_until_known().await;

    fixture.api.apply(ceiling);
    fixture.api.apply(crm);
    fixture.wait_for("crm.example.com", "16m", 401).await;
    assert_eq!(fixture.check_idle("crm.example.com", "14m").await, 200);
    eventually("the status says why", async || {
        let policy = policy(&fixture.api, "crm");
        let idle = &policy["status"]["effective"]["idle"];
        idle["value"] == "15m"
            && idle["from"] == "ClusterSessionPolicy card-data"
            && has_condition(&policy, "Overridden", message("Overridden"))
    })
    .await;

    fixture.api.apply(payments);
    // No check asks for this host, because the last step needs a route without checks. `explain` finds its limit.
    let objects = [*cluster, ceiling, crm, payments].join("\n---\n");
    let explained = fixture.explain("https://pay.example.com/", &objects);
    assert!(
        explained.contains("Ingress payments/payments (annotation)"),
        "{explained}"
    );

    fixture.api.apply(wiki);
    eventually("the claim is refused", async || {
        let policy = policy(&fixture.api, "wiki");
        has_condition(&policy, "Conflicted", message("Conflicted"))
    })
    .await;
    assert_eq!(fixture.check_idle("crm.example.com", "14m").await, 200);

    let output = run_audit(&fixture.curfew, &[]);
    let table = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    let page = blocks("console").concat();
    let (command, expected) = page.trim().split_once('\n').unwrap();
    assert_eq!(command, "$ curfew audit routes");
    let (expected_table, expected_error) = expected.split_once("error: ").unwrap();
    let text = |text: &str| {
        text.lines()
            .map(str::trim_end)
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(text(&table), text(expected_table).trim_end());
    // Only the time differs.
    let around_time = |text: &str| {
        let (before, after) = text.split_once(" since ").unwrap();
        (
            before.to_owned(),
            after.trim().split_once(". ").unwrap().1.to_owned(),
        )
    };
    let error = error.trim().strip_prefix("error: ").unwrap();
    assert_eq!(around_time(error), around_time(expected_error));
}
