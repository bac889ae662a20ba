use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::samples::Sample;
use super::slew::{Slew, millis, timestamp};
use super::timeline::{Timeline, Tuning};
use super::{
    Accepted, Action, BootClock, BootId, Clock, Disagreement, SystemClock, TimelineRecord,
};
use crate::session::Timestamp;

/// Decision time: the time that all replicas of one store share.
///
/// It follows the boot-time clock of this machine within 0.1 %, and slowly approaches the store's time. If the
/// store's clock jumps, decision time continues unchanged, and the replicas record the difference in a
/// [`TimelineRecord`] in the store. Decision time steps only in two cases: an operator requests it, or the other
/// replicas show for two seconds that this machine was paused.
pub struct StoreClock {
    /// The boot-time clock, which is independent of the system time.
    boot: Arc<dyn Clock>,
    wall: Arc<dyn Clock>,
    published: ArcSwap<PublishedTime>,
    timeline: Mutex<Timeline>,
}

/// The current mapping from boot time to decision time.
struct PublishedTime {
    /// `None` before the replica has joined the timeline.
    slew: Option<Slew>,
    /// The latest returned time in milliseconds, so that time never goes back.
    latest: AtomicU64,
}

impl StoreClock {
    /// A clock with the system clocks of this machine.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Arc::new(BootClock), Arc::new(SystemClock), BootClock::id())
    }

    /// A clock with the given boot-time and wall clocks. It returns the wall clock's time until it has joined the
    /// timeline.
    #[must_use]
    pub fn of(boot: Arc<dyn Clock>, wall: Arc<dyn Clock>, boot_id: Option<BootId>) -> Self {
        // Without random numbers, every replica has the number 0 and looks the same as the others.
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

    /// The current boot time, for [`StoreClock::sample`].
    #[must_use]
    pub fn boot(&self) -> Timestamp {
        self.boot.now()
    }

    /// Whether this replica has joined the timeline of the other replicas.
    #[must_use]
    pub fn has_joined(&self) -> bool {
        self.published.load().slew.is_some()
    }

    /// The offset of the store's clock from this machine's wall clock, in milliseconds.
    #[must_use]
    pub fn offset(&self) -> i64 {
        let boot = millis(self.boot.now());
        let ahead = self.timeline.lock().store_ahead_of_boot();
        ahead.map_or(0, |ahead| boot + ahead - millis(self.wall.now()))
    }

    /// The offset of the store's clock from decision time, in milliseconds.
    #[must_use]
    pub fn store_ahead(&self) -> i64 {
        let boot = millis(self.boot.now());
        let timeline = self.timeline.lock();
        match (timeline.slew(), timeline.store_ahead_of_boot()) {
            (Some(slew), Some(ahead)) => boot + ahead - slew.now(boot),
            _ => 0,
        }
    }

    /// Converts decision time to the store's own time, for expiry times in the store.
    #[must_use]
    pub fn store_time_of(&self, at: Timestamp) -> Timestamp {
        timestamp(millis(at).saturating_add(self.store_ahead()))
    }

    /// The store's own time now.
    #[must_use]
    pub fn store_now(&self) -> Timestamp {
        self.store_time_of(self.now())
    }

    /// The current differences between the clocks.
    #[must_use]
    pub fn disagreement(&self) -> Disagreement {
        let boot = millis(self.boot.now());
        self.timeline.lock().disagreement(boot)
    }

    /// Adds a measurement of the store's clock: the request was sent at `sent`, the response `store` arrived at
    /// `received`. Both are times of [`StoreClock::boot`].
    pub fn sample(&self, sent: Timestamp, store: Timestamp, received: Timestamp) {
        let (sent, received) = (millis(sent), millis(received));
        let round_trip = received.saturating_sub(sent).max(0);
        let sample = Sample {
            at: received,
            ahead: millis(store) - sent - round_trip / 2,
            round_trip,
        };
        let mut timeline = self.timeline.lock();
        timeline.sample(sample);
        self.publish(&timeline);
    }

    /// Processes the timeline record that was read from the store, and returns what to do with it.
    #[must_use]
    pub fn read(&self, record: Option<TimelineRecord>) -> Action {
        let boot = millis(self.boot.now());
        let wall = millis(self.wall.now()) - boot;
        let mut timeline = self.timeline.lock();
        let action = timeline.read(boot, record, wall);
        self.publish(&timeline);
        action
    }

    /// The record that applies an operator's choice; `None` while samples of the store's clock disagree.
    #[must_use]
    pub fn accept(&self, accepted: Accepted) -> Option<TimelineRecord> {
        let boot = millis(self.boot.now());
        self.timeline.lock().accept(boot, accepted)
    }

    /// Publishes the timeline's time. The caller holds the lock, so that an older time cannot follow.
    fn publish(&self, timeline: &Timeline) {
        let shown = self.published.load();
        let slew = timeline.slew();
        if shown.slew == slew {
            return;
        }
        let boot = millis(self.boot.now());
        let (before, now) = (
            shown.slew.map(|slew| slew.now(boot)),
            slew.map(|slew| slew.now(boot)),
        );
        // Only an operator moves decision time back by more than a rounding error.
        let goes_on = matches!((before, now), (Some(before), Some(now)) if now >= before - 1);
        let latest = if goes_on {
            shown.latest.load(Ordering::Relaxed)
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
        let shown = self.published.load();
        let Some(slew) = shown.slew else {
            return self.wall.now();
        };
        let now = timestamp(slew.now(millis(self.boot.now()))).as_millis();
        let latest = shown.latest.load(Ordering::Relaxed);
        if now <= latest {
            return Timestamp::from_millis(latest);
        }
        let before = shown.latest.fetch_max(now, Ordering::Relaxed);
        Timestamp::from_millis(before.max(now))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ManualClock;
    use crate::testing::{MINUTE, SECOND, START};

    /// A machine with a wrong wall clock, and a store with a correct clock.
    struct Scene {
        boot: ManualClock,
        store: ManualClock,
        record: Option<TimelineRecord>,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                boot: ManualClock::new(Timestamp::from_millis(50_000)),
                store: ManualClock::new(START),
                record: None,
            }
        }

        fn clock(&self, wall: Timestamp) -> StoreClock {
            let wall = Arc::new(ManualClock::new(wall));
            StoreClock::of(Arc::new(self.boot.clone()), wall, Some([7; 8]))
        }

        fn beat(&mut self, clock: &StoreClock) {
            let sent = self.boot.now();
            clock.sample(sent, self.store.now(), sent);
            if let Action::Write(record) = clock.read(self.record) {
                self.record = Some(record);
            }
        }

        fn pass(&mut self, clock: &StoreClock, time: Duration) {
            let beat = Duration::from_millis(500);
            for _ in 0..time.as_millis() / beat.as_millis() {
                self.boot.advance(beat);
                self.store.advance(beat);
                self.beat(clock);
            }
        }
    }

    #[test]
    fn machines_with_different_wall_clocks_agree() {
        for wrong in [START.plus(7 * MINUTE), START.minus(5 * MINUTE), START] {
            let mut scene = Scene::new();
            let clock = scene.clock(wrong);
            scene.beat(&clock);
            // If the wall clock and the store's clock disagree, several samples decide.
            assert_eq!(clock.has_joined(), wrong == START);
            scene.pass(&clock, 3 * SECOND);
            assert!(clock.has_joined());
            assert_eq!(clock.now(), scene.store.now());
            scene.pass(&clock, MINUTE);
            assert_eq!(clock.now(), scene.store.now());
        }
    }

    #[test]
    fn a_restarted_process_continues_with_the_boot_time_clock() {
        let mut scene = Scene::new();
        let clock = scene.clock(START);
        scene.pass(&clock, 10 * SECOND);
        drop(clock);
        scene.boot.advance(MINUTE);
        let elapsed = 10 * SECOND + MINUTE;
        for (store, wall) in [(MINUTE, 60 * MINUTE), (61 * MINUTE, 60 * MINUTE)] {
            scene.store.set(START.plus(10 * SECOND).plus(store));
            let again = scene.clock(START.plus(wall));
            scene.beat(&again);
            assert!(again.has_joined());
            assert_eq!(again.now(), START.plus(elapsed));
        }
    }

    #[test]
    fn an_operator_can_step_decision_time_forward_and_back() {
        for (ahead, back) in [(MINUTE, false), (60 * MINUTE, true)] {
            let mut scene = Scene::new();
            let clock = scene.clock(START);
            scene.pass(&clock, 5 * SECOND);
            let at = scene.store.now();
            scene.store.set(if back {
                at.minus(ahead)
            } else {
                at.plus(ahead)
            });
            scene.pass(&clock, 10 * SECOND);
            let sign = if back { -1 } else { 1 };
            let difference = sign * i64::try_from(ahead.as_millis()).unwrap();
            let told = clock.disagreement().store_ahead.unwrap();
            assert!((told - difference).abs() < 100, "{told}");
            assert!(!clock.disagreement().is_accepted);
            scene.record = clock.accept(Accepted::Timeline);
            scene.pass(&clock, 5 * SECOND);
            assert!(clock.disagreement().is_accepted);
            scene.record = clock.accept(Accepted::Store);
            scene.pass(&clock, SECOND);
            assert_eq!(clock.disagreement(), Disagreement::default());
            assert_eq!(clock.now(), scene.store.now());
        }
    }

    #[test]
    fn a_paused_machine_catches_up_with_the_others() {
        let mut scene = Scene::new();
        let (paused, other) = (scene.clock(START), scene.clock(START));
        scene.beat(&paused);
        scene.pass(&other, 5 * SECOND);
        // Only this machine was paused: the other replica has counted five minutes more.
        scene.store.advance(5 * MINUTE);
        for beat in 0..8 {
            scene.boot.advance(SECOND);
            scene.store.advance(SECOND);
            scene.record = scene.record.map(|record| TimelineRecord {
                at: millis(scene.store.now()),
                writer: 99,
                ..record
            });
            scene.beat(&paused);
            let behind = paused.now() < scene.store.now().minus(SECOND);
            assert!(beat > 1 || behind, "it waits for several samples");
        }
        assert!(paused.now() >= scene.store.now().minus(SECOND));
    }

    #[test]
    fn returns_the_wall_clock_before_the_first_sample() {
        let scene = Scene::new();
        let clock = scene.clock(START);
        assert!(!clock.has_joined());
        assert_eq!(clock.now(), START);
    }
}
