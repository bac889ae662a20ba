//! The only crate that reads a clock.
//!
//! Other code gets the time from an argument `now` or from a [`Clock`], so that tests can set the time. `clippy.toml`
//! forbids all other reads of clocks.

mod boot;
mod samples;
mod slew;
mod store_clock;
mod timeline;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use curfew_core::session;
#[cfg(test)]
use curfew_core::testing;

use session::Timestamp;

pub use boot::BootClock;
pub use store_clock::StoreClock;
pub use timeline::{AcceptedClock, BootId, Disagreement, TimelineAction, TimelineRecord};

/// Provides the current time for decisions.
pub trait Clock: Send + Sync + 'static {
    /// The current time. Most clocks count from the Unix epoch; [`BootClock`] counts from the boot of the machine.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "only this crate may read a clock"
    )]
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

/// A clock that starts with the system time and then follows the boot-time clock. So it also advances while the machine
/// is suspended, and later changes to the system time do not move it.
#[derive(Clone, Copy, Debug)]
pub struct SteadyClock {
    /// The system time at the start.
    system_start: Timestamp,
    /// The time of the boot-time clock at the start.
    boot_start: Timestamp,
}

impl SteadyClock {
    /// A clock that starts with the current system time.
    #[must_use]
    pub fn new() -> Self {
        Self {
            system_start: SystemClock.now(),
            boot_start: BootClock.now(),
        }
    }
}

impl Default for SteadyClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        self.system_start
            .plus(BootClock.now().since(self.boot_start))
    }
}

/// A clock for tests, which moves only when a test calls [`Self::advance`] or [`Self::set`]. Clones share one time.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(AtomicU64::new(now.as_millis())))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().plus(by));
    }

    /// Sets the clock to `now`, forward or back.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_millis(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Measures durations with the monotonic clock, for metrics. Decisions do not use it.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts the measurement.
    #[expect(
        clippy::disallowed_methods,
        reason = "only this crate may read a clock"
    )]
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Seconds since the start.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}
