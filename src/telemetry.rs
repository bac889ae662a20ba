//! What the service says of itself: metrics, logs and audit events. No credential is in any.

mod advice;
pub mod audit;
pub mod logging;
mod metrics;
mod near_cache;

pub use advice::Advice;
pub use metrics::{Metrics, NO_POLICY};
pub use near_cache::NearCacheMetrics;
