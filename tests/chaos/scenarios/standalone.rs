//! Scenarios with one Redis server.

use std::sync::Arc;
use std::time::Duration;

use crate::environment::Environment;
use crate::model::DEFAULT;
use crate::record::Record;
use crate::runner::RunLength;
use crate::support::redis::RedisServer;

/// Redis writes each change to disk before it answers, so it restarts with all data.
pub async fn redis_is_killed(record: &Arc<Record>, length: RunLength) {
    let mut server =
        RedisServer::start_with_options(&["--appendonly", "yes", "--appendfsync", "always"]);
    let environment = Environment::start(&server.url(), record, length).await;
    server.kill();
    record.begin_recovery("redis is killed");
    environment.pause(1.0).await;
    server.start_again();
    record.add_event("redis is back");
    environment.finish().await;
}

pub async fn redis_hangs(record: &Arc<Record>, length: RunLength) {
    let server = RedisServer::start();
    let environment = Environment::start(&server.url(), record, length).await;
    server.freeze();
    record.begin_fault("redis hangs");
    // The hang lasts three seconds in long runs, too, because the scenario tests a hang of this length.
    tokio::time::sleep(Duration::from_secs(3)).await;
    server.thaw();
    record.begin_recovery("redis continues");
    environment.finish().await;
}

/// When Redis is full, sign-ins fail, but Curfew can still check and end sessions.
pub async fn redis_is_full(record: &Arc<Record>, length: RunLength) {
    let server = RedisServer::start_with_options(&["--maxmemory-policy", "noeviction"]);
    let environment = Environment::start(&server.url(), record, length).await;
    let mut sessions = Vec::new();
    for number in 0..10 {
        let session = environment
            .load
            .sign_in_until_accepted("from before", DEFAULT, number % 2)
            .await;
        sessions.push(session);
    }
    let set_memory_limit = |bytes: &[u8]| {
        server.command::<()>(&[b"CONFIG", b"SET", b"maxmemory", bytes]);
    };
    set_memory_limit(b"1");
    record.begin_fault("redis is full");
    for (number, session) in sessions.iter_mut().enumerate() {
        let replica = number % 2;
        let check = session.check(replica).await;
        assert_eq!(
            check.status,
            Some(200),
            "a check with a full Redis: {}",
            check.reason
        );
        let sign_in = environment
            .load
            .client
            .sign_in(replica, "too many", "default")
            .await;
        assert_eq!(
            sign_in.status,
            Some(503),
            "a sign-in with a full Redis: {}",
            sign_in.body
        );
        let revocation = session.revoke(replica).await;
        let answer = &revocation.body;
        assert_eq!(
            revocation.status,
            Some(200),
            "a revocation with a full Redis: {answer}"
        );
        session.check(1 - replica).await;
        environment.pause(0.3).await;
    }
    set_memory_limit(b"0");
    record.begin_recovery("redis accepts writes again");
    let sign_in = environment
        .load
        .client
        .sign_in(0, "welcome", "default")
        .await;
    assert_eq!(
        sign_in.status,
        Some(201),
        "a sign-in with free memory: {}",
        sign_in.body
    );
    environment.finish().await;
}
