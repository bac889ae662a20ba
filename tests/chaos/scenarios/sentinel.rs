//! A primary with two replicas, and the sentinels that monitor them.

use std::sync::Arc;

use crate::record::Record;
use crate::runner::Pace;
use crate::stage::Stage;
use crate::support::sentinel::SentinelGroup;

/// Both replicas must confirm a change, so a fail-over to either loses no confirmed change.
pub async fn killed(record: &Arc<Record>, pace: Pace) {
    let mut group = SentinelGroup::start().await;
    let stage = Stage::with(&group.url(), record, pace, 2).await;
    let primary = group.primary();
    group.servers[primary].kill();
    record.recovers("the primary is killed");
    group.wait_for_fail_over(primary).await;
    record.note("another server is the primary");
    stage.pause(2.0).await;
    group.servers[primary].start_again();
    record.recovers("the old primary is back");
    group.wait_until_stable().await;
    stage.finish().await;
}

/// The old primary resumes with its old data, and acts as the primary until a sentinel corrects it. One replica must
/// confirm a change, because only one is left while the old primary hangs. The old primary does not know the ends of
/// that time.
pub async fn hangs(record: &Arc<Record>, pace: Pace) {
    let group = SentinelGroup::start().await;
    let stage = Stage::with(&group.url(), record, pace, 1).await;
    let primary = group.primary();
    group.servers[primary].freeze();
    record.recovers("the primary hangs");
    group.wait_for_fail_over(primary).await;
    record.note("another server is the primary");
    stage.pause(2.0).await;
    group.servers[primary].thaw();
    record.recovers("the old primary goes on");
    group.wait_until_stable().await;
    stage.finish().await;
}
