use std::time::Duration;

use parking_lot::Mutex;

use crate::session::{SessionId, SessionMap, Timestamp};

/// The minimum time between two extensions of one tombstone, which is the record of an ended session.
const MIN_EXTENSION_INTERVAL: Duration = Duration::from_secs(60);
/// The maximum number of sessions in the table. When the table is full, it is cleared. Then each tombstone may be
/// extended once more within a minute.
const MAX_SESSIONS: usize = 50_000;

/// The times of the last extensions of tombstones. With these times, each tombstone is extended at most once per
/// minute.
#[derive(Debug, Default)]
pub struct TombstoneExtensions {
    extended_at: Mutex<SessionMap<Timestamp>>,
}

impl TombstoneExtensions {
    /// Returns whether to extend the tombstone now. If so, records the time.
    pub(super) fn should_extend(&self, id: SessionId, now: Timestamp) -> bool {
        let mut extended_at = self.extended_at.lock();
        let is_recent = |at: &Timestamp| *at <= now && now.since(*at) < MIN_EXTENSION_INTERVAL;
        if extended_at.get(&id).is_some_and(is_recent) {
            return false;
        }
        if extended_at.len() >= MAX_SESSIONS {
            extended_at.clear();
        }
        extended_at.insert(id, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::START;

    #[test]
    fn each_tombstone_is_extended_once_a_minute_and_memory_is_bounded() {
        let extensions = TombstoneExtensions::default();
        let id = |number: u128| SessionId::from_bytes(number.to_be_bytes());
        assert!(extensions.should_extend(id(1), START) && extensions.should_extend(id(2), START));
        assert!(!extensions.should_extend(id(1), START.plus(MIN_EXTENSION_INTERVAL / 2)));
        assert!(extensions.should_extend(id(1), START.plus(MIN_EXTENSION_INTERVAL)));
        for number in 0..3 * MAX_SESSIONS as u128 {
            extensions.should_extend(id(number), START);
        }
        assert!(extensions.extended_at.lock().len() <= MAX_SESSIONS);
    }
}
