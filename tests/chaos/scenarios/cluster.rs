//! A cluster of three primaries. One replica each must confirm a change before it is acknowledged as confirmed.

use std::sync::Arc;

use crate::record::Record;
use crate::runner::Pace;
use crate::stage::Stage;
use crate::support::cluster::Cluster;

const CONFIRMING_REPLICAS: u16 = 1;

pub async fn killed(record: &Arc<Record>, pace: Pace) {
    let mut cluster = Cluster::start().await;
    let stage = Stage::with(&cluster.url(), record, pace, CONFIRMING_REPLICAS).await;
    let primary = cluster.timekeeper();
    cluster.servers[primary].kill();
    record.recovers("a primary is killed");
    cluster.wait_for_fail_over(primary).await;
    record.note("its replica has taken over");
    stage.pause(2.0).await;
    cluster.servers[primary].start_again();
    record.recovers("the old primary is back");
    cluster.wait_until_stable().await;
    stage.finish().await;
}

/// The old primary resumes with its old data, and acts as the primary until the other servers correct it.
pub async fn hangs(record: &Arc<Record>, pace: Pace) {
    let cluster = Cluster::start().await;
    let stage = Stage::with(&cluster.url(), record, pace, CONFIRMING_REPLICAS).await;
    let primary = cluster.timekeeper();
    cluster.servers[primary].freeze();
    record.recovers("a primary hangs");
    cluster.wait_for_fail_over(primary).await;
    record.note("its replica has taken over");
    stage.pause(2.0).await;
    cluster.servers[primary].thaw();
    record.recovers("the old primary goes on");
    cluster.wait_until_stable().await;
    stage.finish().await;
}
