//! Injects faults into the network between the replicas and Redis.

use std::sync::Arc;
use std::time::Duration;

use crate::pace::Pace;
use crate::support::fault_proxy::{Fault, FaultProxy};

/// Injects one fault after the other, until the task is aborted.
pub async fn run(way: Arc<FaultProxy>, pace: Pace) {
    let (calm, bad) = pace.faults;
    let kinds = [
        Fault::Slow(Duration::from_millis(30)),
        Fault::Cut,
        Fault::HalfOpen,
        Fault::Noise,
    ];
    for kind in kinds.into_iter().cycle() {
        tokio::time::sleep(calm).await;
        way.set_fault(kind);
        tokio::time::sleep(bad).await;
        way.set_fault(Fault::None);
    }
}
