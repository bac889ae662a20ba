//! How many, how long, and by which limits.

use std::fmt;
use std::time::Duration;

use crate::support::curfew::Setup;

#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Sessions at once.
    pub sessions: usize,
    /// How long the load goes on.
    pub load: Duration,
    pub idle: Duration,
    pub absolute: Duration,
    pub touch_interval: Duration,
    /// By how much an answer may be early or late for what it is judged by here.
    pub margin: Duration,
    /// The time from one bad weather to the next, and how long one lasts.
    pub weather: (Duration, Duration),
    /// The pause of a worker between two requests.
    pub pause: Duration,
}

/// How many work at once.
pub const WORKERS: usize = 32;

impl Pace {
    /// `CURFEW_SOAK=SESSIONS,SECONDS`, or a short form.
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
                weather: (Duration::from_millis(2500), Duration::from_millis(300)),
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
                    weather: (seconds(20), Duration::from_millis(1500)),
                    pause: Duration::from_millis(6),
                }
            }
        }
    }

    /// After how long all replicas surely know of a use: it is written after an interval, or a second after the
    /// weather is good again.
    pub fn lag(&self) -> Duration {
        self.touch_interval + self.weather.1 + Duration::from_secs(2)
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
            // So that what is remembered of ends is as much at the end as in the middle.
            .set("STORE__END_JOURNAL", "30s")
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
            self.weather.0.as_secs_f32(),
        )
    }
}
