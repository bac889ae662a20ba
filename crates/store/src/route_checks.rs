//! When checks have arrived for the routes of a cluster. The replicas share these times, because each of them answers only
//! some of the checks.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::StoreError;
use crate::policy::CheckTimes;
use crate::session::Timestamp;

/// A shared time is written again when it is this many minutes later.
const WRITE_AFTER: u32 = 5;

/// A route without checks for this many minutes is forgotten: 90 days.
const FORGET_AFTER: u32 = 90 * 24 * 60;

/// The times of the last checks, by the number of the route.
pub type TimesByRoute = BTreeMap<u64, CheckTimes>;

/// What the replicas know together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedRouteChecks {
    /// When the observation began: the store has had the times of all checks since then.
    pub since: Timestamp,
    /// The last checks.
    pub times: TimesByRoute,
}

/// Shares the times of checks between the replicas.
#[async_trait]
pub trait RouteCheckStore: Send + Sync + 'static {
    /// Adds the times that this replica knows, and returns the later times of all replicas. A time can be a few minutes
    /// old. The first call starts the observation at `now`.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed; repeating the call is safe.
    async fn share_route_checks(
        &self,
        known: &TimesByRoute,
        now: Timestamp,
    ) -> Result<SharedRouteChecks, StoreError>;
}

impl SharedRouteChecks {
    /// Adds the times that a replica knows, and forgets old ones. Returns what the store must write, and what it must
    /// remove.
    pub(crate) fn merge(
        &mut self,
        known: &TimesByRoute,
        now: Timestamp,
    ) -> (TimesByRoute, Vec<u64>) {
        let mut changed = TimesByRoute::new();
        for (route, known) in known {
            let shared = self.times.get(route).copied().unwrap_or_default();
            let latest = shared.latest(*known);
            let is_later = |shared: u32, latest: u32| {
                latest > 0 && (shared == 0 || latest.saturating_sub(shared) >= WRITE_AFTER)
            };
            if is_later(shared.certain, latest.certain)
                || is_later(shared.possible, latest.possible)
            {
                changed.insert(*route, latest);
            }
            if !latest.is_never() {
                self.times.insert(*route, latest);
            }
        }
        let oldest = CheckTimes::minute(now).saturating_sub(FORGET_AFTER);
        let is_old = |times: &CheckTimes| times.certain.max(times.possible) < oldest;
        let old = self.times.iter().filter(|(_, times)| is_old(times));
        let old: Vec<u64> = old.map(|(route, _)| *route).collect();
        for route in &old {
            self.times.remove(route);
            changed.remove(route);
        }
        (changed, old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(certain: u32, possible: u32) -> CheckTimes {
        CheckTimes { certain, possible }
    }

    #[test]
    fn small_differences_are_not_written_and_old_times_are_forgotten() {
        let now = CheckTimes::time(FORGET_AFTER + 100);
        let mut shared = SharedRouteChecks {
            since: Timestamp::default(),
            times: [(1, times(1000, 0)), (2, times(99, 42)), (3, times(0, 1000))].into(),
        };
        let known = [
            (1, times(1004, 0)),
            (3, times(1, 1000)),
            (4, times(0, 0)),
            (5, times(7, 7)),
        ];
        let (changed, removed) = shared.merge(&known.into(), now);
        assert_eq!(changed, [(3, times(1, 1000))].into());
        assert_eq!(removed, [2, 5]);
        assert_eq!(
            shared.times,
            [(1, times(1004, 0)), (3, times(1, 1000))].into()
        );
        let (changed, removed) = shared.merge(&[(1, times(1009, 0))].into(), now);
        assert_eq!(
            (changed, removed),
            ([(1, times(1009, 0))].into(), Vec::new())
        );
    }
}
