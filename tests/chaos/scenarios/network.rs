//! Scenarios with a bad network between both replicas and Redis.

use std::sync::Arc;
use std::time::Duration;

use crate::environment::Environment;
use crate::record::Record;
use crate::runner::RunLength;
use crate::support::fault_proxy::{Fault, FaultProxy};
use crate::support::loopback;
use crate::support::redis::RedisServer;

/// The faults, each with the description of its start and of its end.
const FAULTS: [(&str, Fault, &str); 5] = [
    (
        "30 ms slower, each way",
        Fault::Slow(Duration::from_millis(30)),
        "no longer slower by 30 ms",
    ),
    (
        "300 ms slower, each way",
        Fault::Slow(Duration::from_millis(300)),
        "no longer slower by 300 ms",
    ),
    ("cut", Fault::Cut, "not cut any more"),
    ("half-open", Fault::HalfOpen, "not half-open any more"),
    ("noisy", Fault::Noise, "not noisy any more"),
];

pub async fn network_is_faulty(record: &Arc<Record>, length: RunLength) {
    let server = RedisServer::start();
    let fault_proxy = FaultProxy::start(loopback(server.port)).await;
    let environment = Environment::start(&fault_proxy.url(), record, length).await;
    for (start_event, fault, end_event) in FAULTS {
        fault_proxy.set_fault(fault);
        record.begin_fault(start_event);
        environment.pause(1.2).await;
        fault_proxy.set_fault(Fault::None);
        record.begin_recovery(end_event);
        environment.pause(1.2).await;
    }
    environment.finish().await;
}
