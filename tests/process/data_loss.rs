//! After a loss of data, no ended session starts again from its JSON Web Token.

use super::*;
use crate::support::issuer::Issuer;

/// Waits for more than a second, because `auth_time` is in whole seconds. Then returns the cookie of a new sign-in.
async fn sign_in_a_second_later(issuer: &Issuer, sid: &str) -> String {
    tokio::time::sleep(Duration::from_millis(1100)).await;
    issuer.cookie(sid, 0)
}

/// Revokes the session of `alice` through the admin API.
async fn revoke_alice(curfew: &support::curfew::Curfew) {
    let path = "/api/v1/sessions?subject=alice";
    let (status, answer) = curfew.call("GET", path, None).await;
    assert_eq!(status, 200, "{answer}");
    let id = answer["sessions"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/sessions/{id}");
    let (status, answer) = curfew.call("DELETE", &path, None).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn after_a_loss_only_later_sign_ins_start_sessions_on_every_replica_and_after_a_restart() {
    let redis = RedisServer::start();
    let issuer = Issuer::new();
    let setup = issuer.configure(Setup::redis(&redis.url()));
    setup.declare_redis_new();
    let (one, other) = (setup.start(), setup.start());
    let ended_cookie = issuer.cookie("s", 30);
    assert_eq!(
        one.check_with_cookie(&ended_cookie).await,
        ALLOWED,
        "a sign-in before the start of the replica counts, because Redis is declared new"
    );
    revoke_alice(&one).await;
    assert_eq!(
        other.check_with_cookie(&ended_cookie).await,
        denied("revoked")
    );
    redis.command::<()>(&[b"FLUSHALL"]);
    let reauthentication_required = denied("reauthentication_required");
    // The replica that ended the session still has the reason in memory.
    assert_eq!(
        one.check_with_cookie(&ended_cookie).await,
        denied("revoked")
    );
    assert_eq!(
        other.check_with_cookie(&ended_cookie).await,
        reauthentication_required
    );
    let unused_cookie = issuer.cookie("t", 30);
    assert_eq!(
        one.check_with_cookie(&unused_cookie).await,
        reauthentication_required
    );
    one.stop().await;
    other.stop().await;
    let restarted = setup.start();
    assert_eq!(
        restarted.check_with_cookie(&ended_cookie).await,
        reauthentication_required
    );
    let new_cookie = sign_in_a_second_later(&issuer, "s").await;
    assert_eq!(restarted.check_with_cookie(&new_cookie).await, ALLOWED);
    let (_, metrics) = restarted.get_ops("/metrics").await;
    assert!(
        metrics.contains("curfew_store_losses_total 0"),
        "the restarted replica should not count the earlier loss again"
    );
}

#[tokio::test]
async fn with_the_memory_store_each_start_is_a_loss_of_data() {
    let issuer = Issuer::new();
    let setup = issuer.configure(Setup::memory());
    let first_run = setup.start();
    let reauthentication_required = denied("reauthentication_required");
    assert_eq!(
        first_run.check_with_cookie(&issuer.cookie("s", 30)).await,
        reauthentication_required
    );
    let cookie = sign_in_a_second_later(&issuer, "s").await;
    assert_eq!(first_run.check_with_cookie(&cookie).await, ALLOWED);
    revoke_alice(&first_run).await;
    first_run.stop().await;
    let restarted = setup.start();
    assert_eq!(
        restarted.check_with_cookie(&cookie).await,
        reauthentication_required
    );
}

/// After a revocation, only a later authentication starts a session. Otherwise, a replica could start a revoked
/// session again from its token.
#[tokio::test]
async fn a_revoked_session_does_not_return_with_an_earlier_authentication() {
    let redis = RedisServer::start();
    let issuer = Issuer::new();
    let setup = issuer.configure(Setup::redis(&redis.url()));
    setup.declare_redis_new();
    let (one, other) = (setup.start(), setup.start());
    let [first_cookie, second_cookie] = ["a", "b"].map(|sid| issuer.cookie(sid, 30));
    assert_eq!(one.check_with_cookie(&first_cookie).await, ALLOWED);
    revoke_alice(&one).await;
    assert_eq!(
        other.check_with_cookie(&second_cookie).await,
        denied("revoked")
    );
    let new_cookie = sign_in_a_second_later(&issuer, "b").await;
    assert_eq!(other.check_with_cookie(&new_cookie).await, ALLOWED);
}

/// The tombstone (the record of the session end) has expired, and no request has used the credential since the end.
#[tokio::test]
async fn a_longer_limit_does_not_restore_an_ended_session() {
    let redis = RedisServer::start();
    let issuer = Issuer::new();
    let setup = issuer.configure(Setup::redis(&redis.url()));
    let setup = setup.limits("2s", "20s");
    setup.declare_redis_new();
    let first_run = setup.start();
    let cookie = issuer.cookie("s", 0);
    assert_eq!(first_run.check_with_cookie(&cookie).await, ALLOWED);
    let stopwatch = Stopwatch::start();
    eventually("the idle limit has passed", async || {
        stopwatch.seconds() > 2.5
    })
    .await;
    assert_eq!(
        first_run.check_with_cookie(&cookie).await,
        denied("idle_timeout")
    );
    first_run.stop().await;
    // Deletes the record of the session end (tombstone), as Redis does after its retention.
    let keys: Vec<Vec<u8>> = redis.command(&[b"KEYS", b"curfew:s:*"]);
    assert_eq!(keys.len(), 1);
    redis.command::<()>(&[b"DEL", &keys[0]]);
    let setup = setup.limits("1h", "12h");
    let longer_limits = setup.start();
    eventually("the former limit has passed", async || {
        stopwatch.seconds() > 21.0
    })
    .await;
    let absolute_timeout = denied("absolute_timeout");
    assert_eq!(
        longer_limits.check_with_cookie(&cookie).await,
        absolute_timeout
    );
    let new_cookie = issuer.cookie("t", 0);
    assert_eq!(longer_limits.check_with_cookie(&new_cookie).await, ALLOWED);
}

/// Curfew encrypts the tombstone (the record of the session end) again with the new key, so the tombstone stays valid
/// without the old key.
#[tokio::test]
async fn an_ended_session_stays_ended_while_keys_are_rotated() {
    let redis = RedisServer::start();
    let issuer = Issuer::new();
    let setup = issuer.configure(Setup::redis(&redis.url()));
    setup.declare_redis_new();
    let old_key = setup.key.clone();
    let first_run = setup.start();
    let ended_cookie = issuer.cookie("s", 30);
    assert_eq!(first_run.check_with_cookie(&ended_cookie).await, ALLOWED);
    revoke_alice(&first_run).await;
    // This sign-in is after the revocation, and before the next start.
    let unused_cookie = sign_in_a_second_later(&issuer, "t").await;
    first_run.stop().await;
    let new_key = to_text(&run_command(&setup, &["keygen"]).stdout)
        .trim()
        .to_owned();
    let with_keys = |keys: &str| setup.clone().set("TOKEN__KEYS", keys);
    // The replicas restart one after the other. First the new key is the second key, with which Curfew only decrypts
    // records. Then it is the first key, with which Curfew encrypts records.
    let old_key_first = with_keys(&format!("{old_key},{new_key}")).start();
    assert_eq!(
        old_key_first.check_with_cookie(&ended_cookie).await,
        denied("revoked")
    );
    let new_key_first = with_keys(&format!("{new_key},{old_key}")).start();
    assert_eq!(
        old_key_first.check_with_cookie(&ended_cookie).await,
        denied("revoked")
    );
    old_key_first.stop().await;
    eventually("the tombstone uses the new key", async || {
        let (_, state) = new_key_first.get_ops("/readyz?verbose").await;
        let line = state.lines().find(|line| line.contains("under each key"));
        let keys = line.and_then(|line| line.split("under each key: ").nth(1));
        let keys = keys.and_then(|keys| keys.split(", counted").next());
        keys.is_some_and(|keys| !keys.contains(", "))
    })
    .await;
    assert_eq!(
        new_key_first.check_with_cookie(&ended_cookie).await,
        denied("revoked")
    );
    new_key_first.stop().await;
    let new_key_only = with_keys(&new_key).start();
    assert_eq!(
        new_key_only.check_with_cookie(&ended_cookie).await,
        denied("revoked")
    );
    // Curfew has also encrypted the generation marker (the value that shows a loss of data) again, so it detects no
    // loss.
    assert_eq!(
        new_key_only.check_with_cookie(&unused_cookie).await,
        ALLOWED
    );
    let (_, metrics) = new_key_only.get_ops("/metrics").await;
    assert!(metrics.contains("curfew_store_losses_total 0"));
}
