use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Stopwatch;

/// Maximum number of keys in memory. At this number, all keys are removed before a new key is added.
const MAX_KEYS: usize = 256;

/// Limits the number of log lines: at most one line for each key in an interval.
#[derive(Debug)]
pub struct Throttle<K> {
    interval: Duration,
    last_admitted: Mutex<HashMap<K, Stopwatch>>,
}

impl<K: Eq + Hash> Throttle<K> {
    /// Creates a throttle with this interval.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            last_admitted: Mutex::default(),
        }
    }

    /// Returns whether a line with this key may be written now.
    pub fn admits(&self, key: K) -> bool {
        let mut last_admitted = self.last_admitted.lock();
        let is_recent = |age: &Stopwatch| age.seconds() < self.interval.as_secs_f64();
        if last_admitted.get(&key).is_some_and(is_recent) {
            return false;
        }
        if last_admitted.len() >= MAX_KEYS {
            last_admitted.clear();
        }
        last_admitted.insert(key, Stopwatch::start());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_admitted_once_in_an_interval() {
        let throttle = Throttle::new(Duration::from_secs(3600));
        assert!(throttle.admits(1) && throttle.admits(2));
        assert!(!throttle.admits(1) && !throttle.admits(2));
        let short = Throttle::new(Duration::ZERO);
        assert!(short.admits(1) && short.admits(1));
    }
}
