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
    let ended = issuer.cookie("s", 30);
    assert_eq!(
        one.check_with_cookie(&ended).await,
        ALLOWED,
        "a sign-in before the start of the replica counts, because Redis is declared new"
    );
    revoke_alice(&one).await;
    assert_eq!(other.check_with_cookie(&ended).await, denied("revoked"));
    redis.command::<()>(&[b"FLUSHALL"]);
    let lost = denied("reauthentication_required");
    // The replica that ended the session still knows the reason.
    assert_eq!(one.check_with_cookie(&ended).await, denied("revoked"));
    assert_eq!(other.check_with_cookie(&ended).await, lost);
    let unseen = issuer.cookie("t", 30);
    assert_eq!(one.check_with_cookie(&unseen).await, lost);
    one.stop().await;
    other.stop().await;
    let again = setup.start();
    assert_eq!(again.check_with_cookie(&ended).await, lost);
    let fresh = sign_in_a_second_later(&issuer, "s").await;
    assert_eq!(again.check_with_cookie(&fresh).await, ALLOWED);
    let (_, metrics) = again.get_ops("/metrics").await;
    assert!(
        metrics.contains("curfew_store_losses_total 0"),
        "the restarted replica should not count the earlier loss again"
    );
}

#[tokio::test]
async fn with_the_memory_store_each_start_is_a_loss_of_data() {
    let issuer = Issuer::new();
    let setup = issuer.configure(Setup::memory());
    let first = setup.start();
    let lost = denied("reauthentication_required");
    assert_eq!(first.check_with_cookie(&issuer.cookie("s", 30)).await, lost);
    let signed_in = sign_in_a_second_later(&issuer, "s").await;
    assert_eq!(first.check_with_cookie(&signed_in).await, ALLOWED);
    revoke_alice(&first).await;
    first.stop().await;
    let again = setup.start();
    assert_eq!(again.check_with_cookie(&signed_in).await, lost);
}

/// Otherwise, a replica could start a revoked session again from its token.
#[tokio::test]
async fn a_revoked_session_does_not_return_with_an_earlier_authentication() {
    let redis = RedisServer::start();
    let issuer = Issuer::new();
    let setup = issuer.configure(Setup::redis(&redis.url()));
    setup.declare_redis_new();
    let (one, other) = (setup.start(), setup.start());
    let [first, second] = ["a", "b"].map(|sid| issuer.cookie(sid, 30));
    assert_eq!(one.check_with_cookie(&first).await, ALLOWED);
    revoke_alice(&one).await;
    assert_eq!(other.check_with_cookie(&second).await, denied("revoked"));
    let fresh = sign_in_a_second_later(&issuer, "b").await;
    assert_eq!(other.check_with_cookie(&fresh).await, ALLOWED);
}

/// The tombstone has expired, and no request has used the credential since the end of the session.
#[tokio::test]
async fn a_longer_limit_does_not_restore_an_ended_session() {
    let redis = RedisServer::start();
    let issuer = Issuer::new();
    let setup = issuer.configure(Setup::redis(&redis.url()));
    let setup = setup.limits("2s", "20s");
    setup.declare_redis_new();
    let first = setup.start();
    let signed_in = issuer.cookie("s", 0);
    assert_eq!(first.check_with_cookie(&signed_in).await, ALLOWED);
    let waited = Stopwatch::start();
    eventually("the idle limit has passed", async || waited.seconds() > 2.5).await;
    assert_eq!(
        first.check_with_cookie(&signed_in).await,
        denied("idle_timeout")
    );
    first.stop().await;
    // Deletes the tombstone, as Redis does at the end of its retention.
    let keys: Vec<Vec<u8>> = redis.command(&[b"KEYS", b"curfew:s:*"]);
    assert_eq!(keys.len(), 1);
    redis.command::<()>(&[b"DEL", &keys[0]]);
    let setup = setup.limits("1h", "12h");
    let longer = setup.start();
    eventually("the former limit has passed", async || {
        waited.seconds() > 21.0
    })
    .await;
    let old = denied("absolute_timeout");
    assert_eq!(longer.check_with_cookie(&signed_in).await, old);
    let fresh = issuer.cookie("t", 0);
    assert_eq!(longer.check_with_cookie(&fresh).await, ALLOWED);
}

/// Curfew seals the tombstone again with the new key, so the tombstone stays valid without the old key.
#[tokio::test]
async fn an_ended_session_stays_ended_while_keys_are_rotated() {
    let redis = RedisServer::start();
    let issuer = Issuer::new();
    let setup = issuer.configure(Setup::redis(&redis.url()));
    setup.declare_redis_new();
    let old_key = setup.key.clone();
    let first = setup.start();
    let ended = issuer.cookie("s", 30);
    assert_eq!(first.check_with_cookie(&ended).await, ALLOWED);
    revoke_alice(&first).await;
    // This sign-in is after the revocation, and before the next start.
    let unseen = sign_in_a_second_later(&issuer, "t").await;
    first.stop().await;
    let new_key = text(&run(&setup, &["keygen"]).stdout).trim().to_owned();
    let under = |keys: &str| setup.clone().set("TOKEN__KEYS", keys);
    // The replicas restart one after the other. First the new key is the second key, which only reads. Then it is
    // the first key, which seals.
    let known = under(&format!("{old_key},{new_key}")).start();
    assert_eq!(known.check_with_cookie(&ended).await, denied("revoked"));
    let used = under(&format!("{new_key},{old_key}")).start();
    assert_eq!(known.check_with_cookie(&ended).await, denied("revoked"));
    known.stop().await;
    eventually("the tombstone uses the new key", async || {
        let (_, state) = used.get_ops("/readyz?verbose").await;
        let line = state.lines().find(|line| line.contains("under each key"));
        let keys = line.and_then(|line| line.split("under each key: ").nth(1));
        let keys = keys.and_then(|keys| keys.split(", counted").next());
        keys.is_some_and(|keys| !keys.contains(", "))
    })
    .await;
    assert_eq!(used.check_with_cookie(&ended).await, denied("revoked"));
    used.stop().await;
    let alone = under(&new_key).start();
    assert_eq!(alone.check_with_cookie(&ended).await, denied("revoked"));
    // Curfew has sealed the generation marker again, too, so it detects no loss of data.
    assert_eq!(alone.check_with_cookie(&unseen).await, ALLOWED);
    let (_, metrics) = alone.get_ops("/metrics").await;
    assert!(metrics.contains("curfew_store_losses_total 0"));
}
