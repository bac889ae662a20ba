//! What the service says of itself: metrics, logs and audit events. No credential is in any.

pub mod audit;
pub mod logging;
mod metrics;

pub use metrics::{Metrics, NO_POLICY};
