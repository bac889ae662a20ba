use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::Clock;
use crate::session::Timestamp;

/// How many samples are looked back at: the one with the shortest way is the best of them.
const SAMPLES: usize = 8;
/// The most by which one sample moves the clock, in milliseconds, unless it must jump.
const STEP: i64 = 5;
/// A difference that no delay explains: by so many milliseconds more than the way took.
const JUMP: i64 = 100;

/// The local clock, corrected to the clock of the store that all replicas share, so that replicas
/// whose clocks differ decide alike.
///
/// The correction follows the store in small steps, and in one where the difference is too large
/// to be a matter of the network: the store's machine is another one after a fail-over. The time
/// never goes backwards: where the store's does, it stands still until that has caught up.
pub struct StoreClock {
    local: Arc<dyn Clock>,
    /// Milliseconds to add to the local clock.
    offset: AtomicI64,
    /// The latest time that was told.
    latest: AtomicU64,
    samples: Mutex<VecDeque<Sample>>,
}

/// What one question for the store's time told, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// How far the store is ahead of the local clock, give or take half of `way`.
    offset: i64,
    /// How long the answer took.
    way: i64,
}

impl StoreClock {
    /// A clock that shows the local time until the first sample.
    #[must_use]
    pub fn new(local: Arc<dyn Clock>) -> Self {
        Self {
            local,
            offset: AtomicI64::new(0),
            latest: AtomicU64::new(0),
            samples: Mutex::default(),
        }
    }

    /// The local clock.
    #[must_use]
    pub fn local(&self) -> Timestamp {
        self.local.now()
    }

    /// How far the store is ahead of the local clock, in milliseconds; negative where it is behind.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.offset.load(Ordering::Relaxed)
    }

    /// Takes note that the store was asked at `sent`, answered `store`, and that the answer came
    /// at `received`; both by the local clock.
    pub fn sample(&self, sent: Timestamp, store: Timestamp, received: Timestamp) {
        let way = millis(received).saturating_sub(millis(sent)).max(0);
        let sample = Sample {
            offset: millis(store) - millis(sent) - way / 2,
            way,
        };
        let mut samples = self.samples.lock();
        let first = samples.is_empty();
        let current = self.offset();
        if first || (sample.offset - current).abs() > JUMP + sample.way {
            // What was known before is about another clock.
            samples.clear();
            samples.push_back(sample);
            self.offset.store(sample.offset, Ordering::Relaxed);
            return;
        }
        samples.push_back(sample);
        if samples.len() > SAMPLES {
            samples.pop_front();
        }
        let best = samples.iter().min_by_key(|sample| sample.way);
        let target = best.map_or(current, |best| best.offset);
        let step = (target - current).clamp(-STEP, STEP);
        self.offset.store(current + step, Ordering::Relaxed);
    }
}

impl Clock for StoreClock {
    fn now(&self) -> Timestamp {
        let local = self.local.now().as_millis();
        let now = Timestamp::from_millis(local.saturating_add_signed(self.offset())).as_millis();
        let told = self.latest.load(Ordering::Relaxed);
        if now <= told {
            return Timestamp::from_millis(told);
        }
        let before = self.latest.fetch_max(now, Ordering::Relaxed);
        Timestamp::from_millis(before.max(now))
    }
}

fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::ManualClock;
    use crate::testing::{MINUTE, SECOND, START};

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A machine's clock, and what corrects it.
    fn machine(shows: Timestamp) -> (ManualClock, StoreClock) {
        let local = ManualClock::new(shows);
        (local.clone(), StoreClock::new(Arc::new(local)))
    }

    /// Asks the store for the time; each way takes so long.
    fn ask(local: &ManualClock, clock: &StoreClock, store: &ManualClock, there: u64, back: u64) {
        let sent = local.now();
        local.advance(ms(there));
        store.advance(ms(there));
        let answer = store.now();
        local.advance(ms(back));
        store.advance(ms(back));
        clock.sample(sent, answer, local.now());
    }

    #[test]
    fn machines_minutes_apart_show_the_same_time() {
        let store = ManualClock::new(START);
        for wrong in [START.plus(7 * MINUTE), START.minus(5 * MINUTE), START] {
            let (local, clock) = machine(wrong);
            ask(&local, &clock, &store, 1, 1);
            assert_eq!(clock.now(), store.now());
            local.advance(MINUTE);
            store.advance(MINUTE);
            assert_eq!(clock.now(), store.now());
        }
    }

    #[test]
    fn a_slow_answer_moves_it_little_and_the_quickest_counts() {
        let store = ManualClock::new(START);
        let (local, clock) = machine(START);
        ask(&local, &clock, &store, 1, 1);
        for _ in 0..5 {
            // All of the delay is on the way back: by half of it the answer misleads.
            ask(&local, &clock, &store, 0, 80);
            assert!(clock.offset().abs() <= STEP, "{}", clock.offset());
        }
    }

    #[test]
    fn drift_is_followed_in_small_steps() {
        let store = ManualClock::new(START);
        let (local, clock) = machine(START);
        ask(&local, &clock, &store, 0, 0);
        for _ in 0..30 {
            local.advance(SECOND);
            store.advance(SECOND + ms(2));
            let before = clock.offset();
            ask(&local, &clock, &store, 0, 0);
            assert!((clock.offset() - before).abs() <= STEP);
        }
        let error = millis(store.now()) - millis(clock.now());
        assert!((0..=20).contains(&error), "{error} ms behind");
    }

    #[test]
    fn after_a_fail_over_the_new_clock_counts_at_once_and_time_never_goes_back() {
        let mut store = ManualClock::new(START);
        let (local, clock) = machine(START);
        ask(&local, &clock, &store, 0, 0);
        let before = clock.now();
        store = ManualClock::new(START.plus(3 * MINUTE));
        ask(&local, &clock, &store, 0, 0);
        assert_eq!(clock.now(), before.plus(3 * MINUTE));
        store = ManualClock::new(START.plus(2 * MINUTE));
        ask(&local, &clock, &store, 0, 0);
        assert_eq!(clock.now(), before.plus(3 * MINUTE), "it stands still");
        local.advance(MINUTE + SECOND);
        assert_eq!(clock.now(), START.plus(3 * MINUTE + SECOND), "and goes on");
    }

    proptest! {
        #[test]
        fn it_never_goes_backwards(steps in proptest::collection::vec(
            (0_u64..5_000, 0_u64..400, 0_u64..400, -200_000_i64..200_000), 1..60,
        )) {
            let (local, clock) = machine(START);
            let mut latest = clock.now();
            for (pause, there, back, ahead) in steps {
                local.advance(ms(pause));
                let at = local.now().as_millis().saturating_add_signed(ahead);
                ask(&local, &clock, &ManualClock::new(Timestamp::from_millis(at)), there, back);
                let now = clock.now();
                prop_assert!(now >= latest);
                latest = now;
            }
        }
    }
}
