//! Background jobs that read all sessions, and repair or upgrade their data.

mod maintenance;
mod migrate;
mod rebuild;
mod reseal;
mod tighten_deadlines;

pub use migrate::{Migration, Progress, Schema};
pub use reseal::SealCount;
