use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::super::samples::AcceptanceRule;
use super::simulation::{Event, World};
use super::*;

/// The maximum deviation of decision time from real time, in millionths: the sum of the slew rate (0.1 %) and of the
/// drift of an uncorrected boot-time clock (at most 0.013 %).
const MAX_DEVIATION_MILLIONTHS: i64 = 1_130;
/// The error from rounding and asymmetric network delay, in milliseconds.
const ROUNDING_MILLIS: i64 = 10;
/// The largest difference from the other replicas after a join, in milliseconds. It covers the tolerance and the
/// interval between two heartbeats.
const JOIN_ERROR_MILLIS: i64 = 900;
/// Each jump of the store's clock adds this value to [`JOIN_ERROR_MILLIS`], in milliseconds. After a smaller jump, the
/// record still looks fresh, so a starting replica can join with a wrong decision time.
const JUMP_ERROR_MILLIS: i64 = 2_500;

/// Generates random histories: lists of events.
fn any_events() -> impl Strategy<Value = Vec<Event>> {
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
        2 => (1_u8..4, jumps()).prop_map(|(heartbeats, error)| Event::TransientError(heartbeats, error)),
        1 => (0_u16..200, 0_u16..200).prop_map(|(request, response)| Event::NetworkDelays(request, response)),
        // If the wall clock of a starting replica and the store's clock are both ahead, the replica follows them and
        // not the other replicas. Therefore no generated wall clock is ahead.
        2 => (any::<i8>(), jumps()).prop_map(|(drift, wall)| Event::Start(drift, wall.min(0))),
        1 => Just(Event::Stop),
        1 => Just(Event::LoseRecord),
    ];
    proptest::collection::vec(event, 1..60)
}

/// Runs a history. The error describes the first wrong decision time, or the first disagreement of the replicas.
fn find_violation(tuning: Tuning, events: &[Event]) -> Result<(), String> {
    let mut world = World::new(tuning);
    for event in events {
        world.apply(*event, |world| {
            // A replica that joined during a jump approaches the other replicas slowly (0.1 %), so each jump adds to
            // the allowed difference.
            let max_spread = JOIN_ERROR_MILLIS + world.jump_count * JUMP_ERROR_MILLIS;
            let mut errors = Vec::new();
            // Replicas that join during two jumps can be ahead of the other replicas by more than
            // [`MAX_SLEWED_LAG_MILLIS`]. Then the other replicas step forward.
            let leads_others = world.jump_count > 1
                && world
                    .machines
                    .iter()
                    .any(|machine| machine.joined_after_jump);
            for machine in &world.machines {
                let Some((elapsed, excess)) = machine.elapsed_and_excess(world.micros) else {
                    continue;
                };
                let max_deviation =
                    elapsed * MAX_DEVIATION_MILLIONTHS / 1_000_000 + ROUNDING_MILLIS;
                // A replica that joined behind the other replicas may gain more time, because it steps forward. If it
                // did not step, it would end sessions late.
                let step_forward = match machine.joined_after_jump || leads_others {
                    true => max_spread,
                    false => 0,
                };
                if excess > max_deviation + step_forward || excess < -max_deviation {
                    return Err(format!(
                        "after {event:?}: decision time gained {excess} ms in {elapsed} ms"
                    ));
                }
                errors.extend(machine.error(world.micros));
            }
            let (smallest, largest) = (errors.iter().min(), errors.iter().max());
            match (smallest, largest) {
                (Some(smallest), Some(largest)) if largest - smallest > max_spread => Err(format!(
                    "after {event:?}: replicas are {} ms apart",
                    largest - smallest
                )),
                _ => Ok(()),
            }
        })?;
    }
    Ok(())
}

/// Runs random histories. The error is the first error of [`find_violation`].
fn find_violation_in_random_histories(tuning: Tuning, cases: u32) -> Result<(), String> {
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&any_events(), |events| {
            find_violation(tuning, &events).map_err(TestCaseError::fail)
        })
        .map_err(|error| error.to_string())
}

/// With random jumps of the store's clock, the elapsed time is correct within 0.113 %, no jump moves decision time,
/// and the replicas agree.
#[test]
fn elapsed_time_is_correct_despite_clock_jumps() {
    find_violation_in_random_histories(Tuning::DEFAULT, 3000).unwrap();
}

/// The store's clock is set four times within ten seconds, and two replicas start during that time.
#[test]
fn a_replica_that_joins_behind_the_others_catches_up() {
    use Event::{Jump, NetworkDelays, Run, Start};
    let events = [
        Run(2),
        Jump(-2_091),
        NetworkDelays(0, 93),
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
    let world = run_events(&events);
    for machine in &world.machines {
        let error = machine.error(world.micros).unwrap();
        assert!(error.abs() < JOIN_ERROR_MILLIS, "{error} ms");
    }
}

/// The store's clock is set forward twice within three seconds, and a replica starts after each change. The replica
/// that was already running steps forward by at most the sum of the changes. No decision time goes back.
#[test]
fn two_jumps_during_joins_move_a_running_replica_forward_at_most() {
    use Event::{Jump, Run, Start};
    let events = [
        Run(2),
        Jump(1_323),
        Start(92, 0),
        Run(3),
        Jump(1_683),
        Start(0, 0),
        Run(40),
    ];
    find_violation(Tuning::DEFAULT, &events).unwrap();
    let world = run_events(&events);
    for machine in &world.machines {
        let error = machine.error(world.micros).unwrap();
        assert!((0..=1_323 + 1_683).contains(&error), "{error} ms");
    }
}

/// [`find_violation_in_random_histories`] detects each of the faults in this list.
#[test]
fn random_histories_detect_wrong_parameters() {
    for (fault, tuning) in [
        (
            "decision time follows a difference of an hour at once",
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
                acceptance: AcceptanceRule {
                    min_samples: 1,
                    min_span: 0,
                },
                abandoned_after: -DISPUTED_REFRESH_MILLIS,
                ..Tuning::DEFAULT
            },
        ),
        (
            "a starting replica trusts the store's clock",
            Tuning {
                verifies_on_join: false,
                ..Tuning::DEFAULT
            },
        ),
    ] {
        assert!(
            find_violation_in_random_histories(tuning, 600).is_err(),
            "undetected: {fault}"
        );
    }
}

/// Runs a history with the default parameters, and returns the resulting world.
fn run_events(events: &[Event]) -> World {
    let mut world = World::new(Tuning::DEFAULT);
    for event in events {
        world.apply(*event, |_| Ok::<_, ()>(())).unwrap();
    }
    world
}

#[test]
fn a_jump_of_an_hour_and_back_has_no_effect() {
    let hour = 3_600_000;
    for heartbeats in [1, 4, 40, 200] {
        let world = run_events(&[
            Event::Run(10),
            Event::Jump(hour),
            Event::Run(heartbeats),
            Event::Jump(-hour),
            Event::Run(200),
        ]);
        let error = world.machines[0].error(world.micros).unwrap();
        assert!(
            error.abs() < 200,
            "{error} ms after {heartbeats} heartbeats"
        );
    }
}

#[test]
fn a_fast_wall_clock_alone_has_no_effect() {
    let hour = 3_600_000;
    for jump in [0, -60_000] {
        let world = run_events(&[
            Event::Run(10),
            Event::Jump(jump),
            Event::Start(0, hour),
            Event::Run(30),
        ]);
        for machine in &world.machines {
            let error = machine.error(world.micros).unwrap();
            assert!(error.abs() < JOIN_ERROR_MILLIS, "{error} ms, jump {jump}");
        }
    }
}

#[test]
fn a_replica_that_starts_during_a_disagreement_joins() {
    for heartbeats in [1, 3, 5, 8, 20] {
        let world = run_events(&[
            Event::Run(10),
            Event::Jump(-60_000),
            Event::Run(heartbeats),
            Event::Start(0, 0),
            Event::Run(30),
        ]);
        assert_eq!(world.machines.len(), 2);
        for machine in &world.machines {
            let error = machine.error(world.micros).unwrap();
            assert!(
                error.abs() < JOIN_ERROR_MILLIS,
                "{error} ms, started after {heartbeats} heartbeats"
            );
        }
    }
}
