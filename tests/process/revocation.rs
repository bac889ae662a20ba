//! Emergency revocation: two replicas, the command line, and a replica without a connection to Redis.

use super::*;
use crate::support::fault_proxy::{Fault, FaultProxy};

fn operator(setup: &Setup, curfew: &support::curfew::Curfew) -> Setup {
    let admin = format!("http://{}", curfew.admin);
    Setup::memory()
        .set_variable("CURFEW_ADMIN_URL", &admin)
        .set_variable("CURFEW_ADMIN_TOKEN", &setup.admin_token)
}

async fn ready(curfew: &support::curfew::Curfew) {
    eventually("Curfew is ready", async || {
        curfew.ops("/readyz").await.0 == 200
    })
    .await;
}

async fn post(curfew: &support::curfew::Curfew, token: &str, body: Value) -> (u16, Value) {
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
    ready(&one).await;
    ready(&two).await;
    let sessions = [one.sign_in("alice").await, two.sign_in("bob").await];
    for session in &sessions {
        // Both have the sessions in the near cache.
        for replica in [&one, &two] {
            for _ in 0..3 {
                assert_eq!(replica.check(session).await, ALLOWED);
            }
        }
    }
    eventually("the first replica knows all replicas", async || {
        let (status, health) = post(
            &one,
            &setup.admin_token,
            json!({ "policy": "none", "dry_run": false }),
        )
        .await;
        let replicas = health["in_force"]["replicas"].as_array();
        let both = replicas.is_some_and(|all| all.len() == 2);
        // Until then, `/health` does not report that the revocation is in force everywhere.
        assert_eq!(status == 200, health["in_force"]["everywhere"] == true);
        both && status == 200
    })
    .await;
    let (status, counted) = post(
        &two,
        &setup.admin_token,
        json!({ "policy": "default", "dry_run": true }),
    )
    .await;
    assert_eq!(
        (status, &counted["count"]["live"]),
        (200, &json!(2)),
        "{counted}"
    );
    assert_eq!(counted["count"]["exact"], true);
    assert_eq!(
        one.check(&sessions[0]).await,
        ALLOWED,
        "a dry run ends nothing"
    );
    let begun = Stopwatch::start();
    let (status, revoked) = post(&one, &setup.admin_token, json!({ "policy": "default" })).await;
    assert_eq!(status, 200, "{revoked}");
    // Curfew waits for a second at most; a busy machine takes longer.
    assert!(begun.seconds() < 5.0, "{} s", begun.seconds());
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
    // A check can be faster, and end a session on behalf of Curfew.
    let mut ended = one.audit_events("session.ended");
    ended.retain(|event| event["curfew.actor.kind"] == "admin_token");
    assert_eq!(
        finished.last().unwrap()["curfew.revocation.ended"],
        ended.len()
    );
    let late = two.sign_in("carol").await;
    assert_eq!(one.check(&late).await, ALLOWED);
}

#[tokio::test]
async fn a_replica_without_invalidations_stops_admitting_when_its_lease_ends() {
    let server = RedisServer::start();
    let way = FaultProxy::to(([127, 0, 0, 1], server.public_port()).into()).await;
    let setup = Setup::redis(&server.url());
    let one = setup.start();
    let cut_off = setup.clone().set("STORE__URL", &way.url()).start();
    ready(&one).await;
    ready(&cut_off).await;
    let session = one.sign_in("alice").await;
    for _ in 0..3 {
        assert_eq!(cut_off.check(&session).await, ALLOWED);
    }
    eventually("the replicas know of each other", async || {
        let (_, found) = post(&one, &setup.admin_token, json!({ "policy": "none" })).await;
        found["in_force"]["replicas"]
            .as_array()
            .is_some_and(|all| all.len() == 2)
    })
    .await;
    way.set(Fault::HalfOpen);
    let (status, revoked) = post(&one, &setup.admin_token, json!({ "everybody": true })).await;
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
    let by = humantime::parse_rfc3339(revoked["in_force"]["by"].as_str().unwrap()).unwrap();
    let left = Timestamp::from(by).since(support::now());
    tokio::time::sleep(left + Duration::from_millis(100)).await;
    let (status, reason) = cut_off.check(&session).await;
    assert_eq!((status, &*reason), (503, "store_unavailable"));
    way.set(Fault::None);
    eventually("the replica receives invalidations again", async || {
        cut_off.check(&session).await == denied("revoked")
    })
    .await;
}

#[tokio::test]
async fn the_revoke_command_counts_confirms_and_revokes() {
    let setup = Setup::memory();
    let curfew = setup.start();
    let shell = operator(&setup, &curfew);
    let revoke = |arguments: &[&str]| run(&shell, &[&["revoke"], arguments].concat());
    let said = |output: &Output| {
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let session = curfew.sign_in("alice").await;
    let counted = said(&revoke(&["--source", "token", "--dry-run"]));
    assert!(
        counted.starts_with("1 live session would end: source=token, started before "),
        "{counted}"
    );
    assert!(counted.contains("records checked: 1 (all)\n"), "{counted}");
    let counted = said(&revoke(&["--host", "App.Example.com:443", "--dry-run"]));
    assert!(counted.contains("host=app.example.com"), "{counted}");
    assert!(
        counted.contains("1 of these sessions lack one of the properties"),
        "{counted}"
    );
    let json = said(&revoke(&["--group", "nobody", "--dry-run", "--json"]));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["count"]["live"], 0);
    // Without a terminal, the command does not ask for confirmation.
    let refused = revoke(&["--everybody"]);
    assert!(!refused.status.success());
    assert!(
        text(&refused.stderr).contains("--yes"),
        "{}",
        text(&refused.stderr)
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
    said(&revoke(&[
        "--yes",
        "--everybody",
        "--before",
        "2026-01-01T00:00:00Z",
    ]));
    assert_eq!(curfew.check(&session).await, ALLOWED, "it started later");
    let revoked = said(&revoke(&["--yes", "--policy", "default"]));
    assert!(
        revoked.starts_with("revoked: policy=default, started before "),
        "{revoked}"
    );
    assert!(revoked.contains("in force"), "{revoked}");
    assert_eq!(curfew.check(&session).await, denied("revoked"));
}
