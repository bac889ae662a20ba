use std::time::Duration;

/// How much longer than its idle limit a session's record is kept at least, so that the reason of
/// its end can still be told.
pub const MIN_TELLING: Duration = Duration::from_secs(60);

/// How much longer the record of a live session is kept than it has to be: while the store's own clock is ahead by less,
/// the store forgets no session too early.
pub const CLOCK_MARGIN: Duration = Duration::from_secs(86_400);

/// The longest that a session can be allowed to live: browsers keep no cookie for longer
/// (RFC 6265bis section 5.5).
pub const LONGEST_LIFE: Duration = Duration::from_secs(400 * 86_400);

/// The limits a policy puts on a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest time between two activities; `None` where only the absolute limit applies.
    pub idle: Option<Duration>,
    /// The longest time from sign-in to end, whatever happens in between.
    pub absolute: Duration,
    /// The longest time since sign-in with which a request is still served (step-up); a session
    /// that is older is denied with `reauthentication_required` and lives on elsewhere.
    pub max_auth_age: Option<Duration>,
}

impl Limits {
    /// What limits nothing: to be made tighter.
    pub const NONE: Self = Self {
        idle: None,
        absolute: LONGEST_LIFE,
        max_auth_age: None,
    };

    /// The tighter of the two in every respect.
    #[must_use]
    pub fn strictest(self, other: Self) -> Self {
        Self {
            idle: tighter(self.idle, other.idle),
            absolute: self.absolute.min(other.absolute),
            max_auth_age: tighter(self.max_auth_age, other.max_auth_age),
        }
    }

    /// The longest that a session with these limits lives without being used.
    #[must_use]
    pub fn longest_unused(&self) -> Duration {
        self.idle.unwrap_or(self.absolute).min(self.absolute)
    }

    /// How long after the last activity the record of a session with these limits is kept, when
    /// the reason of its end is to be told for `telling` (at least [`MIN_TELLING`]).
    #[must_use]
    pub fn retention(&self, telling: Duration) -> Duration {
        self.idle
            .unwrap_or(self.absolute)
            .saturating_add(telling.max(MIN_TELLING))
    }
}

/// The smaller of two optional limits, where `None` means no limit.
fn tighter(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (limit, None) | (None, limit) => limit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn strictest_takes_the_tighter_of_each() {
        let office = Limits {
            idle: Some(MINUTE * 30),
            absolute: MINUTE * 480,
            max_auth_age: None,
        };
        let long = Limits {
            idle: None,
            absolute: MINUTE * 60,
            max_auth_age: Some(MINUTE),
        };
        let expected = Limits {
            idle: Some(MINUTE * 30),
            absolute: MINUTE * 60,
            max_auth_age: Some(MINUTE),
        };
        assert_eq!(office.strictest(long), expected);
        assert_eq!(long.strictest(office), expected);
    }

    #[test]
    fn retention_outlasts_the_limit_that_ends_the_session() {
        let idle = Limits {
            idle: Some(MINUTE * 15),
            absolute: MINUTE * 480,
            max_auth_age: None,
        };
        assert_eq!(idle.retention(MINUTE * 60), MINUTE * 75);
        assert_eq!(idle.retention(Duration::ZERO), MINUTE * 16);
        assert_eq!(
            Limits { idle: None, ..idle }.retention(MINUTE * 60),
            MINUTE * 540
        );
    }
}
