//! A primary with two replicas, and sentinels that watch them.

use std::sync::Arc;

use crate::record::Record;
use crate::runner::Pace;
use crate::stage::Stage;
use crate::support::sentinel::SentinelGroup;

/// Both replicas must have what is acknowledged as confirmed, so that a fail-over to either loses
/// none of it.
pub async fn killed(record: &Arc<Record>, pace: Pace) {
    let mut group = SentinelGroup::start().await;
    let stage = Stage::with(&group.url(), record, pace, 2).await;
    let primary = group.primary();
    group.servers[primary].kill();
    record.recovers("the primary is killed");
    group.failed_over(primary).await;
    record.note("another server is the primary");
    stage.pause(2.0).await;
    group.servers[primary].start_again();
    record.recovers("the old primary is back");
    group.settled().await;
    stage.finish().await;
}

/// The old primary wakes up with what it had when it fell asleep, and takes itself for the primary
/// until a sentinel tells it otherwise. One replica must have what is acknowledged as confirmed:
/// while the old primary is away there is no more than one, and what is ended then is what it
/// does not know of.
pub async fn hangs(record: &Arc<Record>, pace: Pace) {
    let group = SentinelGroup::start().await;
    let stage = Stage::with(&group.url(), record, pace, 1).await;
    let primary = group.primary();
    group.servers[primary].freeze();
    record.recovers("the primary hangs");
    group.failed_over(primary).await;
    record.note("another server is the primary");
    stage.pause(2.0).await;
    group.servers[primary].thaw();
    record.recovers("the old primary goes on");
    group.settled().await;
    stage.finish().await;
}
