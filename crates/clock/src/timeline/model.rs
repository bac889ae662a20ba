//! Replicas, their machines and a store, for property tests of the timeline.

use super::super::samples::Sample;
use super::{Action, Timeline, TimelineRecord, Tuning};

/// What happens to the clocks and to the replicas.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// Time passes: so many half seconds.
    Run(u8),
    /// The store's clock is set, by so many milliseconds.
    Jump(i64),
    /// For so many beats the store answers with a time that is wrong by so much.
    Blip(u8, i64),
    /// From now on an answer takes so many milliseconds there, and back.
    Network(u16, u16),
    /// A replica starts, on a machine whose boot-time clock drifts by so many millionths, and whose
    /// wall clock is wrong by so many milliseconds.
    Start(i8, i64),
    /// The oldest replica stops, if another one runs.
    Stop,
    /// The store loses the record.
    Lose,
}

/// A replica on a machine.
pub(super) struct Machine {
    timeline: Timeline,
    /// Real time at its boot, in microseconds.
    booted: i64,
    /// In millionths.
    drift: i64,
    wall_error: i64,
    /// Real time and decision time when it joined, in milliseconds.
    joined: Option<(i64, i64)>,
    /// Whether the store's clock was set, or wrong, shortly before it joined.
    pub(super) joined_after_jump: bool,
}

impl Machine {
    fn boot(&self, micros: i64) -> i64 {
        let up = micros - self.booted;
        (up + up / 1_000_000 * self.drift).div_euclid(1000)
    }

    /// Decision time less real time, in milliseconds.
    pub(super) fn error(&self, micros: i64) -> Option<i64> {
        let slew = self.timeline.slew()?;
        Some(slew.now(self.boot(micros)) - micros / 1000)
    }

    /// Real milliseconds since it joined, and how many more decision time counted.
    pub(super) fn counted(&self, micros: i64) -> Option<(i64, i64)> {
        let (real, decision) = self.joined?;
        let elapsed = micros / 1000 - real;
        let now = self.timeline.slew()?.now(self.boot(micros));
        Some((elapsed, now - decision - elapsed))
    }
}

/// All of it.
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
    /// Real time of the last change to the store's clock, in milliseconds.
    pub(super) jumped: i64,
    /// How often the store's clock was set, or wrong for a moment.
    pub(super) jumps: i64,
}

const START_MICROS: i64 = 1_795_426_200_000_000;
const BEAT_MICROS: i64 = 500_000;
/// For how long after a jump a replica that starts may join at a wrong time, in milliseconds.
const JUMP_LASTS: i64 = 20_000;

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

    /// Applies an event, and calls `look` after each beat.
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
                // The record is of no use to anybody if all that have joined are gone.
                self.machines.remove(0);
            }
            Event::Stop => {}
            // A fail-over loses the latest writes, and not a record that has been there for long. With an empty store
            // whose clock has jumped, a replica that starts can only compare that with its own wall clock.
            Event::Lose
                if self.micros / 1000 - self.jumped > JUMP_LASTS
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

    /// Each replica asks for the store's time and reads the record; one that joins does so twice as often.
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
            way: at - sent,
        });
        // The record travels as quickly as the replica's own time goes by, for the model.
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
            machine.joined_after_jump = now - self.jumped < JUMP_LASTS;
        }
    }
}
