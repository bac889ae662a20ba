//! The join: a starting replica determines the decision time of the other replicas.

use super::super::slew::Slew;
use super::{DISPUTED_REFRESH_MILLIS, REFRESH_MILLIS, Timeline, TimelineAction, TimelineRecord};

/// The maximum age of a record that running replicas refresh, in milliseconds: the sum of a refresh interval and one
/// second for the heartbeats.
const FRESH_MILLIS: i64 = REFRESH_MILLIS + 1_000;
/// The largest difference between two clocks that follow NTP, in milliseconds.
const WALL_TOLERANCE_MILLIS: i64 = 1_000;

impl Timeline {
    /// Joins the timeline if this replica can determine the timeline's time. Returns the action that the caller must
    /// take for the record. `was_refreshed` means that another replica has just written the record.
    pub(super) fn join(&mut self, boot: i64, was_refreshed: bool, wall: i64) -> TimelineAction {
        let Some((ahead, uncertainty)) = self.samples.accepted_offset() else {
            return TimelineAction::Keep;
        };
        let offset = match self.record {
            None => self.join_first(ahead, wall),
            Some(record) if !self.tuning.verifies_on_join => Some(ahead + record.offset / 1000),
            Some(record) => self
                .join_same_boot(boot, record)
                .or_else(|| self.join_fresh(boot, record, ahead, uncertainty))
                .or_else(|| was_refreshed.then(|| self.join_refreshed(boot, record, ahead, wall)))
                .or_else(|| self.join_abandoned(boot, record, ahead, wall)),
        };
        let Some(offset) = offset else {
            return TimelineAction::Keep;
        };
        let slew = Slew::at(boot, offset * 1000, self.tuning.rate);
        self.slew = Some(slew);
        self.steps = self.record.map_or(0, |record| record.steps);
        self.maintain(boot)
    }

    /// Returns the offset of decision time from boot time for a store without a record. Either no replica ran before,
    /// or the store has lost the record. All offsets are in milliseconds.
    fn join_first(&self, ahead: i64, wall: i64) -> Option<i64> {
        let agree = self.samples.is_undisputed() && (ahead - wall).abs() <= WALL_TOLERANCE_MILLIS;
        (agree || self.samples.is_settled(self.tuning.acceptance)).then_some(ahead)
    }

    /// Returns the offset if a process on this machine wrote the record and the machine has not rebooted since. The
    /// boot-time clock then gives the age of the record, so jumps of other clocks have no effect.
    fn join_same_boot(&self, boot: i64, record: TimelineRecord) -> Option<i64> {
        let (id, at) = record.boot?;
        (Some(id) == self.boot_id && boot >= at).then_some(record.at - at)
    }

    /// Returns the offset if the record is fresh according to the store's clock. A fresh record shows that this clock
    /// has not jumped.
    fn join_fresh(
        &self,
        boot: i64,
        record: TimelineRecord,
        ahead: i64,
        uncertainty: i64,
    ) -> Option<i64> {
        let time = boot + ahead + record.offset.div_euclid(1000);
        let tolerance = self.tuning.tolerance + uncertainty;
        let age = time - record.at;
        let fresh = -tolerance..=FRESH_MILLIS;
        (self.samples.is_undisputed() && fresh.contains(&age)).then_some(time - boot)
    }

    /// Returns the offset if another replica runs and has just written its time. An attacker with write access to the
    /// store can replay old records. Therefore decision time is at least the earlier of the store's clock and this
    /// machine's wall clock, minus [`WALL_TOLERANCE_MILLIS`].
    fn join_refreshed(&self, boot: i64, record: TimelineRecord, ahead: i64, wall: i64) -> i64 {
        (record.at - boot).max(ahead.min(wall) - WALL_TOLERANCE_MILLIS)
    }

    /// Returns the offset if no replica runs. The offset in the record may then be outdated, so this machine's wall
    /// clock decides whether the function adds that offset to the store's time. Decision time is at least the time in
    /// the record.
    fn join_abandoned(
        &self,
        boot: i64,
        record: TimelineRecord,
        ahead: i64,
        wall: i64,
    ) -> Option<i64> {
        let is_abandoned =
            boot - self.record_since >= self.tuning.abandoned_after + DISPUTED_REFRESH_MILLIS;
        if !is_abandoned || !self.samples.is_settled(self.tuning.acceptance) {
            return None;
        }
        let with_offset = ahead + record.offset.div_euclid(1000);
        let is_plausible = |time: i64| (time - wall).abs() <= WALL_TOLERANCE_MILLIS;
        let chosen = match (is_plausible(with_offset), is_plausible(ahead)) {
            (false, true) => ahead,
            (true, _) => with_offset,
            // The later time counts: a session may end early, but never late.
            (false, false) => with_offset.max(ahead),
        };
        Some(chosen.max(record.at - boot))
    }
}
