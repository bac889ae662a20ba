//! The only crate that reads a clock.
//!
//! Everything else takes `now` as an argument or holds a [`Clock`]; `clippy.toml` forbids the rest.

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
pub use timeline::{Accepted, Action, BootId, Disagreement, TimelineRecord};

/// Tells the time that decisions are made by.
pub trait Clock: Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

/// The time at which it was made, and the boot-time clock from there on: setting the machine's clock
/// does not move it, and it counts while the machine is suspended.
#[derive(Clone, Copy, Debug)]
pub struct SteadyClock {
    made_at: Timestamp,
    made: Timestamp,
}

impl SteadyClock {
    /// A clock that shows the machine's time now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            made_at: SystemClock.now(),
            made: BootClock.now(),
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
        self.made_at.plus(BootClock.now().since(self.made))
    }
}

/// A clock that moves only when told to, for tests. Clones show the same time.
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

    /// Sets the clock.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_millis(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Measures how long something takes, by the monotonic clock. For metrics only, never for
/// decisions.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
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
