//! Scenarios with a primary of Redis, two Redis replicas, and the sentinels that monitor them.

use std::sync::Arc;

use crate::environment::Environment;
use crate::record::Record;
use crate::runner::RunLength;
use crate::support::sentinel::SentinelGroup;

/// Both Redis replicas must confirm a change, so a fail-over to either of them loses no confirmed change.
pub async fn primary_is_killed(record: &Arc<Record>, length: RunLength) {
    let mut group = SentinelGroup::start().await;
    let environment = Environment::start_with_confirmations(&group.url(), record, length, 2).await;
    let primary = group.primary_index();
    group.servers[primary].kill();
    record.begin_recovery("the primary is killed");
    group.wait_for_fail_over(primary).await;
    record.add_event("another server is the primary");
    environment.pause(2.0).await;
    group.servers[primary].start_again();
    record.begin_recovery("the old primary is back");
    group.wait_until_stable().await;
    environment.finish().await;
}

/// The primary hangs. When it continues, it acts as a primary until a sentinel demotes it, but its data lacks the
/// session ends that happened during the hang. During the hang, the new primary has only one Redis replica, so one
/// confirmation of a change must be enough.
pub async fn primary_hangs(record: &Arc<Record>, length: RunLength) {
    let group = SentinelGroup::start().await;
    let environment = Environment::start_with_confirmations(&group.url(), record, length, 1).await;
    let primary = group.primary_index();
    group.servers[primary].freeze();
    record.begin_recovery("the primary hangs");
    group.wait_for_fail_over(primary).await;
    record.add_event("another server is the primary");
    environment.pause(2.0).await;
    group.servers[primary].thaw();
    record.begin_recovery("the old primary continues");
    group.wait_until_stable().await;
    environment.finish().await;
}
