use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::super::samples::AcceptanceRule;
use super::model::{Event, World};
use super::*;

/// The slew rate, and the drift of an uncorrected boot-time clock: 0.1 % and 0.0127 %.
const RATE_MILLIONTHS: i64 = 1_130;
/// The error from rounding and asymmetric network delay, in milliseconds.
const ROUNDING: i64 = 10;
/// The largest difference from the others after a join: the tolerance and a poll. A small jump of the store's clock,
/// which does not make a record outdated, adds to it.
const JOIN_ERROR: i64 = 900;
const JOIN_ERROR_DURING_JUMP: i64 = 2_500;

fn events() -> impl Strategy<Value = Vec<Event>> {
    let jumps = || {
        prop_oneof![
            -90_000_000_i64..90_000_000,
            -10_000_i64..10_000,
            Just(3_600_000),
            Just(-60_000),
        ]
    };
    let event = prop_oneof![
        6 => (1_u8..120).prop_map(Event::Run),
        2 => jumps().prop_map(Event::Jump),
        2 => (1_u8..4, jumps()).prop_map(|(beats, by)| Event::Blip(beats, by)),
        1 => (0_u16..200, 0_u16..200).prop_map(|(there, back)| Event::Network(there, back)),
        // A wall clock that is ahead together with the store's clock outvotes the other replicas, so it is not
        // generated.
        2 => (any::<i8>(), jumps()).prop_map(|(drift, wall)| Event::Start(drift, wall.min(0))),
        1 => Just(Event::Stop),
        1 => Just(Event::Lose),
    ];
    proptest::collection::vec(event, 1..60)
}

/// Runs a history, and returns the violated rule.
fn find_violation(tuning: Tuning, events: &[Event]) -> Result<(), String> {
    let mut world = World::new(tuning);
    for event in events {
        world.apply(*event, |world| {
            // A replica that joined during a jump approaches the others only with 0.1 %.
            let most_apart = JOIN_ERROR + world.jumps * JOIN_ERROR_DURING_JUMP;
            let mut errors = Vec::new();
            for machine in &world.machines {
                let Some((elapsed, more)) = machine.counted(world.micros) else {
                    continue;
                };
                let bound = elapsed * RATE_MILLIONTHS / 1_000_000 + ROUNDING;
                // A replica that joined behind the others steps forward at once, so it ends no session late.
                let joined_behind = match machine.joined_after_jump {
                    true => most_apart,
                    false => 0,
                };
                if more > bound + joined_behind || more < -bound {
                    return Err(format!(
                        "{elapsed} ms passed, and decision time counted {more} ms more, after {event:?}"
                    ));
                }
                errors.extend(machine.error(world.micros));
            }
            let (first, last) = (errors.iter().min(), errors.iter().max());
            match (first, last) {
                (Some(first), Some(last)) if last - first > most_apart => {
                    Err(format!("replicas are {} ms apart after {event:?}", last - first))
                }
                _ => Ok(()),
            }
        })?;
    }
    Ok(())
}

fn run(tuning: Tuning, cases: u32) -> Result<(), String> {
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&events(), |events| {
            find_violation(tuning, &events).map_err(TestCaseError::fail)
        })
        .map_err(|error| error.to_string())
}

/// Whatever the store's clock does: the elapsed time is correct within 0.113 %, no jump moves decision time, and the
/// replicas agree.
#[test]
fn elapsed_time_is_correct_whatever_the_clocks_do() {
    run(Tuning::DEFAULT, 3000).unwrap();
}

/// The store's clock is set four times within ten seconds, and two replicas start meanwhile.
#[test]
fn a_replica_that_joins_behind_the_others_catches_up() {
    use Event::{Jump, Network, Run, Start};
    let events = [
        Run(2),
        Jump(-2_091),
        Network(0, 93),
        Start(0, 0),
        Run(4),
        Jump(197),
        Jump(-494),
        Run(6),
        Start(0, 0),
        Jump(870),
        Run(9),
    ];
    find_violation(Tuning::DEFAULT, &events).unwrap();
    let world = world(&events);
    for machine in &world.machines {
        let error = machine.error(world.micros).unwrap();
        assert!(error.abs() < JOIN_ERROR, "{error} ms");
    }
}

/// The property detects each of these faults.
#[test]
fn the_property_fails_when_a_rule_is_left_out() {
    let settling = |samples, over| AcceptanceRule { samples, over };
    for (fault, tuning) in [
        (
            "a difference of an hour is followed at once",
            Tuning {
                tolerance: 200_000_000,
                rate: 1_000_000,
                ..Tuning::DEFAULT
            },
        ),
        (
            "decision time runs 1 % fast",
            Tuning {
                rate: 10,
                ..Tuning::DEFAULT
            },
        ),
        (
            "one sample is accepted, and a starting replica does not wait for the others",
            Tuning {
                settling: settling(1, 0),
                abandoned_after: -DISPUTED_MILLIS,
                ..Tuning::DEFAULT
            },
        ),
        (
            "a starting replica trusts the store's clock",
            Tuning {
                joins_with_care: false,
                ..Tuning::DEFAULT
            },
        ),
    ] {
        assert!(run(tuning, 600).is_err(), "undetected: {fault}");
    }
}

fn world(events: &[Event]) -> World {
    let mut world = World::new(Tuning::DEFAULT);
    for event in events {
        world.apply(*event, |_| Ok::<_, ()>(())).unwrap();
    }
    world
}

#[test]
fn a_jump_of_an_hour_and_back_has_no_effect() {
    let hour = 3_600_000;
    for beats in [1, 4, 40, 200] {
        let world = world(&[
            Event::Run(10),
            Event::Jump(hour),
            Event::Run(beats),
            Event::Jump(-hour),
            Event::Run(200),
        ]);
        let error = world.machines[0].error(world.micros).unwrap();
        assert!(error.abs() < 200, "{error} ms after {beats} beats");
    }
}

#[test]
fn a_fast_wall_clock_alone_has_no_effect() {
    let hour = 3_600_000;
    for jump in [0, -60_000] {
        let world = world(&[
            Event::Run(10),
            Event::Jump(jump),
            Event::Start(0, hour),
            Event::Run(30),
        ]);
        for machine in &world.machines {
            let error = machine.error(world.micros).unwrap();
            assert!(error.abs() < JOIN_ERROR, "{error} ms, jump {jump}");
        }
    }
}

#[test]
fn a_replica_that_starts_during_a_disagreement_joins() {
    for when in [1, 3, 5, 8, 20] {
        let world = world(&[
            Event::Run(10),
            Event::Jump(-60_000),
            Event::Run(when),
            Event::Start(0, 0),
            Event::Run(30),
        ]);
        assert_eq!(world.machines.len(), 2);
        for machine in &world.machines {
            let error = machine.error(world.micros).unwrap();
            assert!(
                error.abs() < JOIN_ERROR,
                "{error} ms, started after {when} beats"
            );
        }
    }
}
