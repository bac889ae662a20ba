//! How replicas agree on decision time (their common time), even if the store's clock jumps.
//!
//! This code reads no clock: callers pass the time of the boot-time clock ("boot time") with every input. So tests can
//! simulate years.

mod join;
mod record;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use super::samples::{AcceptanceRule, Sample, Samples};
use super::slew::{MAX_SLEW_MICROS_PER_MS, Slew};

pub use record::{BootId, TimelineRecord};

/// The parameters of the timeline. Some tests set wrong parameters, to show that the other tests detect the resulting
/// errors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tuning {
    /// The condition for accepting a new offset of the store's clock.
    pub(super) acceptance: AcceptanceRule,
    /// The largest difference between two clocks that agree, in milliseconds.
    pub(super) tolerance: i64,
    /// The maximum difference in speed between decision time and the boot-time clock of this machine, in microseconds
    /// per millisecond.
    pub(super) rate: i64,
    /// A record counts as abandoned if no replica that agrees with the store's clock has refreshed it for this time, in
    /// milliseconds.
    pub(super) abandoned_after: i64,
    /// Whether a starting replica compares the store's time with the record. Only tests switch this comparison off.
    pub(super) verifies_on_join: bool,
}

impl Tuning {
    /// The parameters that `docs/redis.md` documents.
    pub(super) const DEFAULT: Self = Self {
        acceptance: AcceptanceRule {
            min_samples: 3,
            min_span: 2_000,
        },
        tolerance: 250,
        rate: MAX_SLEW_MICROS_PER_MS,
        abandoned_after: 3_000,
        verifies_on_join: true,
    };
}

/// The interval in milliseconds at which replicas refresh the record, so that its time stays current.
const REFRESH_MILLIS: i64 = 1_000;
/// The refresh interval of a replica that disagrees with the store's clock, in milliseconds. This interval is longer
/// than [`REFRESH_MILLIS`], so replicas that agree refresh the record first.
const DISPUTED_REFRESH_MILLIS: i64 = 2 * REFRESH_MILLIS;
/// The divisor for the decay of the timeline's offset: the offset approaches zero by half a microsecond per
/// millisecond (0.05 %). This is half of the slew rate, so replicas can follow the decay and still correct their
/// drift.
const DECAY_DIVISOR: i64 = 2;
/// The largest lag behind the other replicas that a replica corrects by slewing, in milliseconds. A replica with a
/// larger lag counts as paused, and steps forward.
const MAX_SLEWED_LAG_MILLIS: i64 = 2_500;
/// A replica remembers at most this many changes that other replicas made to the record.
const MAX_CHANGES: usize = 4;

/// The action that the caller must take for the record in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimelineAction {
    /// Do nothing, because the record is up to date.
    Keep,
    /// Replace the record in the store with this one, but only if the record in the store has not changed since the
    /// caller read it.
    Write(TimelineRecord),
}

/// The differences between the clocks of this replica, of the store and of the other replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disagreement {
    /// The offset of the store's clock from decision time, in milliseconds; `None` while the two agree.
    pub store_offset_from_decision_time: Option<i64>,
    /// The decision time of the other replicas minus the decision time of this replica, in milliseconds; `None` while
    /// the replicas agree.
    pub replicas_offset: Option<i64>,
    /// Whether an operator has accepted the difference from the store's clock.
    pub is_accepted: bool,
}

/// The clock that an operator accepts as right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptedClock {
    /// The store's clock: decision time steps to it, forward or back.
    Store,
    /// The timeline: decision time does not change.
    Timeline,
}

/// The state of the timeline in one replica.
#[derive(Debug)]
pub(super) struct Timeline {
    tuning: Tuning,
    /// A random number that identifies this replica.
    writer: u64,
    /// The ID of this boot of the machine; `None` if unknown.
    boot_id: Option<BootId>,
    samples: Samples,
    /// Decision time; `None` before this replica has joined.
    slew: Option<Slew>,
    /// The latest record from the store.
    record: Option<TimelineRecord>,
    /// The boot time at which this replica first read the current record.
    record_read_at: i64,
    /// The boot time at which this replica last read a new record whose `is_disputed` is false, or its first record.
    last_undisputed_at: i64,
    /// The changes that other replicas made to the record. Each entry is the boot time of the change, and the lead of
    /// the writer's decision time over this replica's decision time, both in milliseconds.
    changes: VecDeque<(i64, i64)>,
    /// The number of steps that operators have requested and this replica has applied.
    steps: u32,
}

impl Timeline {
    pub(super) fn new(tuning: Tuning, writer: u64, boot_id: Option<BootId>) -> Self {
        Self {
            tuning,
            writer,
            boot_id,
            samples: Samples::default(),
            slew: None,
            record: None,
            record_read_at: 0,
            last_undisputed_at: 0,
            changes: VecDeque::new(),
            steps: 0,
        }
    }

    /// Decision time as a function of boot time; `None` until this replica has joined the timeline.
    pub(super) const fn slew(&self) -> Option<Slew> {
        self.slew
    }

    /// The latest measured offset of the store's clock from boot time, in milliseconds.
    pub(super) fn store_offset_from_boot(&self) -> Option<i64> {
        self.samples.latest_offset()
    }

    /// Adds a measurement of the store's clock.
    pub(super) fn add_sample(&mut self, sample: Sample) {
        self.samples.add(sample, self.tuning.acceptance);
        self.update_slew(sample.at);
    }

    /// Processes a record from the store, and returns the action that the caller must take. `boot` is the boot time
    /// at which the caller read the record. `wall_offset` is the offset of this machine's wall clock from boot time,
    /// in milliseconds.
    pub(super) fn process_record(
        &mut self,
        boot: i64,
        record: Option<TimelineRecord>,
        wall_offset: i64,
    ) -> TimelineAction {
        let has_changed = self.record != record;
        let is_first = has_changed && self.record.is_none();
        if has_changed {
            self.record_read_at = boot;
            self.record = record;
            if is_first || !record.is_some_and(|record| record.is_disputed) {
                self.last_undisputed_at = boot;
            }
        }
        let Some(slew) = self.slew else {
            return self.try_join(boot, has_changed && !is_first, wall_offset);
        };
        if let Some(record) = self.record.filter(|_| has_changed) {
            if record.steps > self.steps {
                self.step_to_store(boot, record);
            } else if record.writer != self.writer && !record.is_disputed {
                let lead = record.at - slew.decision_time(boot);
                self.changes.push_back((boot, lead));
                if self.changes.len() > MAX_CHANGES {
                    self.changes.pop_front();
                }
            }
        }
        self.changes
            .retain(|(at, _)| *at >= boot - 2 * self.tuning.abandoned_after);
        self.catch_up(boot);
        self.update_slew(boot);
        self.maintain_record(boot)
    }

    /// Returns the record that publishes which clock an operator has accepted. The caller must write it to the store,
    /// where all replicas read it. The result is `None` while the samples disagree or are too few, and before this
    /// replica has joined.
    pub(super) fn accept(&self, boot: i64, accepted: AcceptedClock) -> Option<TimelineRecord> {
        let (store_offset, _) = self.samples.accepted_offset().filter(|_| {
            // A disputed offset is not a valid target for a step.
            self.samples.is_settled(self.tuning.acceptance)
        })?;
        let store_time = boot + store_offset;
        let record = self.own_record(boot, self.slew?);
        Some(match accepted {
            AcceptedClock::Store => TimelineRecord {
                offset: 0,
                at: store_time,
                steps: record.steps + 1,
                accepted: None,
                ..record
            },
            AcceptedClock::Timeline => TimelineRecord {
                accepted: Some(record.offset / 1000),
                ..record
            },
        })
    }

    /// The differences between the clocks at the boot time `boot`.
    pub(super) fn disagreement(&self, boot: i64) -> Disagreement {
        let Some(slew) = self.slew else {
            return Disagreement::default();
        };
        let now = slew.decision_time(boot);
        let tolerance = self.tuning.tolerance;
        let exceeds_tolerance = |difference: &i64| difference.abs() > tolerance;
        let store_offset_from_decision_time = self
            .samples
            .latest_offset()
            .map(|store_offset| boot + store_offset - now);
        let accepted = self.record.and_then(|record| record.accepted);
        // The record can be one refresh interval old, so its writer can seem to be behind by one interval.
        let differs = |lead: &i64| *lead > tolerance || *lead < -tolerance - REFRESH_MILLIS;
        let all_differ =
            self.changes.len() > 1 && self.changes.iter().all(|(_, lead)| differs(lead));
        let latest_lead = self.changes.back().map(|(_, lead)| *lead);
        Disagreement {
            store_offset_from_decision_time: store_offset_from_decision_time
                .filter(exceeds_tolerance),
            replicas_offset: latest_lead.filter(|_| all_differ),
            // `accepted` is decision time minus the store's time, so `current` has the opposite sign. An accepted
            // difference can only become smaller, so no operator has accepted a larger difference.
            is_accepted: matches!((accepted, store_offset_from_decision_time), (Some(accepted), Some(current))
                if current.signum() != accepted.signum() && current.abs() <= accepted.abs() + tolerance),
        }
    }

    /// Computes decision time from the record and the accepted samples. Returns it with its uncertainty, both in
    /// milliseconds.
    fn recorded_time(&self, boot: i64, record: TimelineRecord) -> Option<(i64, i64)> {
        let (store_offset, uncertainty) = self.samples.accepted_offset()?;
        Some((
            boot + store_offset + record.offset.div_euclid(1000),
            uncertainty,
        ))
    }

    /// Whether this replica's decision time agrees with the time that follows from the record and the store's clock.
    fn agrees_with_record(&self, boot: i64, slew: Slew, record: TimelineRecord) -> bool {
        self.samples.is_undisputed()
            && self
                .recorded_time(boot, record)
                .is_some_and(|(time, uncertainty)| {
                    (time - slew.decision_time(boot)).abs() <= self.tuning.tolerance + uncertainty
                })
    }

    /// Slews decision time towards the time that follows from the record and the store's clock. While this replica
    /// disagrees with that time, its decision time follows boot time, and slews only towards the time of replicas that
    /// are ahead.
    fn update_slew(&mut self, boot: i64) {
        let Some(slew) = self.slew else { return };
        let target = match (self.record, self.samples.accepted_offset()) {
            (Some(record), Some((store_offset, _)))
                if self.agrees_with_record(boot, slew, record) =>
            {
                store_offset * 1000 + record.offset
            }
            _ => slew.offset(boot) + self.lag_millis() * 1000,
        };
        self.slew = Some(slew.with_target(boot, target));
    }

    /// How far this replica is behind the other replicas, in milliseconds. The result is never too large, because
    /// network delay can only make the lead of another replica look smaller.
    fn lag_millis(&self) -> i64 {
        let min_lead = self.changes.iter().map(|(_, lead)| *lead).min();
        min_lead.map_or(0, |lead| lead.max(0))
    }

    /// Steps forward to the other replicas' time if these replicas have been ahead by more than
    /// [`MAX_SLEWED_LAG_MILLIS`] for two seconds. Such a lag shows that this machine was paused while its boot-time
    /// clock stood still, as in a paused virtual machine.
    fn catch_up(&mut self, boot: i64) {
        let Some(slew) = self.slew else { return };
        let Some((first, _)) = self.changes.front() else {
            return;
        };
        let acceptance = self.tuning.acceptance;
        let min_lead = self.changes.iter().map(|(_, lead)| *lead).min();
        if self.changes.len() >= acceptance.min_samples
            && boot - first >= acceptance.min_span
            && let Some(lead) = min_lead.filter(|lead| *lead > MAX_SLEWED_LAG_MILLIS)
        {
            self.slew = Some(Slew::fixed(
                boot,
                slew.offset(boot) + lead * 1000,
                self.tuning.rate,
            ));
            self.changes.clear();
        }
    }

    /// Applies the step that an operator requested with this record.
    fn step_to_store(&mut self, boot: i64, record: TimelineRecord) {
        self.steps = record.steps;
        // If this replica has measured a different time of the store, it uses the time in the record.
        let offset = match self.recorded_time(boot, record) {
            Some((time, _)) if (time - record.at).abs() <= 2 * REFRESH_MILLIS => time - boot,
            _ => record.at - boot,
        };
        self.slew = Some(Slew::fixed(boot, offset * 1000, self.tuning.rate));
        self.changes.clear();
    }

    /// Returns the action that keeps the record fresh, or that corrects its offset after a jump of the store's clock.
    fn maintain_record(&self, boot: i64) -> TimelineAction {
        let Some(slew) = self.slew else {
            return TimelineAction::Keep;
        };
        let Some(record) = self.record else {
            return match self.samples.accepted_offset() {
                Some(_) => TimelineAction::Write(self.own_record(boot, slew)),
                None => TimelineAction::Keep,
            };
        };
        let age = slew.decision_time(boot) - record.at;
        if self.agrees_with_record(boot, slew, record) {
            // If the time in the record is in the future, its writer has measured a different time of the store. So
            // this replica replaces the time.
            if !(-self.tuning.tolerance..REFRESH_MILLIS).contains(&age) {
                return TimelineAction::Write(self.refreshed_record(boot, slew, record, age));
            }
            return TimelineAction::Keep;
        }
        let is_abandoned = boot - self.last_undisputed_at >= self.tuning.abandoned_after;
        if is_abandoned && self.samples.is_settled(self.tuning.acceptance) {
            return TimelineAction::Write(self.own_record(boot, slew));
        }
        if boot - self.record_read_at >= DISPUTED_REFRESH_MILLIS {
            return TimelineAction::Write(TimelineRecord {
                is_disputed: true,
                ..self.refreshed_record(boot, slew, record, 0)
            });
        }
        TimelineAction::Keep
    }

    /// The record that describes this replica's decision time.
    fn own_record(&self, boot: i64, slew: Slew) -> TimelineRecord {
        let store_offset = self
            .samples
            .accepted_offset()
            .map_or(0, |(offset, _)| offset);
        TimelineRecord {
            offset: slew.offset(boot) - store_offset * 1000,
            at: slew.decision_time(boot),
            writer: self.writer,
            boot: self.boot_id.map(|id| (id, boot)),
            steps: self.steps,
            is_disputed: false,
            accepted: self.record.and_then(|record| record.accepted),
        }
    }

    /// Returns `record` with the current time, and with this replica as its writer. The offset has decayed for `age`
    /// milliseconds, see [`DECAY_DIVISOR`].
    fn refreshed_record(
        &self,
        boot: i64,
        slew: Slew,
        record: TimelineRecord,
        age: i64,
    ) -> TimelineRecord {
        let decay = age.clamp(0, 2 * REFRESH_MILLIS) / DECAY_DIVISOR;
        let offset = record.offset - record.offset.clamp(-decay, decay);
        TimelineRecord {
            offset,
            at: slew.decision_time(boot),
            writer: self.writer,
            boot: self.boot_id.map(|id| (id, boot)),
            is_disputed: false,
            accepted: record.accepted.filter(|_| offset != 0),
            ..record
        }
    }
}
