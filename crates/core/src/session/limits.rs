use std::time::Duration;

/// The minimum time beyond the idle limit for which the store keeps a tombstone (the record of an ended session).
/// During this time, clients receive the reason of the end.
pub const MIN_TOMBSTONE_TTL: Duration = Duration::from_secs(60);

/// The extra time for which the store keeps the record of a live session. If the store's clock is ahead by less than
/// this time, the store deletes no record too early.
pub const CLOCK_MARGIN: Duration = Duration::from_secs(86_400);

/// The longest absolute limit that a policy may have. Browsers keep no cookie for longer (RFC 6265bis section 5.5).
pub const MAX_COOKIE_AGE: Duration = Duration::from_secs(400 * 86_400);

/// The limits of a session under a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The idle limit: the longest time between two activities; `None` if only the absolute limit applies.
    pub idle: Option<Duration>,
    /// The absolute limit: the longest time from the sign-in to the session end.
    pub absolute: Duration,
    /// The longest time after the sign-in for which Curfew allows a request (step-up). If the sign-in is older,
    /// Curfew denies the request with `reauthentication_required`, and the session stays alive.
    pub max_auth_age: Option<Duration>,
}

impl Limits {
    /// The widest limits: the start value for repeated calls of [`Limits::strictest`].
    pub const NONE: Self = Self {
        idle: None,
        absolute: MAX_COOKIE_AGE,
        max_auth_age: None,
    };

    /// Combines two sets of limits: the result has the smaller value of each limit.
    #[must_use]
    pub fn strictest(self, other: Self) -> Self {
        Self {
            idle: smaller(self.idle, other.idle),
            absolute: self.absolute.min(other.absolute),
            max_auth_age: smaller(self.max_auth_age, other.max_auth_age),
        }
    }

    /// The longest time that a session lives without activity.
    #[must_use]
    pub fn longest_inactivity(&self) -> Duration {
        self.idle.unwrap_or(self.absolute).min(self.absolute)
    }

    /// How long the store keeps a record after the last activity: for the idle limit (the absolute limit if there is no
    /// idle limit), and then for `tombstone_ttl`, but at least for [`MIN_TOMBSTONE_TTL`]. During this second time,
    /// clients receive the reason of the end.
    #[must_use]
    pub fn retention(&self, tombstone_ttl: Duration) -> Duration {
        self.idle
            .unwrap_or(self.absolute)
            .saturating_add(tombstone_ttl.max(MIN_TOMBSTONE_TTL))
    }
}

/// The smaller of two optional limits; `None` means no limit.
fn smaller(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
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
    fn strictest_takes_the_smaller_value_of_each_limit() {
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
