//! How replicas agree on the time, whatever the clock of the store does.
//!
//! Pure: every input carries its boot time, so tests run years of it.

mod join;
#[cfg(test)]
mod model;
mod record;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use super::samples::{Sample, Samples, Settling};
use super::slew::{MAX_SLEW_MICROS_PER_MS, Slew};

pub use record::{BootId, TimelineRecord};

/// What the timeline is tuned with; tests put faults in here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tuning {
    /// When another reading of the store's clock is believed.
    pub(super) settling: Settling,
    /// Two clocks that differ by less agree, in milliseconds.
    pub(super) tolerance: i64,
    /// How fast decision time may run against boot time, in microseconds for a millisecond.
    pub(super) rate: i64,
    /// A record that nobody has refreshed for so long belongs to no running replica, in milliseconds.
    pub(super) abandoned_after: i64,
    /// Whether a replica that starts compares the store's time with the time in the record.
    pub(super) joins_with_care: bool,
}

impl Tuning {
    /// As documented in `docs/redis.md`.
    pub(super) const DEFAULT: Self = Self {
        settling: Settling {
            samples: 3,
            over: 2_000,
        },
        tolerance: 250,
        rate: MAX_SLEW_MICROS_PER_MS,
        abandoned_after: 3_000,
        joins_with_care: true,
    };
}

/// How often a record is refreshed, in milliseconds.
const REFRESH_MILLIS: i64 = 1_000;
/// How long a record stands before a replica that disagrees with the store's clock refreshes it, in milliseconds:
/// later than all that agree.
const DISPUTED_MILLIS: i64 = 2 * REFRESH_MILLIS;
/// The offset of the timeline goes back to zero by so many microseconds in a millisecond (0.05 %): half of the slew,
/// so that replicas follow it and still correct their drift.
const DECAY_DIVISOR: i64 = 2;
/// Only a machine that stood still is further behind the others, in milliseconds; less is slewed.
const STOOD_STILL_MILLIS: i64 = 2_500;
/// How many changes of the record by others are remembered.
const CHANGES: usize = 4;

/// What has to be done with the record in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Keep,
    /// Replace the record that was read, if it still is the same.
    Write(TimelineRecord),
}

/// How the clocks of this replica, of the store and of the other replicas differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disagreement {
    /// How far the store's clock is ahead of decision time, in milliseconds, where they disagree.
    pub store_ahead: Option<i64>,
    /// How far the other replicas are ahead of this one, in milliseconds, where they disagree.
    pub replicas_ahead: Option<i64>,
    /// An operator has accepted the difference from the store's clock.
    pub is_accepted: bool,
}

/// Which clock an operator says is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// That of the store: decision time steps to it, forward or back.
    Store,
    /// Decision time as it is.
    Timeline,
}

/// The state of one replica.
#[derive(Debug)]
pub(super) struct Timeline {
    tuning: Tuning,
    /// A number that tells this replica from others.
    writer: u64,
    /// The boot of this machine, where it is known.
    boot_id: Option<BootId>,
    samples: Samples,
    /// Decision time, once it is known.
    slew: Option<Slew>,
    /// The record, as it was read last.
    record: Option<TimelineRecord>,
    /// When the record was first read as it is now.
    record_since: i64,
    /// The boot time at which a record without `is_disputed` was read last.
    undisputed_since: i64,
    /// When others changed the record, and how far they were ahead of this replica then.
    changes: VecDeque<(i64, i64)>,
    /// How many steps of an operator are applied.
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
            record_since: 0,
            undisputed_since: 0,
            changes: VecDeque::new(),
            steps: 0,
        }
    }

    /// Decision time as a function of boot time; `None` until this replica has joined the timeline.
    pub(super) const fn slew(&self) -> Option<Slew> {
        self.slew
    }

    /// How far the store's clock is ahead of boot time by the latest samples, in milliseconds.
    pub(super) fn store_ahead_of_boot(&self) -> Option<i64> {
        self.samples.latest()
    }

    /// Takes in what the store answered.
    pub(super) fn sample(&mut self, sample: Sample) {
        self.samples.add(sample, self.tuning.settling);
        self.follow(sample.at);
    }

    /// Takes in the record as it was read at a boot time; answers what to do with it. `wall` is how
    /// far the wall clock of this machine is ahead of boot time, in milliseconds.
    pub(super) fn read(&mut self, boot: i64, record: Option<TimelineRecord>, wall: i64) -> Action {
        let changed = self.record != record;
        let is_first = changed && self.record.is_none();
        if changed {
            self.record_since = boot;
            self.record = record;
            if is_first || !record.is_some_and(|record| record.is_disputed) {
                self.undisputed_since = boot;
            }
        }
        let Some(slew) = self.slew else {
            return self.join(boot, changed && !is_first, wall);
        };
        if let Some(record) = self.record.filter(|_| changed) {
            if record.steps > self.steps {
                self.step_to_store(boot, record);
            } else if record.writer != self.writer && !record.is_disputed {
                let ahead = record.at - slew.now(boot);
                self.changes.push_back((boot, ahead));
                if self.changes.len() > CHANGES {
                    self.changes.pop_front();
                }
            }
        }
        self.changes
            .retain(|(at, _)| *at >= boot - 2 * self.tuning.abandoned_after);
        self.catch_up(boot);
        self.follow(boot);
        self.maintain(boot)
    }

    /// What an operator's word makes of the record; `None` where too little is known yet.
    pub(super) fn accept(&self, boot: i64, accepted: Accepted) -> Option<TimelineRecord> {
        let (ahead, _) = self.samples.ahead().filter(|_| {
            // A reading that is disputed is no time to step to.
            self.samples.is_settled(self.tuning.settling)
        })?;
        let store = boot + ahead;
        let record = self.own_record(boot, self.slew?);
        Some(match accepted {
            Accepted::Store => TimelineRecord {
                offset: 0,
                at: store,
                steps: record.steps + 1,
                accepted: None,
                ..record
            },
            Accepted::Timeline => TimelineRecord {
                accepted: Some(record.offset / 1000),
                ..record
            },
        })
    }

    /// What disagrees at a boot time.
    pub(super) fn disagreement(&self, boot: i64) -> Disagreement {
        let Some(slew) = self.slew else {
            return Disagreement::default();
        };
        let now = slew.now(boot);
        let tolerance = self.tuning.tolerance;
        let beyond = |difference: &i64| difference.abs() > tolerance;
        let store_ahead = self.samples.latest().map(|ahead| boot + ahead - now);
        let accepted = self.record.and_then(|record| record.accepted);
        // They tell their time once in a refresh.
        let late = |ahead: &i64| *ahead > tolerance || *ahead < -tolerance - REFRESH_MILLIS;
        let all_are = self.changes.len() > 1 && self.changes.iter().all(|(_, ahead)| late(ahead));
        let latest = self.changes.back().map(|(_, ahead)| *ahead);
        Disagreement {
            store_ahead: store_ahead.filter(beyond),
            replicas_ahead: latest.filter(|_| all_are),
            // The accepted difference only shrinks; Curfew reports a larger one.
            is_accepted: matches!((accepted, store_ahead), (Some(offset), Some(ahead))
                if ahead.signum() != offset.signum() && ahead.abs() <= offset.abs() + tolerance),
        }
    }

    /// The store's time that the record makes of the believed samples, in milliseconds.
    fn recorded_time(&self, boot: i64, record: TimelineRecord) -> Option<(i64, i64)> {
        let (ahead, uncertainty) = self.samples.ahead()?;
        Some((boot + ahead + record.offset.div_euclid(1000), uncertainty))
    }

    /// Whether the record, read with the store's clock, tells this replica's time.
    fn agrees(&self, boot: i64, slew: Slew, record: TimelineRecord) -> bool {
        self.samples.is_undisputed()
            && self
                .recorded_time(boot, record)
                .is_some_and(|(time, uncertainty)| {
                    (time - slew.now(boot)).abs() <= self.tuning.tolerance + uncertainty
                })
    }

    /// Moves decision time towards the store's, or lets it go on by boot time while they disagree.
    fn follow(&mut self, boot: i64) {
        let Some(slew) = self.slew else { return };
        let target = match (self.record, self.samples.ahead()) {
            (Some(record), Some((ahead, _))) if self.agrees(boot, slew, record) => {
                ahead * 1000 + record.offset
            }
            _ => slew.offset(boot) + self.behind_others() * 1000,
        };
        self.slew = Some(slew.aimed_at(boot, target));
    }

    /// How far the others are ahead, in milliseconds; they tell their time late, and never early.
    fn behind_others(&self) -> i64 {
        let ahead = self.changes.iter().map(|(_, ahead)| *ahead).min();
        ahead.map_or(0, |ahead| ahead.max(0))
    }

    /// Joins the other replicas where all of them say, for two seconds, that this one is behind: its
    /// machine stood still without the boot-time clock counting it, as when a virtual machine is
    /// paused.
    fn catch_up(&mut self, boot: i64) {
        let Some(slew) = self.slew else { return };
        let Some((first, _)) = self.changes.front() else {
            return;
        };
        let settling = self.tuning.settling;
        let ahead = self.changes.iter().map(|(_, ahead)| *ahead).min();
        if self.changes.len() >= settling.samples
            && boot - first >= settling.over
            && let Some(ahead) = ahead.filter(|ahead| *ahead > STOOD_STILL_MILLIS)
        {
            self.slew = Some(Slew::at(
                boot,
                slew.offset(boot) + ahead * 1000,
                self.tuning.rate,
            ));
            self.changes.clear();
        }
    }

    /// Applies an operator's step.
    fn step_to_store(&mut self, boot: i64, record: TimelineRecord) {
        self.steps = record.steps;
        let offset = match self.recorded_time(boot, record) {
            // A replica that reads another time from the store takes that of the operator's replica.
            Some((time, _)) if (time - record.at).abs() <= 2 * REFRESH_MILLIS => time - boot,
            _ => record.at - boot,
        };
        self.slew = Some(Slew::at(boot, offset * 1000, self.tuning.rate));
        self.changes.clear();
    }

    /// Keeps the record fresh, and corrects its offset when the store's clock has jumped.
    fn maintain(&self, boot: i64) -> Action {
        let Some(slew) = self.slew else {
            return Action::Keep;
        };
        let Some(record) = self.record else {
            return match self.samples.ahead() {
                Some(_) => Action::Write(self.own_record(boot, slew)),
                None => Action::Keep,
            };
        };
        let age = slew.now(boot) - record.at;
        if self.agrees(boot, slew, record) {
            // A time far ahead of all clocks was left by a store that had another.
            if !(-self.tuning.tolerance..REFRESH_MILLIS).contains(&age) {
                return Action::Write(self.refreshed(boot, slew, record, age));
            }
            return Action::Keep;
        }
        let is_abandoned = boot - self.undisputed_since >= self.tuning.abandoned_after;
        if is_abandoned && self.samples.is_settled(self.tuning.settling) {
            return Action::Write(self.own_record(boot, slew));
        }
        if boot - self.record_since >= DISPUTED_MILLIS {
            return Action::Write(TimelineRecord {
                is_disputed: true,
                ..self.refreshed(boot, slew, record, 0)
            });
        }
        Action::Keep
    }

    /// The record that says what this replica goes by.
    fn own_record(&self, boot: i64, slew: Slew) -> TimelineRecord {
        let ahead = self.samples.ahead().map_or(0, |(ahead, _)| ahead);
        TimelineRecord {
            offset: slew.offset(boot) - ahead * 1000,
            at: slew.now(boot),
            writer: self.writer,
            boot: self.boot_id.map(|id| (id, boot)),
            steps: self.steps,
            is_disputed: false,
            accepted: self.record.and_then(|record| record.accepted),
        }
    }

    fn refreshed(&self, boot: i64, slew: Slew, record: TimelineRecord, age: i64) -> TimelineRecord {
        let decay = age.clamp(0, 2 * REFRESH_MILLIS) / DECAY_DIVISOR;
        let offset = record.offset - record.offset.clamp(-decay, decay);
        TimelineRecord {
            offset,
            at: slew.now(boot),
            writer: self.writer,
            boot: self.boot_id.map(|id| (id, boot)),
            is_disputed: false,
            accepted: record.accepted.filter(|_| offset != 0),
            ..record
        }
    }
}
