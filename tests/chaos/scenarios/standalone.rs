//! Scenarios with one Redis server.

use std::sync::Arc;
use std::time::Duration;

use crate::model::DEFAULT;
use crate::record::Record;
use crate::runner::Pace;
use crate::stage::Stage;
use crate::support::redis::RedisServer;

/// Redis writes each change to disk before it answers, so it restarts with all data.
pub async fn killed(record: &Arc<Record>, pace: Pace) {
    let mut server = RedisServer::start_with_options(&["--appendonly", "yes", "--appendfsync", "always"]);
    let stage = Stage::start(&server.url(), record, pace).await;
    server.kill();
    record.begin_recovery("redis is killed");
    stage.pause(1.0).await;
    server.start_again();
    record.add_event("redis is back");
    stage.finish().await;
}

pub async fn hangs(record: &Arc<Record>, pace: Pace) {
    let server = RedisServer::start();
    let stage = Stage::start(&server.url(), record, pace).await;
    server.freeze();
    record.begin_fault("redis hangs");
    // The hang lasts three seconds in long runs, too, because this time is the purpose of the scenario.
    tokio::time::sleep(Duration::from_secs(3)).await;
    server.thaw();
    record.begin_recovery("redis continues");
    stage.finish().await;
}

/// When Redis is full, sign-ins fail. Sessions can still be checked and ended.
pub async fn full(record: &Arc<Record>, pace: Pace) {
    let server = RedisServer::start_with_options(&["--maxmemory-policy", "noeviction"]);
    let stage = Stage::start(&server.url(), record, pace).await;
    let mut sessions = Vec::new();
    for number in 0..10 {
        let session = stage
            .load
            .expect_sign_in("from before", DEFAULT, number % 2)
            .await;
        sessions.push(session);
    }
    let limit = |bytes: &[u8]| {
        server.command::<()>(&[b"CONFIG", b"SET", b"maxmemory", bytes]);
    };
    limit(b"1");
    record.begin_fault("redis is full");
    for (number, session) in sessions.iter_mut().enumerate() {
        let replica = number % 2;
        let check = session.check(replica).await;
        assert_eq!(check.status, Some(200), "a check: {}", check.reason);
        let refused = stage
            .load
            .client
            .sign_in(replica, "too many", "default")
            .await;
        assert_eq!(refused.status, Some(503), "a sign-in: {}", refused.body);
        let revocation = session.revoke(replica).await;
        let answer = &revocation.body;
        assert_eq!(revocation.status, Some(200), "a revocation: {answer}");
        session.check(1 - replica).await;
        stage.pause(0.3).await;
    }
    limit(b"0");
    record.begin_recovery("redis accepts writes again");
    let again = stage.load.client.sign_in(0, "welcome", "default").await;
    assert_eq!(again.status, Some(201), "a sign-in: {}", again.body);
    stage.finish().await;
}
