//! Tests races at the idle deadline of a session between two sweepers, a request and an administrator.

use proptest::prelude::*;

use super::*;
use crate::actor::Actor;
use crate::store::Touch;
use crate::testing::remote::{DelayedStore, RandomDelays};
use crate::testing::{MINUTE, SECOND, START, TestService};

const IDLE_LIMIT: Duration = Duration::from_secs(900);

/// The participants of a race, besides the sweepers.
#[derive(Clone, Copy, Debug)]
struct Participants {
    /// Whether a request that was allowed just before the deadline writes its activity now.
    has_request: bool,
    /// Whether an administrator revokes the session.
    is_revoked: bool,
}

async fn run_race(participants: Participants, delays: Vec<u8>) {
    let mut bench = TestService::new();
    let id = bench.sign_in("default").await.id;
    let remote = Arc::new(DelayedStore {
        memory: Arc::clone(&bench.store.memory),
        delay: RandomDelays::new(delays),
    });
    bench.change_parts(|parts| {
        parts.stores.sessions = Arc::clone(&remote) as _;
        parts.stores.deadlines = remote;
    });
    let lifecycle = &bench.lifecycle;
    bench.set_time_after_start(IDLE_LIMIT);
    let sweep = || {
        let sweeper = bench.sweeper();
        tokio::spawn(async move { sweeper.sweep().await.unwrap() })
    };
    let (first_sweep, second_sweep) = (sweep(), sweep());
    let store = Arc::clone(&bench.parts.stores.sessions);
    let request = tokio::spawn(async move {
        if participants.has_request {
            let touch = Touch {
                at: START.plus(IDLE_LIMIT - SECOND),
                last_seen: START,
                retention: 2 * IDLE_LIMIT,
                interval: SECOND,
                deadline: START.plus(IDLE_LIMIT),
            };
            store.touch(id, touch).await.unwrap();
        }
    });
    let lifecycle = lifecycle.clone();
    let administrator = tokio::spawn(async move {
        if participants.is_revoked {
            lifecycle.revoke(id, &Actor::CURFEW).await.unwrap();
        }
    });
    first_sweep.await.unwrap();
    second_sweep.await.unwrap();
    request.await.unwrap();
    administrator.await.unwrap();
    let finish_tasks = async || {
        bench.parts.tasks.close();
        bench.parts.tasks.wait().await;
        bench.parts.tasks.reopen();
    };
    finish_tasks().await;
    let session = bench.load_record(id).await;
    match session.state {
        State::Live => assert!(
            session.last_seen == START.plus(IDLE_LIMIT - SECOND) && !participants.is_revoked,
            "a live session must have activity and no revocation"
        ),
        State::Ended(end) => assert!(
            end.at >= session.last_seen.plus(IDLE_LIMIT) || participants.is_revoked,
            "a session with activity must not time out"
        ),
    }
    // At the end, the session must have ended, and its end must have been published once.
    for minutes in 16..40 {
        bench.set_time_after_start(minutes * MINUTE);
        sweep().await.unwrap();
        finish_tasks().await;
    }
    assert!(matches!(bench.load_record(id).await.state, State::Ended(_)));
    let metrics = bench.parts.metrics.render().unwrap();
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("curfew_sessions_ended_total{"));
    let counts: Vec<&str> = lines.filter(|line| !line.ends_with(" 0")).collect();
    assert_eq!(counts.len(), 1, "{counts:?}");
    assert!(
        counts[0].contains("redelivered=\"false\"") && counts[0].ends_with(" 1"),
        "{counts:?}"
    );
    let queue = &bench.parts.stores.deadlines;
    assert!(
        queue.peek_upcoming(9).await.unwrap().is_empty(),
        "the deadline queue must be empty"
    );
}

proptest! {
    #[test]
    fn a_session_ends_once_and_is_published_once(
        has_request in any::<bool>(),
        is_revoked in any::<bool>(),
        delays in proptest::collection::vec(0..6_u8, 0..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(run_race(Participants { has_request, is_revoked }, delays));
    }
}
