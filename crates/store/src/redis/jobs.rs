//! Background jobs. They read all sessions, and repair or upgrade what they find.

mod maintenance;
mod migrate;
mod rebuild;
mod reseal;
mod tighten_deadlines;

pub use migrate::{Migration, Progress, Schema};
pub use reseal::SealCount;
