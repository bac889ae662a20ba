//! The join: a starting replica determines the decision time of the other replicas.

use super::super::slew::Slew;
use super::{DISPUTED_REFRESH_MILLIS, REFRESH_MILLIS, Timeline, TimelineAction, TimelineRecord};

/// The maximum age of a record that running replicas refresh, in milliseconds: the sum of a refresh interval and one
/// second for the heartbeats.
const MAX_FRESH_AGE_MILLIS: i64 = REFRESH_MILLIS + 1_000;
/// The largest difference between two clocks that follow NTP, in milliseconds.
const WALL_TOLERANCE_MILLIS: i64 = 1_000;

impl Timeline {
    /// Joins the timeline if this replica can determine decision time. Returns the action that the caller must take for
    /// the record. `was_refreshed` means that another replica has just written the record. `wall_offset` is the offset
    /// of this machine's wall clock from boot time, in milliseconds.
    pub(super) fn try_join(
        &mut self,
        boot: i64,
        was_refreshed: bool,
        wall_offset: i64,
    ) -> TimelineAction {
        let Some((store_offset, uncertainty)) = self.samples.accepted_offset() else {
            return TimelineAction::Keep;
        };
        let offset = match self.record {
            None => self.offset_without_record(store_offset, wall_offset),
            Some(record) if !self.tuning.verifies_on_join => {
                Some(store_offset + record.offset / 1000)
            }
            Some(record) => self
                .offset_from_same_boot(boot, record)
                .or_else(|| self.offset_from_fresh_record(boot, record, store_offset, uncertainty))
                .or_else(|| {
                    was_refreshed.then(|| {
                        self.offset_from_refreshed_record(boot, record, store_offset, wall_offset)
                    })
                })
                .or_else(|| {
                    self.offset_from_abandoned_record(boot, record, store_offset, wall_offset)
                }),
        };
        let Some(offset) = offset else {
            return TimelineAction::Keep;
        };
        let slew = Slew::fixed(boot, offset * 1000, self.tuning.rate);
        self.slew = Some(slew);
        self.steps = self.record.map_or(0, |record| record.steps);
        self.maintain_record(boot)
    }

    /// Returns the offset of decision time from boot time for a store without a record. Such a store is new, or has
    /// lost the record. All offsets are in milliseconds.
    fn offset_without_record(&self, store_offset: i64, wall_offset: i64) -> Option<i64> {
        let clocks_agree = self.samples.is_undisputed()
            && (store_offset - wall_offset).abs() <= WALL_TOLERANCE_MILLIS;
        (clocks_agree || self.samples.is_settled(self.tuning.acceptance)).then_some(store_offset)
    }

    /// Returns the offset of decision time if a process on this machine wrote the record and the machine has not
    /// rebooted since. Then the boot-time clock shows the age of the record, so jumps of other clocks have no effect.
    fn offset_from_same_boot(&self, boot: i64, record: TimelineRecord) -> Option<i64> {
        let (id, at) = record.boot?;
        (Some(id) == self.boot_id && boot >= at).then_some(record.at - at)
    }

    /// Returns the offset of decision time if the record is fresh according to the store's clock. A fresh record shows
    /// that this clock has not jumped.
    fn offset_from_fresh_record(
        &self,
        boot: i64,
        record: TimelineRecord,
        store_offset: i64,
        uncertainty: i64,
    ) -> Option<i64> {
        let time = boot + store_offset + record.offset.div_euclid(1000);
        let tolerance = self.tuning.tolerance + uncertainty;
        let age = time - record.at;
        let fresh_ages = -tolerance..=MAX_FRESH_AGE_MILLIS;
        (self.samples.is_undisputed() && fresh_ages.contains(&age)).then_some(time - boot)
    }

    /// Returns the offset of decision time for a record that another running replica has just written. But an attacker
    /// with write access to the store can also write an old record again. Therefore decision time is at least the time
    /// of the store's clock or of this machine's wall clock, whichever is earlier, minus [`WALL_TOLERANCE_MILLIS`].
    fn offset_from_refreshed_record(
        &self,
        boot: i64,
        record: TimelineRecord,
        store_offset: i64,
        wall_offset: i64,
    ) -> i64 {
        (record.at - boot).max(store_offset.min(wall_offset) - WALL_TOLERANCE_MILLIS)
    }

    /// Returns the offset of decision time if no replica runs. The offset in the record may then be outdated, so this
    /// machine's wall clock decides whether the function adds that offset to the store's time. Decision time is at
    /// least the time in the record.
    fn offset_from_abandoned_record(
        &self,
        boot: i64,
        record: TimelineRecord,
        store_offset: i64,
        wall_offset: i64,
    ) -> Option<i64> {
        let is_abandoned =
            boot - self.record_read_at >= self.tuning.abandoned_after + DISPUTED_REFRESH_MILLIS;
        if !is_abandoned || !self.samples.is_settled(self.tuning.acceptance) {
            return None;
        }
        let with_record_offset = store_offset + record.offset.div_euclid(1000);
        let is_plausible = |offset: i64| (offset - wall_offset).abs() <= WALL_TOLERANCE_MILLIS;
        let offset = match (is_plausible(with_record_offset), is_plausible(store_offset)) {
            (false, true) => store_offset,
            (true, _) => with_record_offset,
            // The later time counts, because a session may end early, but never late.
            (false, false) => with_record_offset.max(store_offset),
        };
        Some(offset.max(record.at - boot))
    }
}
