//! Tests emergency revocations with two replicas, on the command line, and with a replica that has lost its connection
//! to Redis.

use super::*;
use crate::support::fault_proxy::{Fault, FaultProxy};

/// Returns the settings of a shell that runs commands against this Curfew.
fn operator_shell(setup: &Setup, curfew: &support::curfew::Curfew) -> Setup {
    let admin = format!("http://{}", curfew.admin);
    Setup::memory()
        .set_variable("CURFEW_ADMIN_URL", &admin)
        .set_variable("CURFEW_ADMIN_TOKEN", &setup.admin_token)
}

async fn wait_until_ready(curfew: &support::curfew::Curfew) {
    eventually("Curfew is ready", async || {
        curfew.get_ops("/readyz").await.0 == 200
    })
    .await;
}

/// Requests an emergency revocation, and returns the status and the answer.
async fn post_revocation(
    curfew: &support::curfew::Curfew,
    token: &str,
    body: Value,
) -> (u16, Value) {
    let url = format!("http://{}/api/v1/revocations", curfew.admin);
    let request = client().post(url).bearer_auth(token);
    let request = request.header("content-type", "application/json");
    let answer = request.body(body.to_string()).send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap())
}

#[tokio::test]
async fn an_emergency_revocation_reaches_every_replica_within_a_second() {
    let server = RedisServer::start();
    let setup = Setup::redis(&server.url());
    let (one, two) = (setup.start(), setup.start());
    wait_until_ready(&one).await;
    wait_until_ready(&two).await;
    let sessions = [one.sign_in("alice").await, two.sign_in("bob").await];
    for session in &sessions {
        // Loads the sessions into the near caches of both replicas.
        for replica in [&one, &two] {
            for _ in 0..3 {
                assert_eq!(replica.check(session).await, ALLOWED);
            }
        }
    }
    eventually("the first replica knows all replicas", async || {
        let (status, answer) = post_revocation(
            &one,
            &setup.admin_token,
            json!({ "policy": "none", "dry_run": false }),
        )
        .await;
        let replicas = answer["in_force"]["replicas"].as_array();
        let both = replicas.is_some_and(|all| all.len() == 2);
        // Until the first replica knows both replicas, the answer does not say that the revocation is in force
        // everywhere.
        assert_eq!(status == 200, answer["in_force"]["everywhere"] == true);
        both && status == 200
    })
    .await;
    let (status, count_output) = post_revocation(
        &two,
        &setup.admin_token,
        json!({ "policy": "default", "dry_run": true }),
    )
    .await;
    assert_eq!(
        (status, &count_output["count"]["live"]),
        (200, &json!(2)),
        "{count_output}"
    );
    assert_eq!(count_output["count"]["exact"], true);
    assert_eq!(
        one.check(&sessions[0]).await,
        ALLOWED,
        "a dry run ends nothing"
    );
    let stopwatch = Stopwatch::start();
    let (status, revoked) =
        post_revocation(&one, &setup.admin_token, json!({ "policy": "default" })).await;
    assert_eq!(status, 200, "{revoked}");
    // Curfew waits at most one second for the other replicas, but the test allows more, because a busy machine is
    // slower.
    assert!(stopwatch.seconds() < 5.0, "{} s", stopwatch.seconds());
    assert_eq!(revoked["in_force"]["everywhere"], true);
    for session in &sessions {
        for replica in [&two, &one] {
            assert_eq!(replica.check(session).await, denied("revoked"));
        }
    }
    // Each end is published once, by one of the replicas. A later sign-in is not affected.
    eventually("the ends are published", async || {
        one.audit_events("session.ended").len() + two.audit_events("session.ended").len() == 2
    })
    .await;
    eventually("the audit event is logged", async || {
        !one.audit_events("revocation.finished").is_empty()
    })
    .await;
    let declared = one.audit_events("revocation.declared");
    assert_eq!(
        declared.last().unwrap()["curfew.revocation.conditions"],
        "policy=default"
    );
    let finished = one.audit_events("revocation.finished");
    // A check can end a session before the revocation does. Then the actor of this end is Curfew, so the revocation
    // does not count it.
    let mut ended = one.audit_events("session.ended");
    ended.retain(|event| event["curfew.actor.kind"] == "admin_token");
    assert_eq!(
        finished.last().unwrap()["curfew.revocation.ended"],
        ended.len()
    );
    let later_session = two.sign_in("carol").await;
    assert_eq!(one.check(&later_session).await, ALLOWED);
}

#[tokio::test]
async fn a_replica_without_invalidations_stops_admitting_when_its_lease_ends() {
    let server = RedisServer::start();
    let fault_proxy = FaultProxy::start(([127, 0, 0, 1], server.public_port()).into()).await;
    let setup = Setup::redis(&server.url());
    let one = setup.start();
    let cut_off = setup.clone().set("STORE__URL", &fault_proxy.url()).start();
    wait_until_ready(&one).await;
    wait_until_ready(&cut_off).await;
    let session = one.sign_in("alice").await;
    for _ in 0..3 {
        assert_eq!(cut_off.check(&session).await, ALLOWED);
    }
    eventually("the replicas know of each other", async || {
        let (_, found) =
            post_revocation(&one, &setup.admin_token, json!({ "policy": "none" })).await;
        found["in_force"]["replicas"]
            .as_array()
            .is_some_and(|all| all.len() == 2)
    })
    .await;
    fault_proxy.set_fault(Fault::HalfOpen);
    let (status, revoked) =
        post_revocation(&one, &setup.admin_token, json!({ "everybody": true })).await;
    assert_eq!(status, 202, "{revoked}");
    let states: Vec<_> = revoked["in_force"]["replicas"]
        .as_array()
        .unwrap()
        .iter()
        .map(|replica| replica["state"].as_str().unwrap())
        .collect();
    assert_eq!(
        states.iter().filter(|state| **state == "in_force").count(),
        1,
        "{revoked}"
    );
    assert!(states.contains(&"unconfirmed"), "{revoked}");
    let in_force_by =
        humantime::parse_rfc3339(revoked["in_force"]["by"].as_str().unwrap()).unwrap();
    let remaining = Timestamp::from(in_force_by).since(support::now());
    tokio::time::sleep(remaining + Duration::from_millis(100)).await;
    let (status, reason) = cut_off.check(&session).await;
    assert_eq!((status, &*reason), (503, "store_unavailable"));
    fault_proxy.set_fault(Fault::None);
    eventually("the replica receives invalidations again", async || {
        cut_off.check(&session).await == denied("revoked")
    })
    .await;
}

#[tokio::test]
async fn the_revoke_command_counts_confirms_and_revokes() {
    let setup = Setup::memory();
    let curfew = setup.start();
    let shell = operator_shell(&setup, &curfew);
    let revoke = |arguments: &[&str]| run_command(&shell, &[&["revoke"], arguments].concat());
    let stdout_of_success = |output: &Output| {
        assert!(output.status.success(), "{}", to_text(&output.stderr));
        to_text(&output.stdout)
    };
    let session = curfew.sign_in("alice").await;
    let count_output = stdout_of_success(&revoke(&["--source", "token", "--dry-run"]));
    assert!(
        count_output.starts_with("1 live session would end: source=token, started before "),
        "{count_output}"
    );
    assert!(
        count_output.contains("records checked: 1 (all)\n"),
        "{count_output}"
    );
    let count_output = stdout_of_success(&revoke(&["--host", "App.Example.com:443", "--dry-run"]));
    assert!(
        count_output.contains("host=app.example.com"),
        "{count_output}"
    );
    assert!(
        count_output.contains("1 of these sessions lack one of the properties"),
        "{count_output}"
    );
    let json = stdout_of_success(&revoke(&["--group", "nobody", "--dry-run", "--json"]));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["count"]["live"], 0);
    // Without a terminal, the command does not ask for confirmation.
    let refused = revoke(&["--everybody"]);
    assert!(!refused.status.success());
    assert!(
        to_text(&refused.stderr).contains("--yes"),
        "{}",
        to_text(&refused.stderr)
    );
    assert_eq!(curfew.check(&session).await, ALLOWED);
    for arguments in [
        &["--yes"][..],
        &["--yes", "--everybody", "--policy", "default"],
        &["--yes", "--source", "guess"],
        &["--yes", "--everybody", "--before", "tomorrow"],
        &["--yes", "--everybody", "--before", "2999-01-01T00:00:00Z"],
    ] {
        assert!(!revoke(arguments).status.success(), "{arguments:?}");
    }
    assert_eq!(curfew.check(&session).await, ALLOWED);
    stdout_of_success(&revoke(&[
        "--yes",
        "--everybody",
        "--before",
        "2026-01-01T00:00:00Z",
    ]));
    assert_eq!(
        curfew.check(&session).await,
        ALLOWED,
        "the session started after the time in `--before`"
    );
    let revoked = stdout_of_success(&revoke(&["--yes", "--policy", "default"]));
    assert!(
        revoked.starts_with("revoked: policy=default, started before "),
        "{revoked}"
    );
    assert!(revoked.contains("in force"), "{revoked}");
    assert_eq!(curfew.check(&session).await, denied("revoked"));
}
