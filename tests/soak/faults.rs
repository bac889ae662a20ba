//! Injects faults into the network between the replicas and Redis.

use std::sync::Arc;
use std::time::Duration;

use crate::run_settings::RunSettings;
use crate::support::fault_proxy::{Fault, FaultProxy};

/// Injects one fault after the other, until the task is aborted.
pub async fn inject(fault_proxy: Arc<FaultProxy>, run_settings: RunSettings) {
    let (pause_duration, fault_duration) = run_settings.faults;
    let faults = [
        Fault::Slow(Duration::from_millis(30)),
        Fault::Cut,
        Fault::HalfOpen,
        Fault::Noise,
    ];
    for fault in faults.into_iter().cycle() {
        tokio::time::sleep(pause_duration).await;
        fault_proxy.set_fault(fault);
        tokio::time::sleep(fault_duration).await;
        fault_proxy.set_fault(Fault::None);
    }
}
