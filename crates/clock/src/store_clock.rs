use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::samples::Sample;
use super::slew::{Slew, millis, timestamp};
use super::timeline::{Timeline, Tuning};
use super::{
    AcceptedClock, BootClock, BootId, Clock, Disagreement, SystemClock, TimelineAction,
    TimelineRecord,
};
use crate::session::Timestamp;

/// Decision time: the time that all replicas of one store share.
///
/// Decision time follows the boot-time clock of this machine within 0.1 %, and slowly approaches the store's time. If
/// the store's clock jumps, decision time does not jump: the replicas write the difference to a [`TimelineRecord`] in
/// the store. Decision time steps only in two cases: an operator requests a step, or the records of other replicas show
/// for two seconds that this machine was paused.
pub struct StoreClock {
    /// The boot-time clock, which is independent of the system time.
    boot: Arc<dyn Clock>,
    /// The wall clock of this machine.
    wall: Arc<dyn Clock>,
    published: ArcSwap<PublishedTime>,
    timeline: Mutex<Timeline>,
}

/// The current mapping from boot time to decision time.
struct PublishedTime {
    /// `None` until the replica has joined the timeline, that is, until it has determined the decision time of the
    /// other replicas.
    slew: Option<Slew>,
    /// The latest time that [`Clock::now`] returned, in milliseconds. [`Clock::now`] never returns an earlier time
    /// than this value.
    latest: AtomicU64,
}

impl StoreClock {
    /// A clock that uses the boot-time and wall clocks of this machine.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clocks(
            Arc::new(BootClock),
            Arc::new(SystemClock),
            BootClock::boot_id(),
        )
    }

    /// A clock with the given boot-time and wall clocks. Until the new clock has joined the timeline, it returns the
    /// time of the wall clock.
    #[must_use]
    pub fn with_clocks(
        boot: Arc<dyn Clock>,
        wall: Arc<dyn Clock>,
        boot_id: Option<BootId>,
    ) -> Self {
        // `writer` shows which replica changed the record. If the operating system returns no random number, `writer`
        // is 0, and replicas with the same number do not notice each other's changes.
        let writer = getrandom::u64().unwrap_or_default();
        Self {
            boot,
            wall,
            published: ArcSwap::from_pointee(PublishedTime {
                slew: None,
                latest: AtomicU64::new(0),
            }),
            timeline: Mutex::new(Timeline::new(Tuning::DEFAULT, writer, boot_id)),
        }
    }

    /// The current time of the boot-time clock, for [`StoreClock::add_sample`].
    #[must_use]
    pub fn boot_time(&self) -> Timestamp {
        self.boot.now()
    }

    /// Whether this replica has joined the timeline of the other replicas.
    #[must_use]
    pub fn has_joined(&self) -> bool {
        self.published.load().slew.is_some()
    }

    /// The offset of the store's clock from this machine's wall clock, in milliseconds.
    #[must_use]
    pub fn store_offset_from_wall(&self) -> i64 {
        let boot = millis(self.boot.now());
        let store_offset = self.timeline.lock().store_offset_from_boot();
        store_offset.map_or(0, |store_offset| {
            boot + store_offset - millis(self.wall.now())
        })
    }

    /// The offset of the store's clock from decision time, in milliseconds.
    #[must_use]
    pub fn store_offset_from_decision_time(&self) -> i64 {
        let boot = millis(self.boot.now());
        let timeline = self.timeline.lock();
        match (timeline.slew(), timeline.store_offset_from_boot()) {
            (Some(slew), Some(store_offset)) => boot + store_offset - slew.decision_time(boot),
            _ => 0,
        }
    }

    /// Converts decision time to the store's own time, for expiry times in the store.
    #[must_use]
    pub fn store_time_of(&self, at: Timestamp) -> Timestamp {
        timestamp(millis(at).saturating_add(self.store_offset_from_decision_time()))
    }

    /// The store's own time now.
    #[must_use]
    pub fn store_now(&self) -> Timestamp {
        self.store_time_of(self.now())
    }

    /// The current differences between the clocks of this replica, of the store and of the other replicas.
    #[must_use]
    pub fn disagreement(&self) -> Disagreement {
        let boot = millis(self.boot.now());
        self.timeline.lock().disagreement(boot)
    }

    /// Adds a measurement of the store's clock. `store` is the time in the store's response. `sent` is the time of
    /// the request and `received` the time of the response, both from [`StoreClock::boot_time`].
    pub fn add_sample(&self, sent: Timestamp, store: Timestamp, received: Timestamp) {
        let (sent, received) = (millis(sent), millis(received));
        let round_trip = received.saturating_sub(sent).max(0);
        let sample = Sample {
            at: received,
            offset: millis(store) - sent - round_trip / 2,
            round_trip,
        };
        let mut timeline = self.timeline.lock();
        timeline.add_sample(sample);
        self.publish(&timeline);
    }

    /// Processes the timeline record from the store, and returns the action that the caller must take.
    #[must_use]
    pub fn process_record(&self, record: Option<TimelineRecord>) -> TimelineAction {
        let boot = millis(self.boot.now());
        let wall_offset = millis(self.wall.now()) - boot;
        let mut timeline = self.timeline.lock();
        let action = timeline.process_record(boot, record, wall_offset);
        self.publish(&timeline);
        action
    }

    /// Returns the record that publishes which clock an operator has accepted. The caller must write it to the store,
    /// where all replicas read it. The result is `None` while samples of the store's clock disagree or are too few, and
    /// before this replica has joined the timeline.
    #[must_use]
    pub fn accept(&self, accepted: AcceptedClock) -> Option<TimelineRecord> {
        let boot = millis(self.boot.now());
        self.timeline.lock().accept(boot, accepted)
    }

    /// Publishes the decision time of `timeline`, so that [`Clock::now`] returns it. The caller must hold the lock of
    /// the timeline, so that no other thread publishes an older state afterwards.
    fn publish(&self, timeline: &Timeline) {
        let published = self.published.load();
        let slew = timeline.slew();
        if published.slew == slew {
            return;
        }
        let boot = millis(self.boot.now());
        let (old_time, new_time) = (
            published.slew.map(|slew| slew.decision_time(boot)),
            slew.map(|slew| slew.decision_time(boot)),
        );
        // Decision time moves back by more than a rounding error only if an operator sets it back. In this case,
        // `latest` must start at 0 again, because otherwise [`Clock::now`] would continue to return the later time.
        let is_continuous =
            matches!((old_time, new_time), (Some(old), Some(new)) if new >= old - 1);
        let latest = if is_continuous {
            published.latest.load(Ordering::Relaxed)
        } else {
            0
        };
        let latest = AtomicU64::new(latest);
        self.published
            .store(Arc::new(PublishedTime { slew, latest }));
    }
}

impl Default for StoreClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for StoreClock {
    fn now(&self) -> Timestamp {
        let published = self.published.load();
        let Some(slew) = published.slew else {
            return self.wall.now();
        };
        let now = timestamp(slew.decision_time(millis(self.boot.now()))).as_millis();
        let latest = published.latest.load(Ordering::Relaxed);
        if now <= latest {
            return Timestamp::from_millis(latest);
        }
        let previous = published.latest.fetch_max(now, Ordering::Relaxed);
        Timestamp::from_millis(previous.max(now))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ManualClock;
    use crate::testing::{MINUTE, SECOND, START};

    /// A simulated machine with its boot-time clock, and a simulated store with its own clock and record.
    struct Simulation {
        boot: ManualClock,
        store: ManualClock,
        record: Option<TimelineRecord>,
    }

    impl Simulation {
        fn new() -> Self {
            Self {
                boot: ManualClock::new(Timestamp::from_millis(50_000)),
                store: ManualClock::new(START),
                record: None,
            }
        }

        /// Creates the clock of a replica on this machine, with a wall clock that shows `wall`.
        fn new_clock(&self, wall: Timestamp) -> StoreClock {
            let wall = Arc::new(ManualClock::new(wall));
            StoreClock::with_clocks(Arc::new(self.boot.clone()), wall, Some([7; 8]))
        }

        /// Measures the store's clock once, reads the record, and writes a new record if necessary.
        fn heartbeat(&mut self, clock: &StoreClock) {
            let sent = self.boot.now();
            clock.add_sample(sent, self.store.now(), sent);
            if let TimelineAction::Write(record) = clock.process_record(self.record) {
                self.record = Some(record);
            }
        }

        /// Advances both clocks by `time`, with a heartbeat of the replica every half second.
        fn run(&mut self, clock: &StoreClock, time: Duration) {
            let interval = Duration::from_millis(500);
            for _ in 0..time.as_millis() / interval.as_millis() {
                self.boot.advance(interval);
                self.store.advance(interval);
                self.heartbeat(clock);
            }
        }
    }

    #[test]
    fn machines_with_different_wall_clocks_agree() {
        for wall in [START.plus(7 * MINUTE), START.minus(5 * MINUTE), START] {
            let mut simulation = Simulation::new();
            let clock = simulation.new_clock(wall);
            simulation.heartbeat(&clock);
            // If the wall clock and the store's clock disagree, the replica needs several samples to join.
            assert_eq!(clock.has_joined(), wall == START);
            simulation.run(&clock, 3 * SECOND);
            assert!(clock.has_joined());
            assert_eq!(clock.now(), simulation.store.now());
            simulation.run(&clock, MINUTE);
            assert_eq!(clock.now(), simulation.store.now());
        }
    }

    #[test]
    fn a_restarted_process_continues_with_the_boot_time_clock() {
        let mut simulation = Simulation::new();
        let clock = simulation.new_clock(START);
        simulation.run(&clock, 10 * SECOND);
        drop(clock);
        simulation.boot.advance(MINUTE);
        let elapsed = 10 * SECOND + MINUTE;
        for (store, wall) in [(MINUTE, 60 * MINUTE), (61 * MINUTE, 60 * MINUTE)] {
            simulation.store.set(START.plus(10 * SECOND).plus(store));
            let restarted = simulation.new_clock(START.plus(wall));
            simulation.heartbeat(&restarted);
            assert!(restarted.has_joined());
            assert_eq!(restarted.now(), START.plus(elapsed));
        }
    }

    #[test]
    fn an_operator_can_step_decision_time_forward_and_back() {
        for (jump, is_backward) in [(MINUTE, false), (60 * MINUTE, true)] {
            let mut simulation = Simulation::new();
            let clock = simulation.new_clock(START);
            simulation.run(&clock, 5 * SECOND);
            let at = simulation.store.now();
            simulation.store.set(if is_backward {
                at.minus(jump)
            } else {
                at.plus(jump)
            });
            simulation.run(&clock, 10 * SECOND);
            let sign = if is_backward { -1 } else { 1 };
            let difference = sign * i64::try_from(jump.as_millis()).unwrap();
            let measured = clock
                .disagreement()
                .store_offset_from_decision_time
                .unwrap();
            assert!((measured - difference).abs() < 100, "{measured}");
            assert!(!clock.disagreement().is_accepted);
            simulation.record = clock.accept(AcceptedClock::Timeline);
            simulation.run(&clock, 5 * SECOND);
            assert!(clock.disagreement().is_accepted);
            simulation.record = clock.accept(AcceptedClock::Store);
            simulation.run(&clock, SECOND);
            assert_eq!(clock.disagreement(), Disagreement::default());
            assert_eq!(clock.now(), simulation.store.now());
        }
    }

    #[test]
    fn a_paused_machine_catches_up_with_the_others() {
        let mut simulation = Simulation::new();
        let (paused, other) = (simulation.new_clock(START), simulation.new_clock(START));
        simulation.heartbeat(&paused);
        simulation.run(&other, 5 * SECOND);
        // Only this machine was paused, so its decision time is five minutes behind the decision time of the other
        // replica.
        simulation.store.advance(5 * MINUTE);
        for second in 0..8 {
            simulation.boot.advance(SECOND);
            simulation.store.advance(SECOND);
            simulation.record = simulation.record.map(|record| TimelineRecord {
                at: millis(simulation.store.now()),
                writer: 99,
                ..record
            });
            simulation.heartbeat(&paused);
            let is_behind = paused.now() < simulation.store.now().minus(SECOND);
            assert!(
                second > 1 || is_behind,
                "one sample should not be enough for a step"
            );
        }
        assert!(paused.now() >= simulation.store.now().minus(SECOND));
    }

    #[test]
    fn the_clock_shows_the_wall_time_before_the_first_sample() {
        let simulation = Simulation::new();
        let clock = simulation.new_clock(START);
        assert!(!clock.has_joined());
        assert_eq!(clock.now(), START);
    }
}
