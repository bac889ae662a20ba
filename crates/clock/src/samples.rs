use std::collections::VecDeque;

/// How many samples an estimate looks back at.
const WINDOW: usize = 8;
/// After a pause in the samples, drift makes the ones before it useless.
const MAX_AGE_MILLIS: i64 = 10_000;
/// A difference between two samples that neither delay nor drift explains, in milliseconds.
const JUMP_MILLIS: i64 = 100;
/// A clock that NTP corrects runs at most 0.05 % fast or slow; two of them differ by twice that.
const DRIFT_DIVISOR: i64 = 1_000;

/// What one question for the store's time told, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// The boot time at which the answer came.
    pub(super) at: i64,
    /// How far the store is ahead of boot time, give or take half of `way`.
    pub(super) ahead: i64,
    /// How long the answer took.
    pub(super) way: i64,
}

/// When a new reading of the store's clock is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settling {
    /// How many samples have to agree.
    pub(super) samples: usize,
    /// Over how long, in milliseconds.
    pub(super) over: i64,
}

/// The latest samples of the store's clock: those that agree with the reading that is believed,
/// and those that speak for another one.
#[derive(Debug, Default)]
pub(super) struct Samples {
    believed: VecDeque<Sample>,
    others: VecDeque<Sample>,
}

impl Samples {
    /// Takes a sample in.
    pub(super) fn add(&mut self, sample: Sample, settling: Settling) {
        if self.believed.is_empty() || agrees(&self.believed, sample) {
            self.others.clear();
            push(&mut self.believed, sample);
            return;
        }
        if !agrees(&self.others, sample) {
            self.others.clear();
        }
        push(&mut self.others, sample);
        if is_settled(&self.others, settling) {
            self.believed = std::mem::take(&mut self.others);
        }
    }

    /// How far the store is ahead of boot time, in milliseconds, and the uncertainty of that: by
    /// the sample with the shortest way of those that are believed.
    pub(super) fn ahead(&self) -> Option<(i64, i64)> {
        best(&self.believed).map(|best| (best.ahead, best.way / 2))
    }

    /// How far the store is ahead of boot time by the latest samples, believed or not.
    pub(super) fn latest(&self) -> Option<i64> {
        best(&self.others)
            .or_else(|| best(&self.believed))
            .map(|best| best.ahead)
    }

    /// Whether the latest sample agrees with the reading that is believed.
    pub(super) fn is_undisputed(&self) -> bool {
        self.others.is_empty()
    }

    /// Whether enough samples over enough time agree.
    pub(super) fn is_settled(&self, settling: Settling) -> bool {
        self.is_undisputed() && is_settled(&self.believed, settling)
    }
}

fn push(samples: &mut VecDeque<Sample>, sample: Sample) {
    samples.retain(|earlier| earlier.at >= sample.at - MAX_AGE_MILLIS);
    // The first one stays: it says for how long they agree.
    if samples.len() >= WINDOW {
        samples.remove(1);
    }
    samples.push_back(sample);
}

fn best(samples: &VecDeque<Sample>) -> Option<Sample> {
    // The oldest of a long run tells of a time that drift has changed.
    let skipped = usize::from(samples.len() >= WINDOW);
    let recent = samples.iter().skip(skipped);
    recent.copied().min_by_key(|sample| sample.way)
}

fn agrees(samples: &VecDeque<Sample>, sample: Sample) -> bool {
    let (Some(best), Some(last)) = (best(samples), samples.back()) else {
        return false;
    };
    let drift = (sample.at - last.at).max(0) / DRIFT_DIVISOR;
    let tolerance = JUMP_MILLIS + (best.way + sample.way) / 2 + drift;
    (sample.ahead - best.ahead).abs() <= tolerance
}

fn is_settled(samples: &VecDeque<Sample>, settling: Settling) -> bool {
    let span = match (samples.front(), samples.back()) {
        (Some(first), Some(last)) => last.at - first.at,
        _ => return false,
    };
    samples.len() >= settling.samples && span >= settling.over
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLING: Settling = Settling {
        samples: 3,
        over: 2_000,
    };

    fn sample(at: i64, ahead: i64) -> Sample {
        Sample { at, ahead, way: 2 }
    }

    fn after(samples: &[(i64, i64)]) -> Samples {
        let mut all = Samples::default();
        for (at, ahead) in samples {
            all.add(sample(*at, *ahead), SETTLING);
        }
        all
    }

    #[test]
    fn one_answer_changes_nothing() {
        let all = after(&[(0, 7), (500, 7), (1_000, 86_400_000), (1_500, 7)]);
        assert_eq!(all.ahead(), Some((7, 1)));
        assert!(all.is_undisputed());
    }

    #[test]
    fn several_answers_over_two_seconds_do() {
        let hour = 3_600_000;
        let mut all = after(&[(0, 7), (500, hour), (1_000, hour), (2_499, hour)]);
        assert_eq!(all.ahead(), Some((7, 1)), "less than two seconds");
        assert_eq!(all.latest(), Some(hour));
        assert!(!all.is_settled(SETTLING));
        all.add(sample(2_500, hour), SETTLING);
        assert_eq!(all.ahead(), Some((hour, 1)));
        assert!(all.is_settled(SETTLING));
    }

    #[test]
    fn answers_that_disagree_with_each_other_do_not() {
        let mut all = after(&[(0, 7)]);
        for at in 1..40 {
            all.add(sample(at * 500, at * 60_000), SETTLING);
        }
        assert_eq!(all.ahead(), Some((7, 1)));
    }

    #[test]
    fn the_quickest_answer_counts() {
        let mut all = after(&[(0, 7)]);
        let slow = Sample {
            at: 500,
            ahead: 200,
            way: 400,
        };
        all.add(slow, SETTLING);
        assert_eq!(all.ahead(), Some((7, 1)));
        assert!(all.is_undisputed());
    }
}
