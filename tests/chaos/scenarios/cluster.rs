//! A cluster of three primaries, each with a replica that must have what is acknowledged as
//! confirmed.

use std::sync::Arc;

use crate::record::Record;
use crate::runner::Pace;
use crate::stage::Stage;
use crate::support::cluster::Cluster;

const CONFIRMING: u16 = 1;

pub async fn killed(record: &Arc<Record>, pace: Pace) {
    let mut cluster = Cluster::start().await;
    let stage = Stage::with(&cluster.url(), record, pace, CONFIRMING).await;
    // The first slot is on it, and with it the clock that all go by.
    let primary = cluster.primaries()[0];
    cluster.servers[primary].kill();
    record.recovers("a primary is killed");
    cluster.failed_over(primary).await;
    record.note("its replica has taken over");
    stage.pause(2.0).await;
    cluster.servers[primary].start_again();
    record.recovers("the old primary is back");
    cluster.settled().await;
    stage.finish().await;
}
