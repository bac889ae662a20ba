//! Replicas of two versions share one Redis.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// The message that the previous version publishes every five seconds.
const OLD_REPLICA_MESSAGE: &[u8] =
    br#"i{"name":"old[1]","version":"0.1.0","started":"2026-11-01T00:00:00Z"}"#;

/// Returns the version of each record in Redis.
fn record_versions(redis: &RedisServer) -> Vec<u8> {
    let keys: Vec<Vec<u8>> = redis.command(&[b"KEYS", b"curfew:s:*"]);
    let records = keys.iter().filter_map(|key| {
        let record: Option<Vec<u8>> = redis.command(&[b"GET", key]);
        Some(record?[0])
    });
    records.collect()
}

/// While an older replica runs, Curfew writes records in the old version. After the older replica has stopped,
/// Curfew upgrades all records. During the update, no check fails, and no answer is wrong.
#[tokio::test]
async fn a_rolling_update_under_load_gives_no_wrong_answer() {
    let redis = RedisServer::start();
    redis.command::<()>(&[b"SET", b"curfew:schema", b"2"]);
    // The timeouts are long, because a busy machine answers slowly.
    let setup = Setup::redis(&redis.url())
        .set("STORE__CHECK_TIMEOUT", "5s")
        .set("STORE__COMMAND_TIMEOUT", "2s");
    let (one, two) = (setup.start(), setup.start());
    let mut sessions = Vec::new();
    for number in 0..20 {
        sessions.push(one.sign_in(&format!("user{number}")).await);
    }
    let ended = sessions.split_off(15);
    for session in &ended {
        two.revoke(session).await;
    }
    assert!(record_versions(&redis).iter().all(|version| *version == 2));

    let (is_done, mut check_count) = (AtomicBool::new(false), 0_u32);
    let load = async {
        while !is_done.load(Ordering::Relaxed) {
            for curfew in [&one, &two] {
                for session in &sessions {
                    assert_eq!(curfew.check(session).await, ALLOWED, "{}", curfew.log());
                }
                for session in &ended {
                    assert_eq!(curfew.check(session).await, denied("revoked"));
                }
                let new = curfew.sign_in("somebody").await;
                assert_eq!(curfew.check(&new).await, ALLOWED);
                curfew.revoke(&new).await;
                assert_eq!(curfew.check(&new).await, denied("revoked"));
                check_count += 22;
            }
        }
    };
    let update = async {
        let stopwatch = Stopwatch::start();
        let mut is_waiting_reported = false;
        while stopwatch.seconds() < 24.0 {
            redis.command::<()>(&[b"PUBLISH", b"curfew:ends", OLD_REPLICA_MESSAGE]);
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!(redis.command::<u64>(&[b"GET", b"curfew:schema"]), 2);
            let readiness = one.get_ops("/readyz?verbose").await.1;
            is_waiting_reported |=
                readiness.contains("when these older replicas are stopped: old[1]");
        }
        assert!(is_waiting_reported);
        assert!(record_versions(&redis).iter().all(|version| *version == 2));
        let is_upgrade_finished = async || {
            let schema: u64 = redis.command(&[b"GET", b"curfew:schema"]);
            let is_unfinished: bool = redis.command(&[b"EXISTS", b"curfew:progress:record-3"]);
            schema == 3 && !is_unfinished
        };
        eventually("the records are upgraded", is_upgrade_finished).await;
        assert!(record_versions(&redis).iter().all(|version| *version == 3));
        is_done.store(true, Ordering::Relaxed);
    };
    tokio::join!(load, update);
    println!("{check_count} checks");
    assert!(check_count > 200, "{check_count}");
}

/// An attacker with access to Redis, but without a key, cannot change a session's subject.
#[tokio::test]
async fn an_attacker_in_redis_cannot_become_another_user() {
    let redis = RedisServer::start();
    let setup = Setup::redis(&redis.url()).set("STORE__NEAR_CACHE_SESSIONS", "0");
    let curfew = setup.start();
    let sign_in_with_record_key = async |subject: &str| {
        let before: Vec<Vec<u8>> = redis.command(&[b"KEYS", b"curfew:s:*"]);
        let session = curfew.sign_in(subject).await;
        let after: Vec<Vec<u8>> = redis.command(&[b"KEYS", b"curfew:s:*"]);
        let key = after.into_iter().find(|key| !before.contains(key)).unwrap();
        (session, key)
    };
    let ((root, root_key), (bob, bob_key)) = (
        sign_in_with_record_key("root").await,
        sign_in_with_record_key("bob").await,
    );
    let root_record: Vec<u8> = redis.command(&[b"GET", &root_key]);
    let live_record: Vec<u8> = redis.command(&[b"GET", &bob_key]);
    let readable = [&root_record, &live_record].iter().any(|record| {
        record.windows(3).any(|part| part == b"bob")
            || record.windows(4).any(|part| part == b"root")
    });
    assert!(!readable, "the names in the records should be encrypted");
    let unavailable = (503, "store_unavailable".to_owned());
    let mut moved_record = root_record.clone();
    moved_record[1..3].copy_from_slice(&bob_key[bob_key.len() - 16..][..2]);
    // A record in the format of version 2, for the subject root. Its tag is the start of the ID of bob's session.
    let tag = &bob_key[bob_key.len() - 16..][..4];
    let plain_record = [
        &[2, 0][..],
        tag,
        b"\x80\xbb\xc7\xa8\xa0\x34\x80\xdc\xcc\x14\xa0\xac\x92\x02\x07default\x04root\0\0",
    ]
    .concat();
    for forged in [&root_record, &moved_record, &plain_record] {
        redis.command::<()>(&[b"SET", &bob_key, forged, b"KEEPTTL"]);
        assert_eq!(curfew.check(&bob).await, unavailable);
    }
    redis.command::<()>(&[b"SET", &bob_key, &live_record, b"KEEPTTL"]);
    eventually("Curfew accepts the restored record of bob", async || {
        curfew.check(&bob).await == ALLOWED
    })
    .await;
    assert_eq!(curfew.fetch_session(&bob).await["subject"], "bob");
    // Stores the record of root's ended session (tombstone) as the record of bob's session.
    curfew.revoke(&root).await;
    let tombstone: Vec<u8> = redis.command(&[b"GET", &root_key]);
    redis.command::<()>(&[b"SET", &bob_key, &tombstone, b"KEEPTTL"]);
    assert_ne!(curfew.check(&bob).await.0, 200);
}

/// After a change of the first key, Curfew encrypts all records again. Then the old key can be removed.
#[tokio::test]
async fn records_are_sealed_with_a_new_key_in_the_background() {
    let redis = RedisServer::start();
    let (old, new) = ("A".repeat(43), "B".repeat(42) + "A");
    let setup = Setup::redis(&redis.url());
    let first = setup.clone().set("TOKEN__KEYS", &old).start();
    let session = first.sign_in("alice").await;
    let ended = first.sign_in("bob").await;
    first.revoke(&ended).await;
    first.stop().await;
    let both = setup
        .clone()
        .set("TOKEN__KEYS", &format!("{new}\n{old}"))
        .start();
    assert_eq!(both.check(&session).await, ALLOWED);
    let readiness = async || both.get_ops("/readyz?verbose").await.1;
    eventually("all records use the new key", async || {
        let readiness = readiness().await;
        let line = readiness
            .lines()
            .find(|line| line.starts_with("info: records: under each key"));
        line.is_some_and(|line| line.contains(": 2, counted"))
    })
    .await;
    assert_eq!(both.check(&session).await, ALLOWED);
    assert_eq!(both.check(&ended).await, denied("revoked"));
    let dry_run = run_command(
        &setup.clone().set("TOKEN__KEYS", &new),
        &["migrate", "--dry-run"],
    );
    let output_text = to_text(&dry_run.stdout);
    assert!(
        output_text.contains("2 checked, 0 to upgrade, 0 skipped"),
        "{output_text}"
    );
}
