//! Sessions end on time even if the clock of Redis is wrong.

use futures_util::future::join_all;

use super::*;
use crate::support::fault_proxy::{Fault, FaultProxy};
use crate::support::loopback;

const HOUR_SECONDS: i64 = 3_600;

/// Starts Redis, and a proxy that can change the time in the answers of Redis. Returns both, and a setup of Curfew.
async fn start_redis_with_adjustable_clock() -> (RedisServer, FaultProxy, Setup) {
    let redis = RedisServer::start();
    let fault_proxy = FaultProxy::start(loopback(redis.port)).await;
    let setup = Setup::redis(&fault_proxy.url()).limits("6s", "25s");
    (redis, fault_proxy, setup)
}

/// Runs a command on another thread, because this process runs the fault proxy in front of Redis.
async fn run_in_background(setup: &Setup, arguments: &[&'static str]) -> std::process::Output {
    let (setup, arguments) = (setup.clone(), arguments.to_vec());
    let command_task = tokio::task::spawn_blocking(move || run_command(&setup, &arguments));
    command_task.await.unwrap()
}

async fn sleep_seconds(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

/// A session in use continues, and an unused session ends at its idle limit, even if the clock of Redis is wrong for
/// a while.
#[tokio::test]
async fn a_clock_jump_of_redis_does_not_change_when_sessions_end() {
    let jumps = [
        (HOUR_SECONDS, 2.0),
        (24 * HOUR_SECONDS, 0.6),
        (-60, 30.0),
        (HOUR_SECONDS, 30.0),
    ];
    join_all(jumps.map(|(offset_seconds, duration_seconds)| {
        assert_sessions_end_despite_jump(offset_seconds, duration_seconds)
    }))
    .await;
}

/// Sets the clock of Redis forward by `offset_seconds` seconds, for `duration_seconds` seconds, and asserts that
/// sessions end on time.
async fn assert_sessions_end_despite_jump(offset_seconds: i64, duration_seconds: f64) {
    let (_redis, fault_proxy, setup) = start_redis_with_adjustable_clock().await;
    let curfew = setup.start();
    let (used_session, unused_session) =
        (curfew.sign_in("alice").await, curfew.sign_in("bob").await);
    let stopwatch = Stopwatch::start();
    let mut ended = None;
    fault_proxy.set_fault(Fault::ClockOffset(offset_seconds));
    while stopwatch.seconds() < 20.0 {
        if stopwatch.seconds() > duration_seconds {
            fault_proxy.set_fault(Fault::None);
        }
        let sent_at = stopwatch.seconds();
        let answer = curfew.check(&used_session).await;
        // If the machine stalled during this request, the session may have ended.
        assert!(
            answer == ALLOWED || stopwatch.seconds() - sent_at > 3.0,
            "the session ended while the clock was {offset_seconds} s ahead for {duration_seconds} s"
        );
        if ended.is_none() && curfew.fetch_session(&unused_session).await["state"] == "ended" {
            ended = Some(stopwatch.seconds());
        }
        sleep_seconds(0.3).await;
    }
    // The tolerance covers the time of the measurement, and the two seconds between two runs of the sweeper (the task
    // that ends unused sessions).
    let ended = ended.expect("the unused session should have ended within 20 s");
    assert!(
        (5.0..15.0).contains(&ended),
        "the session ended after {ended} s; the clock was {offset_seconds} s ahead for {duration_seconds} s"
    );
    assert_eq!(curfew.check(&unused_session).await, denied("idle_timeout"));
    eventually("the session reaches its absolute limit", async || {
        curfew.check(&used_session).await == denied("absolute_timeout")
    })
    .await;
    assert!(stopwatch.seconds() < 40.0, "{} s", stopwatch.seconds());
}

/// After a jump of the clock, a replica that starts uses the decision time of the other replicas (their common time
/// for decisions). All replicas report the difference until an operator decides.
#[tokio::test]
async fn replicas_share_one_decision_time_until_an_operator_decides() {
    let (_redis, fault_proxy, setup) = start_redis_with_adjustable_clock().await;
    let setup = setup.limits("30m", "12h");
    let one = setup.start();
    let session = one.sign_in("alice").await;
    fault_proxy.set_fault(Fault::ClockOffset(HOUR_SECONDS));
    let two = setup.start();
    assert_eq!(two.check(&session).await, ALLOWED);
    // The measured difference is some milliseconds more or less than an hour, but the text rounds the difference.
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
        let offset_seconds: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!((offset_seconds - 3_600.0).abs() < 1.0, "{line}");
        assert_eq!(curfew.check(&session).await, ALLOWED);
    }
    let comparison = run_in_background(&setup, &["clock"]).await;
    let output_text = to_text(&comparison.stdout) + &to_text(&comparison.stderr);
    let offset_seconds = output_text
        .split_once("the clock of Redis is ahead of decision time by ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse::<f64>().ok());
    let offset_seconds = offset_seconds
        .unwrap_or_else(|| panic!("the output contains no difference in seconds: {output_text}"));
    assert!((offset_seconds - 3_600.0).abs() < 1.0, "{output_text}");
    let accepted = run_in_background(&setup, &["clock", "--accept", "timeline"]).await;
    assert!(accepted.status.success(), "{}", to_text(&accepted.stderr));
    for curfew in [&one, &two] {
        eventually(
            "readyz no longer reports the clock difference",
            async || !curfew.get_ops("/readyz?verbose").await.1.contains(warning),
        )
        .await;
        assert_eq!(curfew.check(&session).await, ALLOWED);
    }
    // When the operator accepts the clock of Redis, decision time moves forward by more than the idle limit, so the
    // session ends.
    let accepted = run_in_background(&setup, &["clock", "--accept", "store"]).await;
    assert!(accepted.status.success(), "{}", to_text(&accepted.stderr));
    for curfew in [&one, &two] {
        eventually("decision time equals the time of Redis", async || {
            curfew.check(&session).await == denied("idle_timeout")
        })
        .await;
    }
}

#[tokio::test]
async fn decision_time_continues_after_a_restart_on_the_same_machine() {
    let (_redis, fault_proxy, setup) = start_redis_with_adjustable_clock().await;
    let setup = setup.limits("10s", "12h");
    let first_run = setup.start();
    let session = first_run.sign_in("alice").await;
    sleep_seconds(1.5).await;
    first_run.stop().await;
    for offset_seconds in [HOUR_SECONDS, -HOUR_SECONDS] {
        fault_proxy.set_fault(Fault::ClockOffset(offset_seconds));
        let restarted = setup.start();
        assert_eq!(restarted.check(&session).await, ALLOWED, "{offset_seconds}");
        restarted.stop().await;
    }
    fault_proxy.set_fault(Fault::ClockOffset(-HOUR_SECONDS));
    sleep_seconds(12.0).await;
    let restarted = setup.start();
    assert_eq!(restarted.check(&session).await, denied("idle_timeout"));
}
