//! Tests several processes on one Redis.

use std::path::Path;

use curfew::clock::{BootClock, Clock};
use curfew::session::{DenyReason, State, Verdict, decide};
use curfew::store::{CutOffStore, EndOutcome, EndRequest, Replication};
use curfew::telemetry::{Diagnostics, Metrics};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::support::redis::{RedisServer, info_field};

/// A wall clock that is wrong by this number of milliseconds.
struct WrongClock(i64);

impl Clock for WrongClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(now().as_millis().saturating_add_signed(self.0))
    }
}

#[tokio::test]
async fn replicas_with_different_wall_clocks_decide_alike() {
    let server = RedisServer::start();
    let store_with_right_clock = ConnectedStore::connect(settings(&server.url())).await;
    let session = session_at(now().minus(10 * MINUTE));
    store_with_right_clock.create(ID, &session).await.unwrap();
    let (metrics, diagnostics) = (Metrics::new().unwrap(), Diagnostics::default());
    let policies = Live::new(super::migrations::policies());
    for offset_millis in [-7 * 60_000, 0, 9 * 60_000] {
        let wall = Arc::new(WrongClock(offset_millis));
        let clock = StoreClock::with_clocks(Arc::new(BootClock), wall, BootClock::boot_id());
        let store = ConnectedStore::start_with_clock(settings(&server.url()), clock);
        let session = store.load(ID).await.unwrap().unwrap();
        let clock = Arc::clone(store.clock());
        let difference_millis = clock.now().as_millis().abs_diff(now().as_millis());
        assert!(
            difference_millis < 100,
            "the times differ by {difference_millis} ms while a clock is wrong by {offset_millis} ms"
        );
        // For all replicas, 10 of the 15 minutes have passed.
        let verdict = |at| decide(Some(&session), &limits(), &limits(), at);
        assert_eq!(verdict(clock.now()), Verdict::Allow);
        let later = clock.now().plus(5 * MINUTE);
        assert_eq!(verdict(later), Verdict::Deny(DenyReason::IdleTimeout));
        let replicas = no_other_replicas();
        let maintenance = store.run_maintenance(
            &policies,
            &diagnostics,
            &metrics,
            &replicas,
            CancellationToken::new(),
        );
        let assertions = async {
            let has_diagnostic = || {
                diagnostics
                    .recommendations()
                    .iter()
                    .any(|line| line.starts_with("clock: "))
            };
            eventually(
                "the diagnostics warn of a wrong clock, and only of a wrong clock",
                async || has_diagnostic() == (offset_millis != 0),
            )
            .await;
            let offset = metrics.store.clock_offset.get();
            let error = offset + offset_millis as f64 / 1000.0;
            assert!(error.abs() < 0.1, "the measured clock offset is {offset} s");
        };
        tokio::select! {
            () = maintenance => unreachable!("the task ended although it was not stopped"),
            () = assertions => {}
        }
    }
}

#[tokio::test]
async fn a_revocation_waits_for_replicas_and_reports_missing_confirmations() {
    assert_revocation_waits_for_replicas(Path::new("redis-server")).await;
}

/// In Valkey and in Redis 7.2 and newer, `WAIT` waits only for writes of the same connection.
#[tokio::test]
async fn a_revocation_waits_for_replicas_of_valkey() {
    assert_revocation_waits_for_replicas(&valkey_server()).await;
}

async fn assert_revocation_waits_for_replicas(program: &Path) {
    let primary = RedisServer::start_program(program, &[]);
    let port = primary.port.to_string();
    let replica = RedisServer::start_program(program, &["--replicaof", "127.0.0.1", &port]);
    eventually("the replica is connected to the primary", async || {
        info_field(&primary, "slave0").contains("state=online")
    })
    .await;
    let store = ConnectedStore::connect(RedisSettings {
        wait_replicas: 1,
        wait_timeout: Duration::from_secs(2),
        ..settings(&primary.url())
    })
    .await;
    let other = SessionId::from_bytes([9; 16]);
    store.create(ID, &new_session()).await.unwrap();
    store.create(other, &new_session()).await.unwrap();
    store.end(ID, EndRequest::revoked(now())).await.unwrap();
    let confirmed = |confirmed| Replication {
        wanted: 1,
        confirmed,
    };
    assert_eq!(store.wait_replicated(ID).await.unwrap(), confirmed(1));
    // No server has this session, as if a fail-over had lost it. So Curfew must not count any confirmation.
    let lost = store.wait_replicated(SessionId::from_bytes([8; 16])).await;
    assert_eq!(lost.unwrap(), confirmed(0));
    let alice = new_session().subject;
    let revoke_all = async || {
        let at = now();
        store
            .set_cut_off(&alice, at, at.minus(60 * MINUTE))
            .await
            .unwrap()
    };
    assert_eq!(revoke_all().await, confirmed(1));
    replica.freeze();
    assert_eq!(revoke_all().await, confirmed(0));
    let ended = store.end(other, EndRequest::revoked(now())).await.unwrap();
    assert!(matches!(ended, EndOutcome::Ended(_)), "{ended:?}");
    let confirmation = store.wait_replicated(other);
    // While Curfew waits for the replica of Redis, it still answers checks.
    let checks = async {
        for _ in 0..20 {
            let load = tokio::time::timeout(Duration::from_millis(200), store.load(other));
            let state = load.await.unwrap().unwrap().unwrap().state;
            assert!(matches!(state, State::Ended(_)), "the session has ended");
        }
    };
    let (unconfirmed, ()) = tokio::join!(confirmation, checks);
    assert_eq!(unconfirmed.unwrap(), confirmed(0));
    replica.thaw();
    eventually("the replica confirms the write", async || {
        store.wait_replicated(other).await.unwrap().is_confirmed()
    })
    .await;
}

#[tokio::test]
async fn a_connection_to_a_replica_is_an_error() {
    let primary = RedisServer::start();
    let replica =
        RedisServer::start_with_options(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
    let store = ConnectedStore::start(RedisSettings {
        command_timeout: Duration::from_millis(500),
        ..settings(&replica.url())
    });
    let connection_error = store.connection_error().await;
    assert!(
        connection_error.contains("is a Redis replica"),
        "{connection_error}"
    );
}

#[tokio::test]
async fn all_replicas_learn_a_revocation_within_a_moment() {
    let server = RedisServer::start();
    let one = ConnectedStore::connect(settings(&server.url())).await;
    let two = ConnectedStore::connect(settings(&server.url())).await;
    let policies = Live::new(super::migrations::policies());
    let diagnostics = Diagnostics::default();
    let metrics = Metrics::new().unwrap();
    let alice = new_session().subject;
    let follow_task =
        two.follow_cut_offs(&policies, &diagnostics, &metrics, CancellationToken::new());
    let assertions = async {
        for minutes in [1, 2] {
            let at = now().plus(minutes * MINUTE);
            one.set_cut_off(&alice, at, Timestamp::default())
                .await
                .unwrap();
            assert_eq!(two.cut_off(&alice).await.unwrap(), Some(at));
            let is_known = async || two.known_cut_off(&alice) == Some(at);
            eventually("the other replica has the cut-off", is_known).await;
        }
    };
    tokio::select! {
        () = follow_task => unreachable!("the task ended although it was not stopped"),
        () = assertions => {}
    }
    // A process that starts later reads the cut-offs of each session that it loads, before it has read the whole set.
    let three = ConnectedStore::connect(settings(&server.url())).await;
    one.create(ID, &new_session()).await.unwrap();
    assert!(!three.is_fresh());
    assert!(three.load(ID).await.unwrap().is_some());
    assert!(three.known_cut_off(&alice).is_some());
    assert_eq!(three.read_cut_offs().await, Ok(true));
    assert!(three.is_fresh());
}
