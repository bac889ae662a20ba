use crate::session::Timestamp;

/// The maximum rate at which decision time deviates from the boot-time clock: 1 µs per ms (0.1 %).
pub(super) const MAX_SLEW_MICROS_PER_MS: i64 = 1;

/// Decision time (the common time of all replicas) as a function of boot time (the time of the boot-time clock). The
/// offset between the two times approaches a target at a limited rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slew {
    /// The boot time at which the offset starts to move, in milliseconds.
    start: i64,
    /// Decision time minus boot time at `start`, in microseconds.
    offset: i64,
    /// The final offset, in microseconds.
    target: i64,
    /// The maximum change of the offset, in microseconds per millisecond.
    rate: i64,
}

impl Slew {
    /// A clock with a fixed `offset` from the boot-time clock, in microseconds. `boot` is the boot time in
    /// milliseconds.
    pub(super) const fn fixed(boot: i64, offset: i64, rate: i64) -> Self {
        Self {
            start: boot,
            offset,
            target: offset,
            rate,
        }
    }

    /// Decision time minus boot time, in microseconds. `boot` is the boot time in milliseconds.
    pub(super) fn offset(&self, boot: i64) -> i64 {
        let max_change = boot
            .saturating_sub(self.start)
            .max(0)
            .saturating_mul(self.rate);
        let remaining = self.target.saturating_sub(self.offset);
        self.offset
            .saturating_add(remaining.clamp(-max_change, max_change))
    }

    /// Decision time at the boot time `boot`; both are in milliseconds.
    pub(super) fn decision_time(&self, boot: i64) -> i64 {
        boot.saturating_add(self.offset(boot).div_euclid(1000))
    }

    /// Returns the same clock with a new target for its offset, in microseconds. From the boot time `boot` on, the
    /// offset moves towards this target.
    pub(super) fn with_target(&self, boot: i64, target: i64) -> Self {
        Self {
            start: boot,
            offset: self.offset(boot),
            target,
            rate: self.rate,
        }
    }
}

/// Converts a timestamp to signed milliseconds, because a difference between two times can be negative.
pub(super) fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
}

/// Converts milliseconds to a timestamp. A negative number becomes the epoch.
pub(super) fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millis(u64::try_from(millis).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_offset_slews_by_a_thousandth_and_stops_at_the_target() {
        let clock = Slew::fixed(1_000, 5_000, 1).with_target(1_000, 9_000);
        assert_eq!(clock.offset(1_000), 5_000);
        assert_eq!(
            clock.offset(2_000),
            6_000,
            "the offset should move by 1 ms in a second"
        );
        assert_eq!(clock.offset(5_000), 9_000);
        assert_eq!(clock.offset(500_000), 9_000);
        let back = clock.with_target(2_000, 0);
        assert_eq!(back.offset(4_000), 4_000);
        assert_eq!(back.decision_time(4_000), 4_004);
    }

    proptest! {
        #[test]
        fn the_slew_rate_is_bounded_for_every_target_change(
            targets in proptest::collection::vec((0_i64..3_000, -10_000_000_i64..10_000_000), 1..40),
        ) {
            let (start, mut boot) = (Slew::fixed(0, 0, 1), 0);
            let mut clock = start;
            for (pause, target) in targets {
                boot += pause;
                clock = clock.with_target(boot, target);
            }
            let change = clock.offset(boot) - start.offset(0);
            prop_assert!(change.abs() <= boot, "{change} µs in {boot} ms");
        }
    }
}
