use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Stopwatch;

/// Maximum number of keys in memory. When there are more keys, all keys are removed.
const MAX_KEYS: usize = 256;

/// Limits the number of log lines: one line for each key in an interval.
#[derive(Debug)]
pub struct Throttle<K> {
    interval: Duration,
    passed: Mutex<HashMap<K, Stopwatch>>,
}

impl<K: Eq + Hash> Throttle<K> {
    /// Creates a throttle with this interval.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            passed: Mutex::default(),
        }
    }

    /// Returns whether a line with this key may be written now.
    pub fn admits(&self, key: K) -> bool {
        let mut passed = self.passed.lock();
        let recent = |since: &Stopwatch| since.seconds() < self.interval.as_secs_f64();
        if passed.get(&key).is_some_and(recent) {
            return false;
        }
        if passed.len() >= MAX_KEYS {
            passed.clear();
        }
        passed.insert(key, Stopwatch::start());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_passes_once_in_an_interval() {
        let throttle = Throttle::new(Duration::from_secs(3600));
        assert!(throttle.admits(1) && throttle.admits(2));
        assert!(!throttle.admits(1) && !throttle.admits(2));
        let short = Throttle::new(Duration::ZERO);
        assert!(short.admits(1) && short.admits(1));
    }
}
