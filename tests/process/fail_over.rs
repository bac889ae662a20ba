//! After a fail-over of Redis, ended sessions stay ended.

use super::*;
use crate::support::fault_proxy::{Fault, FaultProxy};
use crate::support::loopback;
use crate::support::redis::info_field;

/// The new primary was cut off from the old primary, so it never received a session end that the old primary had
/// stored.
#[tokio::test]
async fn an_end_that_a_fail_over_lost_is_repeated() {
    let mut primary = RedisServer::start();
    let replication_proxy = FaultProxy::start(loopback(primary.port)).await;
    let port = replication_proxy.address.port().to_string();
    let replica = RedisServer::start_with_options(&["--replicaof", "127.0.0.1", &port]);
    let is_online = || info_field(&primary, "slave0").contains("state=online");
    eventually("the replica is connected to the primary", async || {
        is_online()
    })
    .await;
    // Curfew connects to this proxy, which forwards to the current primary.
    let fault_proxy = FaultProxy::start(loopback(primary.port)).await;
    let setup = Setup::redis(&fault_proxy.url());
    let (one, two) = (setup.start(), setup.start());
    let revoked = one.sign_in("alice").await;
    let untouched = one.sign_in("alice").await;
    eventually("the replica of Redis has the sessions", async || {
        let keys: Vec<Vec<u8>> = replica.command(&[b"KEYS", b"curfew:s:*"]);
        keys.len() == 2
    })
    .await;

    replication_proxy.set_fault(Fault::HalfOpen);
    one.revoke(&revoked).await;
    assert_eq!(two.check(&revoked).await, denied("revoked"));
    primary.kill();
    replica.command::<()>(&[b"REPLICAOF", b"NO", b"ONE"]);
    fault_proxy.redirect_to(loopback(replica.port)).await;

    let stopwatch = Stopwatch::start();
    eventually(
        "Curfew allows the live session on the new primary",
        async || {
            // The replica that ended the session must never allow it again, not even for a moment.
            assert_ne!(one.check(&revoked).await.0, 200);
            two.check(&untouched).await == ALLOWED
        },
    )
    .await;
    eventually("the end applies again", async || {
        two.check(&revoked).await == denied("revoked")
    })
    .await;
    println!(
        "the session end was in force again {:.1} s after the fail-over",
        stopwatch.seconds()
    );
    assert!(stopwatch.seconds() < 10.0);
    assert_eq!(one.check(&revoked).await, denied("revoked"));
    assert_eq!(one.check(&untouched).await, ALLOWED);
    let restored = one.wait_for_audit_events("session.end_restored", 1).await;
    assert_eq!(restored.len(), 1);
    let metrics = one.get_ops("/metrics").await.1;
    assert!(
        metrics.contains("curfew_ends_replayed_total 1"),
        "{metrics}"
    );
}

/// With `on_store_failure: known`, sessions that this process has seen continue for the grace period, but Curfew
/// denies all other sessions.
#[tokio::test]
async fn known_sessions_are_admitted_while_redis_is_down() {
    let redis = RedisServer::start();
    let setup = Setup::redis(&redis.url())
        .set("POLICIES__DEFAULT__ON_STORE_FAILURE", "known")
        .set("POLICIES__DEFAULT__STORE_FAILURE_GRACE", "5s");
    let curfew = setup.start();
    let (known, unknown) = (curfew.sign_in("alice").await, curfew.sign_in("bob").await);
    assert_eq!(curfew.check(&known).await, ALLOWED);
    let unavailable = (503, "store_unavailable".to_owned());
    redis.freeze();
    let stopwatch = Stopwatch::start();
    assert_eq!(curfew.check(&known).await, ALLOWED);
    assert!(stopwatch.seconds() < 1.0, "{} s", stopwatch.seconds());
    assert_eq!(curfew.check(&unknown).await, unavailable);
    eventually("the grace period is over", async || {
        curfew.check(&known).await == unavailable
    })
    .await;
    let degraded = curfew.audit_events("session.degraded");
    assert!(
        !degraded.is_empty() && degraded[0]["user.id"] == "alice",
        "{degraded:?}"
    );
    redis.thaw();
    eventually("Curfew allows all sessions again", async || {
        curfew.check(&unknown).await == ALLOWED
    })
    .await;
    assert_eq!(
        curfew.check(&known).await,
        ALLOWED,
        "the session should continue after the outage"
    );
}

#[tokio::test]
async fn a_full_redis_rejects_only_sign_ins() {
    let redis = RedisServer::start();
    let curfew = Setup::redis(&redis.url()).start();
    let (live, revoked) = (curfew.sign_in("alice").await, curfew.sign_in("bob").await);
    redis.command::<()>(&[b"CONFIG", b"SET", b"maxmemory", b"1"]);
    let body = json!({ "subject": "carol" });
    let (status, problem) = curfew.call("POST", "/api/v1/sessions", Some(body)).await;
    assert_eq!(status, 503);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("the store is full"), "{detail}");
    assert_eq!(curfew.check(&live).await, ALLOWED);
    curfew.revoke(&revoked).await;
    assert_eq!(curfew.check(&revoked).await, denied("revoked"));
    let all = "/api/v1/sessions?subject=alice";
    assert_eq!(curfew.call("DELETE", all, None).await.1["revoked"], 1);
    assert_eq!(curfew.check(&live).await, denied("revoked"));
    redis.command::<()>(&[b"CONFIG", b"SET", b"maxmemory", b"0"]);
    curfew.sign_in("carol").await;
}

#[tokio::test]
async fn readyz_lists_recommendations() {
    let redis = RedisServer::start_with_options(&["--maxmemory-policy", "allkeys-lru"]);
    let curfew = Setup::redis(&redis.url()).start();
    eventually("readyz reports the recommendation", async || {
        let (status, text) = curfew.get_ops("/readyz?verbose").await;
        status == 200 && text.contains("advice: redis: maxmemory-policy is allkeys-lru")
    })
    .await;
    assert_eq!(curfew.get_ops("/readyz").await, (200, "ok\n".to_owned()));
    eventually("the log has the recommendation", async || {
        curfew.log().contains("set it to noeviction")
    })
    .await;
}

#[tokio::test]
async fn the_migrate_command_upgrades_records() {
    let redis = RedisServer::start();
    // Simulates running replicas of a version without encrypted records.
    redis.command::<()>(&[b"SET", b"curfew:schema", b"2"]);
    let setup = Setup::redis(&redis.url()).set("STORE__MIGRATE", "false");
    let curfew = setup.start();
    let session = curfew.sign_in("alice").await;
    // Replaces each record with a record in the format of the first version.
    let keys: Vec<Vec<u8>> = redis.command(&[b"KEYS", b"curfew:s:*"]);
    let record: Vec<u8> = redis.command(&[b"GET", &keys[0]]);
    let version_1_record = [&[1, record[1]], &record[6..]].concat();
    redis.command::<()>(&[b"SET", &keys[0], &version_1_record, b"KEEPTTL"]);
    redis.command::<()>(&[b"SET", b"curfew:schema", b"1"]);
    assert_eq!(curfew.check(&session).await, ALLOWED);
    let dry_run = run_command(&setup, &["migrate", "--dry-run"]);
    let output_text = to_text(&dry_run.stdout);
    assert!(
        output_text.contains("follow schema 1; this program writes 3"),
        "{output_text}"
    );
    assert!(
        output_text.contains("1 checked, 1 to upgrade"),
        "{output_text}"
    );
    assert!(
        output_text.contains("records under each key: not encrypted: 1"),
        "{output_text}"
    );
    let output_text = to_text(&run_command(&setup, &["migrate"]).stdout);
    assert!(output_text.contains("1 upgraded"), "{output_text}");
    let upgraded: Vec<u8> = redis.command(&[b"GET", &keys[0]]);
    assert_eq!((record[0], upgraded[0]), (2, 3));
    let readable = upgraded.windows(5).any(|part| part == b"alice");
    assert!(!readable, "the upgraded record should be encrypted");
    assert_eq!(redis.command::<u64>(&[b"GET", b"curfew:schema"]), 3);
    assert_eq!(curfew.check(&session).await, ALLOWED);
    let memory_migration = run_command(&Setup::memory(), &["migrate"]);
    assert!(!memory_migration.status.success());
    redis.command::<()>(&[b"SET", b"curfew:schema", b"9"]);
    let refused_migration = run_command(&setup, &["migrate"]);
    let output_text = to_text(&refused_migration.stderr);
    assert!(output_text.contains("follow schema 9"), "{output_text}");
}
