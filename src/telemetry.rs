//! What the service says of itself: metrics, logs and audit events. No credential is in any.

mod advice;
pub mod audit;
mod denials;
pub mod logging;
pub(crate) mod metrics;
mod near_cache;
mod recent;
mod replicas;
mod throttle;
pub mod traces;

pub use advice::Advice;
pub use denials::DenialLog;
pub use metrics::{Metrics, NO_POLICY};
pub use near_cache::NearCacheMetrics;
pub use recent::{Event, Recent};
pub use replicas::{Replica, Replicas};
pub use throttle::Throttle;
