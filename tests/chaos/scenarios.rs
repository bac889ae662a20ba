//! The scenarios: each causes one kind of fault while the load runs.

mod cluster;
mod network;
mod replica;
mod sentinel;
mod standalone;

use std::pin::Pin;
use std::sync::Arc;

use crate::record::Record;
use crate::runner::RunLength;

type ScenarioFuture<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A scenario: its name in the report, and the function that runs it.
pub struct Scenario {
    pub name: &'static str,
    pub run: for<'a> fn(&'a Arc<Record>, RunLength) -> ScenarioFuture<'a>,
}

macro_rules! scenarios {
    ($($name:literal $run:path,)*) => {
        &[$(Scenario {
            name: $name,
            run: |record, length| Box::pin($run(record, length)),
        },)*]
    };
}

pub const SCENARIOS: &[Scenario] = scenarios![
    "redis is killed and started again" standalone::redis_is_killed,
    "redis hangs for 3 s" standalone::redis_hangs,
    "redis is full" standalone::redis_is_full,
    "sentinel: the primary is killed" sentinel::primary_is_killed,
    "sentinel: the primary hangs and wakes up" sentinel::primary_hangs,
    "cluster: a primary is killed" cluster::primary_is_killed,
    "cluster: a primary hangs and wakes up" cluster::primary_hangs,
    "network: slow, cut, half-open, noisy" network::network_is_faulty,
    "a curfew is killed and started again" replica::replica_is_killed,
];
