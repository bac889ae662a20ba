//! Requests are denied while Redis or Curfew is down or hangs.

use std::time::Duration;

use curfew::clock::Stopwatch;
use curfew::store::cached::LEASE;

use crate::bench::Bench;
use crate::support::eventually;
use crate::support::redis::RedisServer;

pub async fn redis_down(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    bench.assert_allowed(&bench.get(&session, "/").await, "alice");
    let cookie = session.cookie();
    for (take_away, give_back) in [
        (
            RedisServer::stop as fn(&mut RedisServer),
            RedisServer::start_again as fn(&mut RedisServer),
        ),
        (|redis| redis.freeze(), |redis| redis.thaw()),
    ] {
        take_away(&mut bench.redis);
        wait_until_denied(bench, &cookie).await;
        for lines in [
            &[("cookie", &*cookie)][..],
            &[("cookie", &*cookie), ("sec-fetch-mode", "navigate")],
        ] {
            let answer = bench.send("GET", "/", lines).await;
            assert_eq!(answer.status, bench.kind.store_unavailable, "{answer:?}");
            assert_eq!(
                answer.one("set-cookie"),
                None,
                "the answer should not change the cookie"
            );
            bench.assert_application_not_reached();
        }
        give_back(&mut bench.redis);
        eventually("Curfew is ready again", async || {
            bench.curfew.get_ops("/readyz").await.0 == 200
        })
        .await;
        bench.assert_allowed(&bench.get(&session, "/").await, "alice");
    }
}

/// Sends requests until one is denied. Fails if the near cache still allows requests after the lease.
async fn wait_until_denied(bench: &Bench, cookie: &str) {
    let taken_away = Stopwatch::start();
    while bench.send("GET", "/", &[("cookie", cookie)]).await.status == 200 {
        assert!(taken_away.seconds() < LEASE.as_secs_f64() + 0.5);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bench.backend.take();
}

pub async fn curfew_hangs(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    bench.assert_allowed(&bench.get(&session, "/").await, "alice");
    bench.curfew.freeze();
    let waited = Stopwatch::start();
    let answer = bench.get(&session, "/").await;
    let waited = waited.seconds();
    bench.curfew.thaw();
    assert!(
        waited < bench.kind.max_wait_seconds,
        "the client waited {waited} s"
    );
    assert_eq!(answer.status, bench.kind.silence, "{answer:?}");
    bench.assert_application_not_reached();
    bench.wait_until_ready().await;
    bench.assert_allowed(&bench.get(&session, "/").await, "alice");
}

/// This must be the last case, because it stops Curfew.
pub async fn curfew_down(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    bench.assert_allowed(&bench.get(&session, "/").await, "alice");
    bench.curfew.signal("KILL");
    bench.curfew.wait_for_exit().await;
    bench.tap.close().await;
    for _ in 0..3 {
        let answer = bench.get(&session, "/").await;
        assert_eq!(answer.status, bench.kind.no_answer, "{answer:?}");
        bench.assert_application_not_reached();
    }
    // The proxy serves a public path without Curfew.
    assert_eq!(bench.send("GET", "/sign-in", &[]).await.status, 200);
}
