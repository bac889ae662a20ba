//! Metrics, logs, audit events and traces. None of them contains a credential.

pub mod audit;
pub mod build;
mod denials;
mod diagnostics;
pub mod logging;
mod metrics;
mod recent;
mod replicas;
#[cfg(any(test, feature = "testing"))]
#[expect(clippy::unwrap_used, reason = "test support may panic")]
pub mod testing;
mod throttle;
pub mod traces;

use curfew_clock as clock;
use curfew_core::{actor, credential, escape, events, revocation, session};

pub use denials::DenialLog;
pub use diagnostics::Diagnostics;
pub use metrics::{Metrics, NO_POLICY, NearCacheMetrics, SourceMetrics, StoreMetrics};
pub use recent::{RecentEvent, RecentEvents};
pub use replicas::{Replica, Replicas};
pub use throttle::Throttle;
