//! A simulation of a store and of several machines, each with one replica, for property tests of the timeline.

use super::super::samples::Sample;
use super::{Timeline, TimelineAction, TimelineRecord, Tuning};

/// An event that changes the clocks, the network, the store or the replicas.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// This number of half seconds passes.
    Run(u8),
    /// The store's clock is set forward or back by this number of milliseconds.
    Jump(i64),
    /// The store returns a wrong time for this number of heartbeats, with this error in milliseconds.
    TransientError(u8, i64),
    /// The network delays change to these values: the delay of requests and the delay of responses, in milliseconds.
    NetworkDelays(u16, u16),
    /// A replica starts. The values are the drift of its boot-time clock in millionths, and the error of its wall
    /// clock in milliseconds.
    Start(i8, i64),
    /// The oldest replica stops, unless fewer than two replicas have joined.
    Stop,
    /// The store loses the record.
    LoseRecord,
}

/// A replica on a machine.
pub(super) struct Machine {
    timeline: Timeline,
    /// Real time at the boot, in microseconds.
    boot_micros: i64,
    /// The drift of the boot-time clock in millionths.
    drift: i64,
    /// The error of the wall clock, in milliseconds.
    wall_error: i64,
    /// Real time and decision time at the join, in milliseconds.
    join_times: Option<(i64, i64)>,
    /// Whether the store's clock jumped or was temporarily wrong less than [`JUMP_EFFECT_MILLIS`] before the join.
    pub(super) joined_after_jump: bool,
}

impl Machine {
    /// The boot time of this machine at a real time, in milliseconds.
    fn boot(&self, micros: i64) -> i64 {
        let uptime = micros - self.boot_micros;
        (uptime + uptime / 1_000_000 * self.drift).div_euclid(1000)
    }

    /// The error of decision time at a real time, in milliseconds; `None` before the join.
    pub(super) fn error(&self, micros: i64) -> Option<i64> {
        let slew = self.timeline.slew()?;
        Some(slew.decision_time(self.boot(micros)) - micros / 1000)
    }

    /// The real time since the join, and how much more decision time has advanced than real time, both in
    /// milliseconds.
    pub(super) fn elapsed_and_excess(&self, micros: i64) -> Option<(i64, i64)> {
        let (real, decision) = self.join_times?;
        let elapsed = micros / 1000 - real;
        let now = self.timeline.slew()?.decision_time(self.boot(micros));
        Some((elapsed, now - decision - elapsed))
    }
}

/// The simulated world.
pub(super) struct World {
    tuning: Tuning,
    /// Real time in microseconds.
    pub(super) micros: i64,
    /// The error of the store's clock, in milliseconds.
    store_error: i64,
    /// The temporary error of the store's clock: the number of remaining heartbeats with the error, and the size of
    /// the error in milliseconds.
    transient_error: (u8, i64),
    /// The network delays of requests and responses, in milliseconds.
    delays: (i64, i64),
    record: Option<TimelineRecord>,
    /// The machines with a running replica, oldest replica first.
    pub(super) machines: Vec<Machine>,
    /// The number of replicas that were ever started.
    started_replicas: u64,
    /// The real time of the last jump or temporary error of the store's clock, in milliseconds.
    pub(super) last_jump_millis: i64,
    /// The number of jumps and temporary errors of the store's clock.
    pub(super) jump_count: i64,
}

const START_MICROS: i64 = 1_795_426_200_000_000;
const HEARTBEAT_MICROS: i64 = 500_000;
/// The time after a jump during which a starting replica may join with a wrong decision time, in milliseconds.
const JUMP_EFFECT_MILLIS: i64 = 20_000;

impl World {
    pub(super) fn new(tuning: Tuning) -> Self {
        let mut world = Self {
            tuning,
            micros: START_MICROS,
            store_error: 0,
            transient_error: (0, 0),
            delays: (1, 1),
            record: None,
            machines: Vec::new(),
            started_replicas: 0,
            last_jump_millis: i64::MIN / 2,
            jump_count: 0,
        };
        world.start(0, 0);
        world.heartbeat();
        world
    }

    /// Applies an event. Calls the function `check` after each heartbeat and at the end. Stops at the first error
    /// that `check` returns.
    pub(super) fn apply<E>(
        &mut self,
        event: Event,
        mut check: impl FnMut(&Self) -> Result<(), E>,
    ) -> Result<(), E> {
        match event {
            Event::Run(heartbeats) => {
                for _ in 0..heartbeats {
                    self.heartbeat();
                    check(self)?;
                }
            }
            Event::Jump(change) => {
                self.store_error += change;
                self.jump_count += 1;
                self.last_jump_millis = self.micros / 1000;
            }
            Event::TransientError(heartbeats, error) => {
                self.transient_error = (heartbeats, error);
                self.jump_count += 1;
                self.last_jump_millis = self.micros / 1000;
            }
            Event::NetworkDelays(request, response) => {
                self.delays = (i64::from(request), i64::from(response))
            }
            Event::Start(drift, wall) => self.start(i64::from(drift), wall),
            Event::Stop if self.joined_replicas() > 1 => {
                self.machines.remove(0);
            }
            Event::Stop => {}
            // The store loses the record only if its clock has not jumped recently and all replicas have joined.
            // Otherwise, a starting replica could join with a wrong decision time: without a record, it can compare
            // the store's wrong clock only with the wall clock of its machine.
            Event::LoseRecord
                if self.micros / 1000 - self.last_jump_millis > JUMP_EFFECT_MILLIS
                    && self.transient_error.0 == 0
                    && self.joined_replicas() == self.machines.len() =>
            {
                self.record = None;
                self.heartbeat();
            }
            Event::LoseRecord => {}
        }
        check(self)
    }

    /// The number of replicas that have joined, counted from the oldest replica up to the first replica that has not
    /// joined.
    fn joined_replicas(&self) -> usize {
        let has_joined = |machine: &&Machine| machine.join_times.is_some();
        self.machines.iter().take_while(has_joined).count()
    }

    /// Starts a replica on a new machine, unless four replicas run already.
    fn start(&mut self, drift: i64, wall_error: i64) {
        if self.machines.len() >= 4 {
            return;
        }
        self.started_replicas += 1;
        let uptime = (self.started_replicas as i64 % 7) * 3_600_000_000;
        self.machines.push(Machine {
            timeline: Timeline::new(self.tuning, self.started_replicas, None),
            boot_micros: self.micros - uptime,
            drift,
            wall_error,
            join_times: None,
            joined_after_jump: false,
        });
    }

    /// Runs one heartbeat: each replica measures the store's clock and reads the record. Replicas that have not
    /// joined measure and read twice.
    fn heartbeat(&mut self) {
        for half in 0..2 {
            self.micros += HEARTBEAT_MICROS / 2;
            for index in 0..self.machines.len() {
                if half == 1 || self.machines[index].join_times.is_none() {
                    self.measure(index);
                }
            }
        }
        self.transient_error.0 = self.transient_error.0.saturating_sub(1);
    }

    /// Lets one replica measure the store's clock, read the record, and write a new record if necessary.
    fn measure(&mut self, index: usize) {
        let transient_error = if self.transient_error.0 > 0 {
            self.transient_error.1
        } else {
            0
        };
        let machine = &mut self.machines[index];
        let (request_delay, response_delay) = self.delays;
        let sent = machine.boot(self.micros);
        let answered_at = self.micros + request_delay * 1000;
        let store_time = answered_at.div_euclid(1000) + self.store_error + transient_error;
        let at = machine.boot(answered_at + response_delay * 1000);
        machine.timeline.add_sample(Sample {
            at,
            offset: store_time - (sent + at) / 2,
            round_trip: at - sent,
        });
        // The replica reads the record when the store's response has arrived.
        let boot = machine.boot(self.micros).max(at);
        let wall_offset = self.micros / 1000 + machine.wall_error - machine.boot(self.micros);
        if let TimelineAction::Write(record) =
            machine
                .timeline
                .process_record(boot, self.record, wall_offset)
        {
            self.record = Some(record);
            machine
                .timeline
                .process_record(boot, self.record, wall_offset);
        }
        if machine.join_times.is_none()
            && let Some(slew) = machine.timeline.slew()
        {
            let now_millis = self.micros / 1000;
            machine.join_times = Some((now_millis, slew.decision_time(machine.boot(self.micros))));
            machine.joined_after_jump = now_millis - self.last_jump_millis < JUMP_EFFECT_MILLIS;
        }
    }
}
