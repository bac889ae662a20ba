use std::collections::VecDeque;

/// The maximum number of samples that a replica keeps to estimate the offset of the store's clock.
const MAX_SAMPLES: usize = 8;
/// The maximum age of a sample, in milliseconds. Clock drift makes older samples inaccurate.
const MAX_AGE_MILLIS: i64 = 10_000;
/// Two offsets may differ by this value in addition to network delay and drift, in milliseconds. A larger difference
/// shows that the store's clock has jumped.
const JUMP_MILLIS: i64 = 100;
/// Two clocks drift apart by at most the elapsed time divided by this value, because NTP keeps each clock within
/// 0.05 % of the true rate.
const DRIFT_DIVISOR: i64 = 1_000;

/// One measurement of the store's clock, in milliseconds. Boot time is the time of this machine's boot-time clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// The boot time at which the response arrived.
    pub(super) at: i64,
    /// The offset of the store's clock from boot time, accurate to half of `round_trip`.
    pub(super) offset: i64,
    /// The round-trip time of the request.
    pub(super) round_trip: i64,
}

/// The condition for accepting a new offset of the store's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AcceptanceRule {
    /// The number of samples that must agree.
    pub(super) min_samples: usize,
    /// The minimum time between the first and the last of these samples, in milliseconds.
    pub(super) min_span: i64,
}

/// The latest samples of the store's clock.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// Samples that agree with the accepted offset.
    accepted: VecDeque<Sample>,
    /// Later samples that agree with each other on a different offset. They replace the accepted samples when there are
    /// enough of them.
    candidates: VecDeque<Sample>,
}

impl Samples {
    /// Adds a sample, and accepts a new offset if enough samples agree on it.
    pub(super) fn add(&mut self, sample: Sample, acceptance: AcceptanceRule) {
        if self.accepted.is_empty() || agrees(&self.accepted, sample) {
            self.candidates.clear();
            push_sample(&mut self.accepted, sample);
            return;
        }
        if !agrees(&self.candidates, sample) {
            self.candidates.clear();
        }
        push_sample(&mut self.candidates, sample);
        if is_settled(&self.candidates, acceptance) {
            self.accepted = std::mem::take(&mut self.candidates);
        }
    }

    /// The accepted offset of the store's clock from boot time, and its uncertainty, in milliseconds. Both come from
    /// the sample with the shortest round trip.
    pub(super) fn accepted_offset(&self) -> Option<(i64, i64)> {
        sample_with_shortest_round_trip(&self.accepted)
            .map(|best| (best.offset, best.round_trip / 2))
    }

    /// The latest measured offset of the store's clock from boot time, accepted or not, in milliseconds.
    pub(super) fn latest_offset(&self) -> Option<i64> {
        sample_with_shortest_round_trip(&self.candidates)
            .or_else(|| sample_with_shortest_round_trip(&self.accepted))
            .map(|best| best.offset)
    }

    /// Whether the latest sample agrees with the accepted offset.
    pub(super) fn is_undisputed(&self) -> bool {
        self.candidates.is_empty()
    }

    /// Whether enough samples over enough time agree with the accepted offset.
    pub(super) fn is_settled(&self, acceptance: AcceptanceRule) -> bool {
        self.is_undisputed() && is_settled(&self.accepted, acceptance)
    }
}

/// Adds a sample. Removes the samples older than [`MAX_AGE_MILLIS`]. If [`MAX_SAMPLES`] samples remain, removes one of
/// them.
fn push_sample(samples: &mut VecDeque<Sample>, sample: Sample) {
    samples.retain(|earlier| earlier.at >= sample.at - MAX_AGE_MILLIS);
    // The first sample stays, because its time shows since when the samples have agreed.
    if samples.len() >= MAX_SAMPLES {
        samples.remove(1);
    }
    samples.push_back(sample);
}

/// Returns the sample with the shortest round trip, whose offset is the most accurate.
fn sample_with_shortest_round_trip(samples: &VecDeque<Sample>) -> Option<Sample> {
    // If there are `MAX_SAMPLES` samples, skip the first: it can be so old that drift has made its offset inaccurate.
    let skipped_count = usize::from(samples.len() >= MAX_SAMPLES);
    let recent = samples.iter().skip(skipped_count);
    recent.copied().min_by_key(|sample| sample.round_trip)
}

/// Whether network delay and drift explain the difference between the offset of `sample` and the offset of the earlier
/// sample with the shortest round trip.
fn agrees(samples: &VecDeque<Sample>, sample: Sample) -> bool {
    let (Some(best), Some(last)) = (sample_with_shortest_round_trip(samples), samples.back())
    else {
        return false;
    };
    let drift = (sample.at - last.at).max(0) / DRIFT_DIVISOR;
    let tolerance = JUMP_MILLIS + (best.round_trip + sample.round_trip) / 2 + drift;
    (sample.offset - best.offset).abs() <= tolerance
}

fn is_settled(samples: &VecDeque<Sample>, acceptance: AcceptanceRule) -> bool {
    let span = match (samples.front(), samples.back()) {
        (Some(first), Some(last)) => last.at - first.at,
        _ => return false,
    };
    samples.len() >= acceptance.min_samples && span >= acceptance.min_span
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPTANCE: AcceptanceRule = AcceptanceRule {
        min_samples: 3,
        min_span: 2_000,
    };

    fn sample(at: i64, offset: i64) -> Sample {
        Sample {
            at,
            offset,
            round_trip: 2,
        }
    }

    /// Returns samples with these pairs of `at` and `offset`.
    fn samples_from(pairs: &[(i64, i64)]) -> Samples {
        let mut samples = Samples::default();
        for (at, offset) in pairs {
            samples.add(sample(*at, *offset), ACCEPTANCE);
        }
        samples
    }

    #[test]
    fn one_outlier_has_no_effect() {
        let samples = samples_from(&[(0, 7), (500, 7), (1_000, 86_400_000), (1_500, 7)]);
        assert_eq!(samples.accepted_offset(), Some((7, 1)));
        assert!(samples.is_undisputed());
    }

    #[test]
    fn several_samples_over_two_seconds_are_accepted() {
        let hour = 3_600_000;
        let mut samples = samples_from(&[(0, 7), (500, hour), (1_000, hour), (2_499, hour)]);
        assert_eq!(
            samples.accepted_offset(),
            Some((7, 1)),
            "samples over less than two seconds should not be accepted"
        );
        assert_eq!(samples.latest_offset(), Some(hour));
        assert!(!samples.is_settled(ACCEPTANCE));
        samples.add(sample(2_500, hour), ACCEPTANCE);
        assert_eq!(samples.accepted_offset(), Some((hour, 1)));
        assert!(samples.is_settled(ACCEPTANCE));
    }

    #[test]
    fn samples_that_disagree_with_each_other_are_not_accepted() {
        let mut samples = samples_from(&[(0, 7)]);
        for at in 1..40 {
            samples.add(sample(at * 500, at * 60_000), ACCEPTANCE);
        }
        assert_eq!(samples.accepted_offset(), Some((7, 1)));
    }

    #[test]
    fn the_offset_comes_from_the_sample_with_the_shortest_round_trip() {
        let mut samples = samples_from(&[(0, 7)]);
        let slow = Sample {
            at: 500,
            offset: 200,
            round_trip: 400,
        };
        samples.add(slow, ACCEPTANCE);
        assert_eq!(samples.accepted_offset(), Some((7, 1)));
        assert!(samples.is_undisputed());
    }
}
