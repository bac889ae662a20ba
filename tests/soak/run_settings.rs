//! The size, the duration and the limits of a run.

use std::fmt;
use std::time::Duration;

use crate::support::curfew::Setup;

#[derive(Clone, Copy, Debug)]
pub struct RunSettings {
    /// The number of sessions that exist at the same time.
    pub sessions: usize,
    /// The duration of the load.
    pub load: Duration,
    pub idle: Duration,
    pub absolute: Duration,
    pub touch_interval: Duration,
    /// The largest accepted difference between the limit of a session and its end.
    pub end_tolerance: Duration,
    /// The time between the starts of two faults, and the duration of a fault.
    pub faults: (Duration, Duration),
    /// The pause of a worker between two requests.
    pub pause: Duration,
}

/// The number of tasks that send requests at the same time.
pub const WORKERS: usize = 32;

impl RunSettings {
    /// Returns the settings for `CURFEW_SOAK=SESSIONS,SECONDS`. Without this variable, returns the settings of a short
    /// run.
    pub fn from_environment() -> Self {
        let seconds = Duration::from_secs;
        match std::env::var("CURFEW_SOAK") {
            Err(_) => Self {
                sessions: 1_500,
                load: seconds(16),
                idle: seconds(8),
                absolute: seconds(16),
                touch_interval: seconds(1),
                end_tolerance: seconds(2),
                faults: (Duration::from_millis(2500), Duration::from_millis(300)),
                pause: Duration::from_millis(15),
            },
            Ok(text) => {
                let (sessions, load) = text.split_once(',').expect("CURFEW_SOAK=SESSIONS,SECONDS");
                Self {
                    sessions: sessions.parse().unwrap(),
                    load: seconds(load.parse().unwrap()),
                    idle: seconds(90),
                    absolute: seconds(240),
                    touch_interval: seconds(5),
                    end_tolerance: seconds(10),
                    faults: (seconds(20), Duration::from_millis(1500)),
                    pause: Duration::from_millis(6),
                }
            }
        }
    }

    /// Returns the longest time until all replicas can read an activity from Redis. A replica writes the activity after
    /// the touch interval. If a fault prevents this write, the replica tries again within a second after the fault.
    pub fn max_activity_lag(&self) -> Duration {
        self.touch_interval + self.faults.1 + Duration::from_secs(2)
    }

    pub fn configure(&self, setup: Setup) -> Setup {
        let text = |time: Duration| format!("{}s", time.as_secs());
        setup
            .default_store_timeouts()
            .limits(&text(self.idle), &text(self.absolute))
            .set(
                "POLICIES__DEFAULT__TOUCH_INTERVAL",
                &text(self.touch_interval),
            )
            .set("END_RETENTION", "1m")
            // The journal keeps recent session ends in memory. With a short retention, the journal has the same size
            // in the middle and at the end of the run.
            .set("STORE__JOURNAL_RETENTION", "30s")
            .set("LOG__FILTER", "error,curfew::audit=off")
    }
}

impl fmt::Display for RunSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sessions at once for {} s; idle {} s, absolute {} s; Redis is slow, cut off, silent or noisy every {} s",
            self.sessions,
            self.load.as_secs(),
            self.idle.as_secs(),
            self.absolute.as_secs(),
            self.faults.0.as_secs_f32(),
        )
    }
}
