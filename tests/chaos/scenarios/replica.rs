//! A scenario that kills one of the two replicas of Curfew.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::model::MEDIUM;
use crate::record::Record;
use crate::runner::Pace;
use crate::stage::Stage;
use crate::support::redis::RedisServer;

/// Sessions that only the killed replica has served continue on the other replica.
pub async fn killed(record: &Arc<Record>, pace: Pace) {
    let server = RedisServer::start();
    let mut stage = Stage::start(&server.url(), record, pace).await;
    let serving = Arc::new(AtomicUsize::new(0));
    for _ in 0..10 {
        let session = stage.load.expect_sign_in("faithful", MEDIUM, 0).await;
        let serving = Arc::clone(&serving);
        let using = session.use_steadily_on(move || serving.load(Ordering::Relaxed));
        stage.load.spawn(using);
    }
    // Waits longer than the idle limit, so sessions live only if their activity was recorded.
    tokio::time::sleep(MEDIUM.idle + Duration::from_secs(1)).await;
    stage.kill(0);
    serving.store(1, Ordering::Relaxed);
    record.begin_recovery("replica 0 is killed");
    stage.pause(2.0).await;
    stage.start_again(0);
    record.add_event("replica 0 is back");
    stage.finish().await;
}
