//! A simulation of replicas, machines and a store, for property tests of the timeline.

use super::super::samples::Sample;
use super::{Action, Timeline, TimelineRecord, Tuning};

/// An event for the clocks or the replicas.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// Time passes: the number of half seconds.
    Run(u8),
    /// The store's clock is set forward or back, in milliseconds.
    Jump(i64),
    /// The store returns a wrong time for this number of heartbeats, with this error in milliseconds.
    Blip(u8, i64),
    /// A new network delay for requests and responses, in milliseconds.
    Network(u16, u16),
    /// A replica starts. Its boot-time clock has this drift in millionths, and its wall clock this error in
    /// milliseconds.
    Start(i8, i64),
    /// The oldest replica stops, unless it is the only one.
    Stop,
    /// The store loses the record.
    Lose,
}

/// A replica on a machine.
pub(super) struct Machine {
    timeline: Timeline,
    /// Real time at the boot, in microseconds.
    booted: i64,
    /// The drift of the boot-time clock in millionths.
    drift: i64,
    wall_error: i64,
    /// Real time and decision time at the join, in milliseconds.
    joined: Option<(i64, i64)>,
    /// Whether the store's clock was set or wrong shortly before the join.
    pub(super) joined_after_jump: bool,
}

impl Machine {
    fn boot(&self, micros: i64) -> i64 {
        let up = micros - self.booted;
        (up + up / 1_000_000 * self.drift).div_euclid(1000)
    }

    /// Decision time minus real time, in milliseconds.
    pub(super) fn error(&self, micros: i64) -> Option<i64> {
        let slew = self.timeline.slew()?;
        Some(slew.now(self.boot(micros)) - micros / 1000)
    }

    /// The real time since the join, and how much more decision time has counted, in milliseconds.
    pub(super) fn counted(&self, micros: i64) -> Option<(i64, i64)> {
        let (real, decision) = self.joined?;
        let elapsed = micros / 1000 - real;
        let now = self.timeline.slew()?.now(self.boot(micros));
        Some((elapsed, now - decision - elapsed))
    }
}

/// The simulated world.
pub(super) struct World {
    tuning: Tuning,
    /// Real time in microseconds.
    pub(super) micros: i64,
    store_error: i64,
    blip: (u8, i64),
    way: (i64, i64),
    record: Option<TimelineRecord>,
    pub(super) machines: Vec<Machine>,
    started: u64,
    /// The real time of the last change to the store's clock, in milliseconds.
    pub(super) jumped: i64,
    /// How often the store's clock was set or temporarily wrong.
    pub(super) jumps: i64,
}

const START_MICROS: i64 = 1_795_426_200_000_000;
const BEAT_MICROS: i64 = 500_000;
/// For this time after a jump, a starting replica may join at a wrong time, in milliseconds.
const JUMP_EFFECT_MILLIS: i64 = 20_000;

impl World {
    pub(super) fn new(tuning: Tuning) -> Self {
        let mut world = Self {
            tuning,
            micros: START_MICROS,
            store_error: 0,
            blip: (0, 0),
            way: (1, 1),
            record: None,
            machines: Vec::new(),
            started: 0,
            jumped: i64::MIN / 2,
            jumps: 0,
        };
        world.start(0, 0);
        world.beat();
        world
    }

    /// Applies an event, and calls `look` after each heartbeat.
    pub(super) fn apply<E>(
        &mut self,
        event: Event,
        mut look: impl FnMut(&Self) -> Result<(), E>,
    ) -> Result<(), E> {
        match event {
            Event::Run(beats) => {
                for _ in 0..beats {
                    self.beat();
                    look(self)?;
                }
            }
            Event::Jump(by) => {
                self.store_error += by;
                self.jumps += 1;
                self.jumped = self.micros / 1000;
            }
            Event::Blip(beats, by) => {
                self.blip = (beats, by);
                self.jumps += 1;
                self.jumped = self.micros / 1000;
            }
            Event::Network(there, back) => self.way = (i64::from(there), i64::from(back)),
            Event::Start(drift, wall) => self.start(i64::from(drift), wall),
            Event::Stop if self.joined() > 1 => {
                // If no joined replica is left, the record is not needed any more.
                self.machines.remove(0);
            }
            Event::Stop => {}
            // A fail-over loses recent writes, but not an older record. If an empty store's clock has jumped, a
            // starting replica can compare it only with its own wall clock.
            Event::Lose
                if self.micros / 1000 - self.jumped > JUMP_EFFECT_MILLIS
                    && self.blip.0 == 0
                    && self.joined() == self.machines.len() =>
            {
                self.record = None;
                self.beat();
            }
            Event::Lose => {}
        }
        look(self)
    }

    fn joined(&self) -> usize {
        let leading = |machine: &&Machine| machine.joined.is_some();
        self.machines.iter().take_while(leading).count()
    }

    fn start(&mut self, drift: i64, wall_error: i64) {
        if self.machines.len() >= 4 {
            return;
        }
        self.started += 1;
        let boot_before = (self.started as i64 % 7) * 3_600_000_000;
        self.machines.push(Machine {
            timeline: Timeline::new(self.tuning, self.started, None),
            booted: self.micros - boot_before,
            drift,
            wall_error,
            joined: None,
            joined_after_jump: false,
        });
    }

    /// Each replica asks for the store's time and reads the record; a joining one does so twice as often.
    fn beat(&mut self) {
        for half in 0..2 {
            self.micros += BEAT_MICROS / 2;
            for place in 0..self.machines.len() {
                if half == 1 || self.machines[place].joined.is_none() {
                    self.ask(place);
                }
            }
        }
        self.blip.0 = self.blip.0.saturating_sub(1);
    }

    fn ask(&mut self, place: usize) {
        let blip = if self.blip.0 > 0 { self.blip.1 } else { 0 };
        let machine = &mut self.machines[place];
        let (there, back) = self.way;
        let sent = machine.boot(self.micros);
        let answered = self.micros + there * 1000;
        let told = answered.div_euclid(1000) + self.store_error + blip;
        let at = machine.boot(answered + back * 1000);
        machine.timeline.sample(Sample {
            at,
            ahead: told - (sent + at) / 2,
            round_trip: at - sent,
        });
        // In this model the record arrives as quickly as the replica's own time passes.
        let boot = machine.boot(self.micros).max(at);
        let wall = self.micros / 1000 + machine.wall_error - machine.boot(self.micros);
        if let Action::Write(record) = machine.timeline.read(boot, self.record, wall) {
            self.record = Some(record);
            machine.timeline.read(boot, self.record, wall);
        }
        if machine.joined.is_none()
            && let Some(slew) = machine.timeline.slew()
        {
            let now = self.micros / 1000;
            machine.joined = Some((now, slew.now(machine.boot(self.micros))));
            machine.joined_after_jump = now - self.jumped < JUMP_EFFECT_MILLIS;
        }
    }
}
