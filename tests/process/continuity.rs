//! Sessions survive a restart, a crash, and a change of a policy or key. Two replicas give the same answers.

use curfew::store::cached::LEASE;

use super::*;
use crate::support::curfew::{CreatedSession, Curfew};

#[tokio::test]
async fn a_restart_with_redis_loses_nothing() {
    let redis = RedisServer::start();
    let setup = Setup::redis(&redis.url());
    let curfew = setup.start();
    let (live, ended) = (curfew.sign_in("alice").await, curfew.sign_in("alice").await);
    curfew.revoke(&ended).await;
    // Curfew writes activity only every 15 s (the touch interval), so it has not written this activity yet.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(curfew.check(&live).await, ALLOWED);
    let before = curfew.fetch_session(&live).await;
    assert_ne!(before["last_seen"], before["started"]);
    curfew.stop().await;

    let curfew = setup.start();
    eventually("Curfew is ready", async || {
        curfew.get_ops("/readyz").await.0 == 200
    })
    .await;
    let after = curfew.fetch_session(&live).await;
    for field in [
        "last_seen",
        "started",
        "absolute_deadline",
        "subject",
        "attributes",
        "policy",
    ] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!(curfew.check(&live).await, ALLOWED);
    assert_eq!(curfew.check(&ended).await, denied("revoked"));
}

/// A killed process loses no session. It loses at most the activity of one touch interval (the time for which Curfew
/// collects activity before it writes to Redis).
#[tokio::test]
async fn a_crash_with_redis_loses_no_session() {
    let redis = RedisServer::start();
    let setup = Setup::redis(&redis.url());
    let curfew = setup.start();
    let session = curfew.sign_in("alice").await;
    curfew.age(&session, "14m").await;
    assert_eq!(curfew.check(&session).await, ALLOWED);
    let seen = curfew.fetch_session(&session).await["last_seen"].clone();
    eventually(
        "the first activity after a pause is written at once",
        async || {
            curfew
                .get_ops("/metrics")
                .await
                .1
                .contains("curfew_touches_written_total 1\n")
        },
    )
    .await;
    curfew.signal("KILL");
    let curfew = setup.start();
    eventually("Curfew is ready", async || {
        curfew.get_ops("/readyz").await.0 == 200
    })
    .await;
    assert_eq!(curfew.fetch_session(&session).await["last_seen"], seen);
    curfew.age(&session, "14m").await;
    assert_eq!(curfew.check(&session).await, ALLOWED);
}

/// Asserts that the replica denies a session within the lease after the other replica has ended it. The lease is the
/// time for which a replica may answer from its near cache (the session records in memory).
async fn assert_denied_within_lease(curfew: &Curfew, session: &CreatedSession, reason: &str) {
    let since_end = Stopwatch::start();
    while curfew.check(session).await == ALLOWED {
        assert!(since_end.seconds() < LEASE.as_secs_f64());
    }
    assert_eq!(curfew.check(session).await, denied(reason));
}

#[tokio::test]
async fn two_replicas_with_one_redis_agree() {
    let redis = RedisServer::start();
    let setup = Setup::redis(&redis.url());
    let (one, two) = (setup.start(), setup.start());
    for curfew in [&one, &two] {
        eventually("Curfew is ready", async || {
            curfew.get_ops("/readyz").await.0 == 200
        })
        .await;
    }
    // Activity on one replica keeps the session alive on the other replica, too.
    let session = one.sign_in("alice").await;
    for _ in 0..3 {
        one.age(&session, "14m").await;
        assert_eq!(one.check(&session).await, ALLOWED);
        let seen = one.fetch_session(&session).await["last_seen"].clone();
        // The other replica may see the new activity a moment later.
        eventually("the other replica has the activity", async || {
            two.fetch_session(&session).await["last_seen"].as_str() >= seen.as_str()
        })
        .await;
        assert_eq!(two.check(&session).await, ALLOWED);
    }
    // If one replica ends a session, the other replica denies it with the same reason.
    two.age(&session, "15m").await;
    assert_eq!(two.check(&session).await, denied("idle_timeout"));
    assert_denied_within_lease(&one, &session, "idle_timeout").await;
    let session = two.sign_in("alice").await;
    assert_eq!(one.check(&session).await, ALLOWED);
    two.revoke(&session).await;
    assert_eq!(two.check(&session).await, denied("revoked"));
    assert_denied_within_lease(&one, &session, "revoked").await;
    // Both replicas list every session of a subject.
    for curfew in [&one, &two] {
        let (_, page) = curfew
            .call("GET", "/api/v1/sessions?subject=alice", None)
            .await;
        assert_eq!(page["sessions"].as_array().unwrap().len(), 2, "{page}");
    }
    // Each end is published once, by the replica that detected it.
    let published_ends = [&one, &two].map(|curfew| curfew.audit_events("session.ended"));
    let reasons: Vec<Value> = published_ends
        .concat()
        .iter()
        .map(|event| event["event.reason"].clone())
        .collect();
    assert_eq!(reasons, ["idle_timeout", "revoked"]);
}

#[tokio::test]
async fn a_changed_policy_applies_as_documented() {
    let redis = RedisServer::start();
    let setup = Setup::redis(&redis.url()).limits("15m", "1h");
    let curfew = setup.start();
    let session = curfew.sign_in("alice").await;
    curfew.age(&session, "10m").await;
    let deadline = curfew.fetch_session(&session).await["absolute_deadline"].clone();
    curfew.stop().await;
    let longer = setup.clone().limits("15m", "12h").start();
    eventually("Curfew is ready", async || {
        longer.get_ops("/readyz").await.0 == 200
    })
    .await;
    assert_eq!(
        longer.fetch_session(&session).await["absolute_deadline"],
        deadline,
        "a longer limit should not extend the deadline of a session"
    );
    longer.stop().await;
    let shorter = setup.limits("5m", "1h").start();
    eventually("Curfew is ready", async || {
        shorter.get_ops("/readyz").await.0 == 200
    })
    .await;
    assert_eq!(
        shorter.check(&session).await,
        denied("idle_timeout"),
        "a shorter limit should apply at once"
    );
}

#[tokio::test]
async fn rotating_the_key_logs_nobody_out() {
    let redis = RedisServer::start();
    let setup = Setup::redis(&redis.url());
    let old_key = setup.key.clone();
    let curfew = setup.start();
    let old = curfew.sign_in("alice").await;
    curfew.stop().await;
    let new_key = to_text(&run_command(&setup, &["keygen"]).stdout)
        .trim()
        .to_owned();
    let both_keys = setup
        .clone()
        .set("TOKEN__KEYS", &format!("{new_key},{old_key}"));
    let curfew = both_keys.start();
    eventually("Curfew is ready", async || {
        curfew.get_ops("/readyz").await.0 == 200
    })
    .await;
    let new = curfew.sign_in("alice").await;
    assert_eq!(curfew.check(&old).await, ALLOWED);
    assert_eq!(curfew.check(&new).await, ALLOWED);
    curfew.stop().await;
    let curfew = both_keys.set("TOKEN__KEYS", &new_key).start();
    eventually("Curfew is ready", async || {
        curfew.get_ops("/readyz").await.0 == 200
    })
    .await;
    assert_eq!(
        curfew.check(&old).await,
        denied("invalid_credential"),
        "the key of this session was removed"
    );
    assert_eq!(curfew.check(&new).await, ALLOWED);
}

#[tokio::test]
async fn redis_may_start_after_curfew() {
    let mut redis = RedisServer::start();
    redis.stop();
    let curfew = Setup::redis(&redis.url()).start();
    let (status, reason) = curfew.get_ops("/readyz").await;
    assert_eq!(status, 503, "{reason}");
    redis.start_again();
    eventually("Curfew is ready", async || {
        curfew.get_ops("/readyz").await.0 == 200
    })
    .await;
    let session = curfew.sign_in("alice").await;
    assert_eq!(curfew.check(&session).await, ALLOWED);
}

#[tokio::test]
async fn a_newer_schema_stops_the_process() {
    let redis = RedisServer::start();
    redis.command::<()>(&[b"SET", b"curfew:schema", b"99"]);
    let mut curfew = Setup::redis(&redis.url()).start();
    assert_eq!(curfew.wait_for_exit().await.code(), Some(1));
    eventually("the log names the schema", async || {
        curfew.log().contains("schema 99")
    })
    .await;
}

/// The console of each replica lists all replicas of the store, and removes stopped replicas from the list.
#[tokio::test]
async fn replicas_know_of_each_other() {
    let redis = RedisServer::start();
    let setup = Setup::redis(&redis.url());
    let (one, two) = (setup.start(), setup.start());
    let open_health_page = async |curfew: &Curfew| {
        let console = format!("http://{}/console", curfew.admin);
        let send_request = async |request: reqwest::RequestBuilder| {
            let request = request.header("sec-fetch-site", "same-origin");
            request.send().await.unwrap()
        };
        let form = format!("token={}&to=/console/health", setup.admin_token);
        let request = client().post(format!("{console}/sign-in")).body(form);
        let form = "application/x-www-form-urlencoded";
        let sign_in_response = send_request(request.header("content-type", form)).await;
        let cookie = sign_in_response.headers()["set-cookie"].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let page = send_request(
            client()
                .get(format!("{console}/health"))
                .header("cookie", cookie),
        )
        .await;
        page.text().await.unwrap()
    };
    let names = [&one, &two].map(|curfew| format!("[{}]", curfew.process_id()));
    for curfew in [&one, &two] {
        eventually("both replicas are listed", async || {
            let page = open_health_page(curfew).await;
            names.iter().all(|name| page.contains(name)) && page.matches("(this one)").count() == 1
        })
        .await;
    }
}
