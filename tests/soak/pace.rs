//! The size, the duration and the limits of a run.

use std::fmt;
use std::time::Duration;

use crate::support::curfew::Setup;

#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The number of sessions at a time.
    pub sessions: usize,
    /// The duration of the load.
    pub load: Duration,
    pub idle: Duration,
    pub absolute: Duration,
    pub touch_interval: Duration,
    /// The tolerance for an answer that is earlier or later than expected.
    pub margin: Duration,
    /// The time from one fault to the next, and the duration of a fault.
    pub faults: (Duration, Duration),
    /// The pause of a worker between two requests.
    pub pause: Duration,
}

/// The number of workers.
pub const WORKERS: usize = 32;

impl Pace {
    /// Reads `CURFEW_SOAK=SESSIONS,SECONDS`; without it, returns a short form.
    pub fn from_environment() -> Self {
        let seconds = Duration::from_secs;
        match std::env::var("CURFEW_SOAK") {
            Err(_) => Self {
                sessions: 1_500,
                load: seconds(16),
                idle: seconds(8),
                absolute: seconds(16),
                touch_interval: seconds(1),
                margin: seconds(2),
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
                    margin: seconds(10),
                    faults: (seconds(20), Duration::from_millis(1500)),
                    pause: Duration::from_millis(6),
                }
            }
        }
    }

    /// The time until all replicas know of a use. It is written after the touch interval, or a second after a fault
    /// ends.
    pub fn lag(&self) -> Duration {
        self.touch_interval + self.faults.1 + Duration::from_secs(2)
    }

    pub fn configure(&self, setup: Setup) -> Setup {
        let text = |time: Duration| format!("{}s", time.as_secs());
        setup
            .limits(&text(self.idle), &text(self.absolute))
            .set(
                "POLICIES__DEFAULT__TOUCH_INTERVAL",
                &text(self.touch_interval),
            )
            .set("END_RETENTION", "1m")
            // So that the number of journal entries is the same in the middle and at the end.
            .set("STORE__JOURNAL_RETENTION", "30s")
            .set("LOG__FILTER", "error,curfew::audit=off")
    }
}

impl fmt::Display for Pace {
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
