use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time: whole milliseconds since the Unix epoch.
///
/// Redis stores expiry times in milliseconds, too, so the store does not round a timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The latest instant that a store can use as an expiry, because Redis uses a signed 64-bit number.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// The instant `millis` milliseconds after the Unix epoch, at most [`Timestamp::MAX`].
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        if millis > Self::MAX.0 {
            Self::MAX
        } else {
            Self(millis)
        }
    }

    /// The instant `seconds` after the Unix epoch; `None` unless the number is at least 0 and less than 1e11 (the year
    /// 5138).
    #[must_use]
    pub fn from_seconds(seconds: f64) -> Option<Self> {
        let plausible = (0.0..1e11).contains(&seconds);
        plausible.then(|| Self::from_millis((seconds * 1000.0) as u64))
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`. The result is zero if `earlier` is in the future, which can happen if the clocks
    /// of two machines differ.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This instant plus the duration `by` in whole milliseconds, but at most [`Timestamp::MAX`].
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(millis(by)))
    }

    /// This instant minus the duration `by` in whole milliseconds, but not before the epoch.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }
}

/// `duration` in whole milliseconds, at most `u64::MAX`.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl From<SystemTime> for Timestamp {
    /// An instant before the epoch becomes the epoch.
    fn from(time: SystemTime) -> Self {
        Self::from_millis(millis(time.duration_since(UNIX_EPOCH).unwrap_or_default()))
    }
}

/// The last instant that RFC 3339 can express, 9999-12-31T23:59:59.999Z.
const MAX_RFC3339_MILLIS: u64 = 253_402_300_799_999;

impl Timestamp {
    /// RFC 3339 in UTC with whole seconds, as in `2026-11-23T09:30:00Z`.
    #[must_use]
    pub fn to_rfc3339_seconds(self) -> String {
        let time = UNIX_EPOCH + Duration::from_millis(self.0.min(MAX_RFC3339_MILLIS));
        humantime::format_rfc3339_seconds(time).to_string()
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds, as in `2026-11-23T09:30:00.000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = UNIX_EPOCH + Duration::from_millis(self.0.min(MAX_RFC3339_MILLIS));
        humantime::format_rfc3339_millis(time).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_age_is_zero() {
        let (early, late) = (Timestamp::from_millis(1_000), Timestamp::from_millis(3_000));
        assert_eq!(late.since(early), Duration::from_secs(2));
        assert_eq!(early.since(late), Duration::ZERO);
    }

    #[test]
    fn parses_seconds_from_other_programs() {
        let written = Timestamp::from_seconds(1_795_426_200.042);
        assert_eq!(written, Some(Timestamp::from_millis(1_795_426_200_042)));
        for none in [-1.0, 1e11, f64::NAN, f64::INFINITY] {
            assert_eq!(Timestamp::from_seconds(none), None, "{none}");
        }
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::MAX.plus(Duration::MAX), Timestamp::MAX);
        assert_eq!(
            Timestamp::from_millis(5).minus(Duration::MAX),
            Timestamp::from_millis(0)
        );
    }

    #[test]
    fn writes_rfc3339() {
        assert_eq!(
            Timestamp::from_millis(1_795_426_200_042).to_string(),
            "2026-11-23T09:30:00.042Z"
        );
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999Z");
    }
}
