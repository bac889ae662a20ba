use std::collections::VecDeque;

/// The number of samples for an estimate.
const WINDOW: usize = 8;
/// The maximum age of a sample, in milliseconds: clock drift makes older ones inaccurate.
const MAX_AGE_MILLIS: i64 = 10_000;
/// A difference between two samples that neither network delay nor drift explains, in milliseconds.
const JUMP_MILLIS: i64 = 100;
/// NTP keeps a clock within 0.05 % of the true rate, so two clocks differ by at most twice that.
const DRIFT_DIVISOR: i64 = 1_000;

/// One measurement of the store's clock, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// The boot time at which the response arrived.
    pub(super) at: i64,
    /// The offset of the store's clock from boot time, accurate to half of `round_trip`.
    pub(super) ahead: i64,
    /// The round-trip time of the request.
    pub(super) round_trip: i64,
}

/// The condition for accepting a new offset of the store's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AcceptanceRule {
    /// The number of samples that must agree.
    pub(super) samples: usize,
    /// The minimum time between the first and the last of them, in milliseconds.
    pub(super) over: i64,
}

/// The latest samples of the store's clock: those that agree with the accepted offset, and those that agree on
/// another one.
#[derive(Debug, Default)]
pub(super) struct Samples {
    accepted: VecDeque<Sample>,
    candidates: VecDeque<Sample>,
}

impl Samples {
    /// Adds a sample, and accepts another offset if enough samples agree on it.
    pub(super) fn add(&mut self, sample: Sample, settling: AcceptanceRule) {
        if self.accepted.is_empty() || agrees(&self.accepted, sample) {
            self.candidates.clear();
            push(&mut self.accepted, sample);
            return;
        }
        if !agrees(&self.candidates, sample) {
            self.candidates.clear();
        }
        push(&mut self.candidates, sample);
        if is_settled(&self.candidates, settling) {
            self.accepted = std::mem::take(&mut self.candidates);
        }
    }

    /// The accepted offset of the store's clock from boot time, and its uncertainty, in milliseconds. The sample with
    /// the shortest round trip determines it.
    pub(super) fn ahead(&self) -> Option<(i64, i64)> {
        best(&self.accepted).map(|best| (best.ahead, best.round_trip / 2))
    }

    /// The latest measured offset of the store's clock from boot time, accepted or not, in milliseconds.
    pub(super) fn latest(&self) -> Option<i64> {
        best(&self.candidates)
            .or_else(|| best(&self.accepted))
            .map(|best| best.ahead)
    }

    /// Whether the latest sample agrees with the accepted offset.
    pub(super) fn is_undisputed(&self) -> bool {
        self.candidates.is_empty()
    }

    /// Whether enough samples over enough time agree with the accepted offset.
    pub(super) fn is_settled(&self, settling: AcceptanceRule) -> bool {
        self.is_undisputed() && is_settled(&self.accepted, settling)
    }
}

fn push(samples: &mut VecDeque<Sample>, sample: Sample) {
    samples.retain(|earlier| earlier.at >= sample.at - MAX_AGE_MILLIS);
    // The first sample stays, because its time shows how long the samples have agreed.
    if samples.len() >= WINDOW {
        samples.remove(1);
    }
    samples.push_back(sample);
}

fn best(samples: &VecDeque<Sample>) -> Option<Sample> {
    // Skip the first sample of a full window: drift has made it inaccurate.
    let skipped = usize::from(samples.len() >= WINDOW);
    let recent = samples.iter().skip(skipped);
    recent.copied().min_by_key(|sample| sample.round_trip)
}

fn agrees(samples: &VecDeque<Sample>, sample: Sample) -> bool {
    let (Some(best), Some(last)) = (best(samples), samples.back()) else {
        return false;
    };
    let drift = (sample.at - last.at).max(0) / DRIFT_DIVISOR;
    let tolerance = JUMP_MILLIS + (best.round_trip + sample.round_trip) / 2 + drift;
    (sample.ahead - best.ahead).abs() <= tolerance
}

fn is_settled(samples: &VecDeque<Sample>, settling: AcceptanceRule) -> bool {
    let span = match (samples.front(), samples.back()) {
        (Some(first), Some(last)) => last.at - first.at,
        _ => return false,
    };
    samples.len() >= settling.samples && span >= settling.over
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACK_RETRIES: AcceptanceRule = AcceptanceRule {
        samples: 3,
        over: 2_000,
    };

    fn sample(at: i64, ahead: i64) -> Sample {
        Sample {
            at,
            ahead,
            round_trip: 2,
        }
    }

    fn after(samples: &[(i64, i64)]) -> Samples {
        let mut all = Samples::default();
        for (at, ahead) in samples {
            all.add(sample(*at, *ahead), ACK_RETRIES);
        }
        all
    }

    #[test]
    fn one_outlier_has_no_effect() {
        let all = after(&[(0, 7), (500, 7), (1_000, 86_400_000), (1_500, 7)]);
        assert_eq!(all.ahead(), Some((7, 1)));
        assert!(all.is_undisputed());
    }

    #[test]
    fn several_samples_over_two_seconds_are_accepted() {
        let hour = 3_600_000;
        let mut all = after(&[(0, 7), (500, hour), (1_000, hour), (2_499, hour)]);
        assert_eq!(all.ahead(), Some((7, 1)), "less than two seconds");
        assert_eq!(all.latest(), Some(hour));
        assert!(!all.is_settled(ACK_RETRIES));
        all.add(sample(2_500, hour), ACK_RETRIES);
        assert_eq!(all.ahead(), Some((hour, 1)));
        assert!(all.is_settled(ACK_RETRIES));
    }

    #[test]
    fn samples_that_disagree_with_each_other_are_not_accepted() {
        let mut all = after(&[(0, 7)]);
        for at in 1..40 {
            all.add(sample(at * 500, at * 60_000), ACK_RETRIES);
        }
        assert_eq!(all.ahead(), Some((7, 1)));
    }

    #[test]
    fn the_sample_with_the_shortest_round_trip_counts() {
        let mut all = after(&[(0, 7)]);
        let slow = Sample {
            at: 500,
            ahead: 200,
            round_trip: 400,
        };
        all.add(slow, ACK_RETRIES);
        assert_eq!(all.ahead(), Some((7, 1)));
        assert!(all.is_undisputed());
    }
}
