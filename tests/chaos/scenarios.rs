//! The scenarios: each causes one kind of fault while the load runs.

mod cluster;
mod network;
mod replica;
mod sentinel;
mod standalone;

use std::pin::Pin;
use std::sync::Arc;

use crate::record::Record;
use crate::runner::Pace;

type Running<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// One row of the table.
pub struct Scenario {
    pub name: &'static str,
    pub run: for<'a> fn(&'a Arc<Record>, Pace) -> Running<'a>,
}

macro_rules! scenarios {
    ($($name:literal $run:path,)*) => {
        &[$(Scenario {
            name: $name,
            run: |record, pace| Box::pin($run(record, pace)),
        },)*]
    };
}

pub const SCENARIOS: &[Scenario] = scenarios![
    "redis is killed and started again" standalone::killed,
    "redis hangs for 3 s" standalone::hangs,
    "redis is full" standalone::full,
    "sentinel: the primary is killed" sentinel::killed,
    "sentinel: the primary hangs and wakes up" sentinel::hangs,
    "cluster: a primary is killed" cluster::killed,
    "cluster: a primary hangs and wakes up" cluster::hangs,
    "network: slow, cut, half-open, noisy" network::bad,
    "a curfew is killed and started again" replica::killed,
];
