//! Scenarios with a cluster of three primaries. A change is confirmed when one Redis replica of the primary also has
//! it.

use std::sync::Arc;

use crate::environment::Environment;
use crate::record::Record;
use crate::runner::RunLength;
use crate::support::cluster::Cluster;

const CONFIRMING_REPLICAS: u16 = 1;

pub async fn primary_is_killed(record: &Arc<Record>, length: RunLength) {
    let mut cluster = Cluster::start().await;
    let environment =
        Environment::start_with_confirmations(&cluster.url(), record, length, CONFIRMING_REPLICAS)
            .await;
    let primary = cluster.clock_primary_index();
    cluster.servers[primary].kill();
    record.begin_recovery("a primary is killed");
    cluster.wait_for_fail_over(primary).await;
    record.add_event("a replica has become the primary");
    environment.pause(2.0).await;
    cluster.servers[primary].start_again();
    record.begin_recovery("the old primary is back");
    cluster.wait_until_stable().await;
    environment.finish().await;
}

/// A primary hangs. When it continues, it has old data, and acts as a primary until the other servers demote it.
pub async fn primary_hangs(record: &Arc<Record>, length: RunLength) {
    let cluster = Cluster::start().await;
    let environment =
        Environment::start_with_confirmations(&cluster.url(), record, length, CONFIRMING_REPLICAS)
            .await;
    let primary = cluster.clock_primary_index();
    cluster.servers[primary].freeze();
    record.begin_recovery("a primary hangs");
    cluster.wait_for_fail_over(primary).await;
    record.add_event("a replica has become the primary");
    environment.pause(2.0).await;
    cluster.servers[primary].thaw();
    record.begin_recovery("the old primary continues");
    cluster.wait_until_stable().await;
    environment.finish().await;
}
