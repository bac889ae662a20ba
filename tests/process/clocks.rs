//! Sessions end on time even if the clock of Redis is wrong.

use futures_util::future::join_all;

use super::*;
use crate::support::fault_proxy::{Fault, FaultProxy};
use crate::support::loopback;

const HOUR_SECONDS: i64 = 3_600;

/// Starts Redis, and a proxy that can change the time in the answers of Redis. Returns both, and a setup of Curfew.
async fn redis_with_adjustable_clock() -> (RedisServer, FaultProxy, Setup) {
    let redis = RedisServer::start();
    let way = FaultProxy::start(loopback(redis.port)).await;
    let setup = Setup::redis(&way.url()).limits("6s", "25s");
    (redis, way, setup)
}

/// Runs a command on another thread, because this process runs the fault proxy in front of Redis.
async fn command(setup: &Setup, arguments: &[&'static str]) -> std::process::Output {
    let (setup, arguments) = (setup.clone(), arguments.to_vec());
    let running = tokio::task::spawn_blocking(move || run(&setup, &arguments));
    running.await.unwrap()
}

async fn sleep_seconds(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

/// The clock of Redis is ahead or behind for a while. A session in use continues, and an unused session
/// ends at its idle limit.
#[tokio::test]
async fn a_clock_jump_of_redis_does_not_change_when_sessions_end() {
    let jumps = [
        (HOUR_SECONDS, 2.0),
        (24 * HOUR_SECONDS, 0.6),
        (-60, 30.0),
        (HOUR_SECONDS, 30.0),
    ];
    join_all(jumps.map(|(ahead, during)| assert_sessions_end_despite_jump(ahead, during))).await;
}

/// Sets the clock of Redis forward by `ahead` seconds, for `during` seconds, and asserts that sessions end on time.
async fn assert_sessions_end_despite_jump(ahead: i64, during: f64) {
    let (_redis, way, setup) = redis_with_adjustable_clock().await;
    let curfew = setup.start();
    let (used, unused) = (curfew.sign_in("alice").await, curfew.sign_in("bob").await);
    let begun = Stopwatch::start();
    let mut ended = None;
    way.set_fault(Fault::ClockOffset(ahead));
    while begun.seconds() < 20.0 {
        if begun.seconds() > during {
            way.set_fault(Fault::None);
        }
        let asked = begun.seconds();
        let answer = curfew.check(&used).await;
        // If the machine stalled during this request, the session may have ended.
        assert!(
            answer == ALLOWED || begun.seconds() - asked > 3.0,
            "the session ended while the clock was {ahead} s ahead for {during} s"
        );
        if ended.is_none() && curfew.fetch_session(&unused).await["state"] == "ended" {
            ended = Some(begun.seconds());
        }
        sleep_seconds(0.3).await;
    }
    // The tolerance covers the time of the measurement, and the two seconds between two runs of the sweeper.
    let ended = ended.expect("the unused session should have ended within 20 s");
    assert!(
        (5.0..15.0).contains(&ended),
        "the session ended after {ended} s; the clock was {ahead} s ahead for {during} s"
    );
    assert_eq!(curfew.check(&unused).await, denied("idle_timeout"));
    eventually("the session reaches its absolute limit", async || {
        curfew.check(&used).await == denied("absolute_timeout")
    })
    .await;
    assert!(begun.seconds() < 40.0, "{} s", begun.seconds());
}

/// After a jump of the clock, a replica that starts uses the decision time of the other replicas. All replicas report
/// the difference until an operator decides.
#[tokio::test]
async fn replicas_share_one_decision_time_until_an_operator_decides() {
    let (_redis, way, setup) = redis_with_adjustable_clock().await;
    let setup = setup.limits("30m", "12h");
    let one = setup.start();
    let session = one.sign_in("alice").await;
    way.set_fault(Fault::ClockOffset(HOUR_SECONDS));
    let two = setup.start();
    assert_eq!(two.check(&session).await, ALLOWED);
    // The measured difference is some milliseconds more or less than an hour. The text rounds it.
    let warning = "the clock of Redis is 3600.0 s ahead of decision time";
    for curfew in [&one, &two] {
        eventually("readyz reports the clock difference", async || {
            let (_, text) = curfew.get_ops("/readyz?verbose").await;
            text.contains(warning)
        })
        .await;
        assert!(curfew.log().contains(warning));
        let metrics = curfew.get_ops("/metrics").await.1;
        let line = metrics
            .lines()
            .find(|line| line.starts_with("curfew_clock_disagreement_seconds "))
            .unwrap();
        let ahead: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!((ahead - 3_600.0).abs() < 1.0, "{line}");
        assert_eq!(curfew.check(&session).await, ALLOWED);
    }
    let compared = command(&setup, &["clock"]).await;
    let told = text(&compared.stdout) + &text(&compared.stderr);
    let ahead = told
        .split_once("the clock of Redis is ahead of decision time by ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse::<f64>().ok());
    let ahead =
        ahead.unwrap_or_else(|| panic!("the output contains no difference in seconds: {told}"));
    assert!((ahead - 3_600.0).abs() < 1.0, "{told}");
    let accepted = command(&setup, &["clock", "--accept", "timeline"]).await;
    assert!(accepted.status.success(), "{}", text(&accepted.stderr));
    for curfew in [&one, &two] {
        eventually(
            "readyz no longer reports the clock difference",
            async || !curfew.get_ops("/readyz?verbose").await.1.contains(warning),
        )
        .await;
        assert_eq!(curfew.check(&session).await, ALLOWED);
    }
    // When the operator accepts the clock of Redis, decision time moves forward by more than the idle limit.
    let accepted = command(&setup, &["clock", "--accept", "store"]).await;
    assert!(accepted.status.success(), "{}", text(&accepted.stderr));
    for curfew in [&one, &two] {
        eventually("decision time equals the time of Redis", async || {
            curfew.check(&session).await == denied("idle_timeout")
        })
        .await;
    }
}

#[tokio::test]
async fn decision_time_continues_after_a_restart_on_the_same_machine() {
    let (_redis, way, setup) = redis_with_adjustable_clock().await;
    let setup = setup.limits("10s", "12h");
    let first = setup.start();
    let session = first.sign_in("alice").await;
    sleep_seconds(1.5).await;
    first.stop().await;
    for ahead in [HOUR_SECONDS, -HOUR_SECONDS] {
        way.set_fault(Fault::ClockOffset(ahead));
        let again = setup.start();
        assert_eq!(again.check(&session).await, ALLOWED, "{ahead}");
        again.stop().await;
    }
    way.set_fault(Fault::ClockOffset(-HOUR_SECONDS));
    sleep_seconds(12.0).await;
    let again = setup.start();
    assert_eq!(again.check(&session).await, denied("idle_timeout"));
}
