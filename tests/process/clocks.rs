//! Sessions end on time, whatever the clock of Redis does.

use futures_util::future::join_all;

use super::*;
use crate::support::fault_proxy::{Fault, FaultProxy};
use crate::support::local;

const HOUR_SECONDS: i64 = 3_600;

async fn behind_a_clock() -> (RedisServer, FaultProxy, Setup) {
    let redis = RedisServer::start();
    let way = FaultProxy::to(local(redis.port)).await;
    let setup = Setup::redis(&way.url()).limits("6s", "25s");
    (redis, way, setup)
}

/// Runs a command on another thread, because this process runs the fault proxy in front of Redis.
async fn command(setup: &Setup, arguments: &[&'static str]) -> std::process::Output {
    let (setup, arguments) = (setup.clone(), arguments.to_vec());
    let running = tokio::task::spawn_blocking(move || run(&setup, &arguments));
    running.await.unwrap()
}

async fn seconds(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

/// The clock of Redis jumps for one answer, by an hour for two seconds, and by a minute back. A session in use
/// continues, and an unused one ends at its idle limit.
#[tokio::test]
async fn a_clock_jump_of_redis_does_not_change_when_sessions_end() {
    let jumps = [
        (HOUR_SECONDS, 2.0),
        (24 * HOUR_SECONDS, 0.6),
        (-60, 30.0),
        (HOUR_SECONDS, 30.0),
    ];
    join_all(jumps.map(|(ahead, during)| jump(ahead, during))).await;
}

async fn jump(ahead: i64, during: f64) {
    let (_redis, way, setup) = behind_a_clock().await;
    let curfew = setup.start();
    let (used, unused) = (curfew.sign_in("alice").await, curfew.sign_in("bob").await);
    let begun = Stopwatch::start();
    let mut ended = None;
    way.set(Fault::Clock(ahead));
    while begun.seconds() < 20.0 {
        if begun.seconds() > during {
            way.set(Fault::None);
        }
        let asked = begun.seconds();
        let answer = curfew.check(&used).await;
        // If the machine stalls for as long as the idle limit, the test proves nothing.
        assert!(
            answer == ALLOWED || begun.seconds() - asked > 3.0,
            "{ahead} s for {during} s"
        );
        if ended.is_none() && curfew.show(&unused).await["state"] == "ended" {
            ended = Some(begun.seconds());
        }
        seconds(0.3).await;
    }
    // The measurement takes a moment, and the sweeper runs every two seconds.
    let ended = ended.expect("it has ended");
    assert!(
        (5.0..15.0).contains(&ended),
        "after {ended} s; {ahead} s for {during} s"
    );
    assert_eq!(curfew.check(&unused).await, denied("idle_timeout"));
    eventually("the session reaches its absolute limit", async || {
        curfew.check(&used).await == denied("absolute_timeout")
    })
    .await;
    assert!(begun.seconds() < 40.0, "{} s", begun.seconds());
}

/// A replica that starts meanwhile uses the decision time of the others. All replicas report the difference until an
/// operator decides.
#[tokio::test]
async fn replicas_share_one_decision_time_until_an_operator_decides() {
    let (_redis, way, setup) = behind_a_clock().await;
    let setup = setup.limits("30m", "12h");
    let one = setup.start();
    let session = one.sign_in("alice").await;
    way.set(Fault::Clock(HOUR_SECONDS));
    let two = setup.start();
    assert_eq!(two.check(&session).await, ALLOWED);
    // The measured difference is a whole number of hours up to milliseconds; the text rounds it.
    let warning = "the clock of Redis is 3600.0 s ahead of decision time";
    for curfew in [&one, &two] {
        eventually("readyz reports it", async || {
            let (_, text) = curfew.ops("/readyz?verbose").await;
            text.contains(warning)
        })
        .await;
        assert!(curfew.log().contains(warning));
        let metrics = curfew.ops("/metrics").await.1;
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
        .split_once("the clock of Redis is ahead of it by ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse::<f64>().ok());
    let ahead = ahead.unwrap_or_else(|| panic!("no figure: {told}"));
    assert!((ahead - 3_600.0).abs() < 1.0, "{told}");
    let accepted = command(&setup, &["clock", "--accept", "timeline"]).await;
    assert!(accepted.status.success(), "{}", text(&accepted.stderr));
    for curfew in [&one, &two] {
        eventually("readyz no longer reports it", async || {
            !curfew.ops("/readyz?verbose").await.1.contains(warning)
        })
        .await;
        assert_eq!(curfew.check(&session).await, ALLOWED);
    }
    // By the clock of Redis, more than the idle limit has passed.
    let accepted = command(&setup, &["clock", "--accept", "store"]).await;
    assert!(accepted.status.success(), "{}", text(&accepted.stderr));
    for curfew in [&one, &two] {
        eventually("decision time is that of Redis", async || {
            curfew.check(&session).await == denied("idle_timeout")
        })
        .await;
    }
}

/// A single process starts, and starts again.
#[tokio::test]
async fn decision_time_continues_after_a_restart_on_the_same_machine() {
    let (_redis, way, setup) = behind_a_clock().await;
    let setup = setup.limits("10s", "12h");
    let first = setup.start();
    let session = first.sign_in("alice").await;
    seconds(1.5).await;
    first.stop().await;
    for ahead in [HOUR_SECONDS, -HOUR_SECONDS] {
        way.set(Fault::Clock(ahead));
        let again = setup.start();
        assert_eq!(again.check(&session).await, ALLOWED, "{ahead}");
        again.stop().await;
    }
    way.set(Fault::Clock(-HOUR_SECONDS));
    seconds(12.0).await;
    let again = setup.start();
    assert_eq!(again.check(&session).await, denied("idle_timeout"));
}
