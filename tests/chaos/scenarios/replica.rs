//! A scenario that kills one of the two replicas of Curfew.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::environment::Environment;
use crate::model::MEDIUM;
use crate::record::Record;
use crate::runner::RunLength;
use crate::support::redis::RedisServer;

/// Sessions that only the killed replica has served continue on the other replica.
pub async fn replica_is_killed(record: &Arc<Record>, length: RunLength) {
    let server = RedisServer::start();
    let mut environment = Environment::start(&server.url(), record, length).await;
    let serving_replica = Arc::new(AtomicUsize::new(0));
    for _ in 0..10 {
        let session = environment
            .load
            .sign_in_until_accepted("faithful", MEDIUM, 0)
            .await;
        let serving_replica = Arc::clone(&serving_replica);
        let use_session = session.use_steadily_on(move || serving_replica.load(Ordering::Relaxed));
        environment.load.spawn(use_session);
    }
    // Waits longer than the idle limit, so sessions live only if their activity was recorded.
    tokio::time::sleep(MEDIUM.idle + Duration::from_secs(1)).await;
    environment.kill(0);
    serving_replica.store(1, Ordering::Relaxed);
    record.begin_recovery("replica 0 is killed");
    environment.pause(2.0).await;
    environment.start_again(0);
    record.add_event("replica 0 is back");
    environment.finish().await;
}
