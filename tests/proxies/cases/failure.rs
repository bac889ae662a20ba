//! Requests are denied while Redis or Curfew is down or hangs.

use std::time::Duration;

use curfew::clock::Stopwatch;
use curfew::store::cached::LEASE;

use crate::harness::Harness;
use crate::support::eventually;
use crate::support::redis::RedisServer;

pub async fn redis_down(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    harness.assert_allowed(&harness.get(&session, "/").await, "alice");
    let cookie = session.cookie();
    for (interrupt, restore) in [
        (
            RedisServer::stop as fn(&mut RedisServer),
            RedisServer::start_again as fn(&mut RedisServer),
        ),
        (|redis| redis.freeze(), |redis| redis.thaw()),
    ] {
        interrupt(&mut harness.redis);
        wait_until_denied(harness, &cookie).await;
        for header_pairs in [
            &[("cookie", &*cookie)][..],
            &[("cookie", &*cookie), ("sec-fetch-mode", "navigate")],
        ] {
            let answer = harness.send("GET", "/", header_pairs).await;
            assert_eq!(
                answer.status, harness.kind.store_unavailable_status,
                "{answer:?}"
            );
            assert_eq!(
                answer.header("set-cookie"),
                None,
                "the answer should not change the cookie"
            );
            harness.assert_application_not_reached();
        }
        restore(&mut harness.redis);
        eventually("Curfew is ready again", async || {
            harness.curfew.get_ops("/readyz").await.0 == 200
        })
        .await;
        harness.assert_allowed(&harness.get(&session, "/").await, "alice");
    }
}

/// Sends requests until one is denied. Fails if Curfew still allows requests after the lease, the time for which it may
/// answer from its near cache (the session records in memory).
async fn wait_until_denied(harness: &Harness, cookie: &str) {
    let interrupted = Stopwatch::start();
    while harness.send("GET", "/", &[("cookie", cookie)]).await.status == 200 {
        assert!(interrupted.seconds() < LEASE.as_secs_f64() + 0.5);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    harness.backend.take();
}

pub async fn curfew_hangs(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    harness.assert_allowed(&harness.get(&session, "/").await, "alice");
    harness.curfew.freeze();
    let waited = Stopwatch::start();
    let answer = harness.get(&session, "/").await;
    let waited = waited.seconds();
    harness.curfew.thaw();
    assert!(
        waited < harness.kind.max_wait_seconds,
        "the client waited {waited} s"
    );
    assert_eq!(answer.status, harness.kind.timeout_status, "{answer:?}");
    harness.assert_application_not_reached();
    harness.wait_until_ready().await;
    harness.assert_allowed(&harness.get(&session, "/").await, "alice");
}

/// This must be the last case, because it stops Curfew.
pub async fn curfew_down(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    harness.assert_allowed(&harness.get(&session, "/").await, "alice");
    harness.curfew.signal("KILL");
    harness.curfew.wait_for_exit().await;
    harness.tap.close().await;
    for _ in 0..3 {
        let answer = harness.get(&session, "/").await;
        assert_eq!(answer.status, harness.kind.down_status, "{answer:?}");
        harness.assert_application_not_reached();
    }
    // The proxy serves a public path without Curfew.
    assert_eq!(harness.send("GET", "/sign-in", &[]).await.status, 200);
}
