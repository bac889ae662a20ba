//! Scenarios with a bad network between both replicas and Redis.

use std::sync::Arc;
use std::time::Duration;

use crate::record::Record;
use crate::runner::Pace;
use crate::stage::Stage;
use crate::support::fault_proxy::{Fault, FaultProxy};
use crate::support::loopback;
use crate::support::redis::RedisServer;

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

pub async fn bad(record: &Arc<Record>, pace: Pace) {
    let server = RedisServer::start();
    let way = FaultProxy::start(loopback(server.port)).await;
    let stage = Stage::start(&way.url(), record, pace).await;
    for (begins, fault, ends) in FAULTS {
        way.set_fault(fault);
        record.begin_fault(begins);
        stage.pause(1.2).await;
        way.set_fault(Fault::None);
        record.begin_recovery(ends);
        stage.pause(1.2).await;
    }
    stage.finish().await;
}
