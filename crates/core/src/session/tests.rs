//! Tests of session decisions, with fixed cases and with random histories.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// The sign-in time of every session in these tests.
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn limits(idle: Duration, absolute: Duration) -> Limits {
    Limits {
        idle: Some(idle),
        absolute,
        max_auth_age: None,
    }
}

fn session(limits: &Limits) -> Session {
    let new = NewSession {
        remembered: false,
        binding: crate::session::Binding::default(),
        subject: Subject::new("alice").unwrap(),
        attributes: Attributes::default(),
        policy: PolicyName::new("default").unwrap(),
    };
    Session::start(new, limits, HOUR, START)
}

fn verdict(session: &Session, limits: &Limits, now: Timestamp) -> Verdict {
    decide(Some(session), limits, limits, now)
}

const ALLOW: Verdict = Verdict::Allow;
const IDLE: Verdict = Verdict::Deny(DenyReason::IdleTimeout);
const ABSOLUTE: Verdict = Verdict::Deny(DenyReason::AbsoluteTimeout);
const REAUTHENTICATE: Verdict = Verdict::Deny(DenyReason::ReauthenticationRequired);

mod decision {
    use super::*;

    #[test]
    fn no_record_is_an_unknown_session() {
        let limits = limits(MINUTE, HOUR);
        let expected = Verdict::Deny(DenyReason::UnknownSession);
        assert_eq!(decide(None, &limits, &limits, START), expected);
    }

    #[test]
    fn the_idle_limit_is_exact_to_the_millisecond() {
        let limits = limits(15 * MINUTE, 12 * HOUR);
        let session = session(&limits);
        let limit_reached_at = START.plus(15 * MINUTE);
        assert_eq!(
            verdict(
                &session,
                &limits,
                limit_reached_at.minus(Duration::from_millis(1))
            ),
            ALLOW
        );
        assert_eq!(verdict(&session, &limits, limit_reached_at), IDLE);
    }

    #[test]
    fn the_absolute_limit_is_exact_to_the_millisecond() {
        let limits = limits(HOUR, HOUR + MINUTE);
        let mut session = session(&limits);
        session.touch(START.plus(HOUR));
        let limit_reached_at = START.plus(HOUR + MINUTE);
        assert_eq!(
            verdict(
                &session,
                &limits,
                limit_reached_at.minus(Duration::from_millis(1))
            ),
            ALLOW
        );
        assert_eq!(verdict(&session, &limits, limit_reached_at), ABSOLUTE);
    }

    #[test]
    fn the_absolute_limit_takes_precedence_over_the_idle_limit() {
        let limits = limits(HOUR, HOUR);
        assert_eq!(
            verdict(&session(&limits), &limits, START.plus(HOUR)),
            ABSOLUTE
        );
    }

    #[test]
    fn a_clock_before_the_last_activity_gives_zero_idle_time() {
        let limits = limits(SECOND, HOUR);
        assert_eq!(
            verdict(&session(&limits), &limits, START.minus(HOUR)),
            ALLOW
        );
    }

    #[test]
    fn without_an_idle_limit_only_the_absolute_limit_ends_the_session() {
        let limits = Limits {
            idle: None,
            absolute: 30 * HOUR,
            max_auth_age: None,
        };
        let session = session(&limits);
        assert_eq!(
            verdict(&session, &limits, START.plus(30 * HOUR - SECOND)),
            ALLOW
        );
        assert_eq!(verdict(&session, &limits, START.plus(30 * HOUR)), ABSOLUTE);
    }

    #[test]
    fn an_ended_session_is_denied_with_its_recorded_reason() {
        let limits = limits(MINUTE, HOUR);
        for reason in EndReason::ALL {
            let mut session = session(&limits);
            assert!(session.end(reason, START));
            assert_eq!(
                verdict(&session, &limits, START),
                Verdict::Deny(reason.denial())
            );
            assert_eq!(
                verdict(&session, &limits, START.plus(9 * HOUR)).as_str(),
                reason.as_str()
            );
        }
    }

    #[test]
    fn a_stricter_request_policy_denies_but_does_not_end_the_session() {
        let home = limits(HOUR, 12 * HOUR);
        let session = session(&home);
        let at = |minutes: u32| START.plus(minutes * MINUTE);
        for (request, until) in [
            (limits(5 * MINUTE, 12 * HOUR), 5),
            (limits(5 * MINUTE, 5 * MINUTE), 5),
            (limits(HOUR, 10 * MINUTE), 10),
            (
                Limits {
                    max_auth_age: Some(20 * MINUTE),
                    ..home
                },
                20,
            ),
        ] {
            let just_before = at(until).minus(Duration::from_millis(1));
            assert_eq!(decide(Some(&session), &home, &request, just_before), ALLOW);
            assert_eq!(
                decide(Some(&session), &home, &request, at(until)),
                REAUTHENTICATE
            );
            assert_eq!(verdict(&session, &home, at(until)), ALLOW);
        }
    }

    #[test]
    fn a_laxer_request_policy_has_no_effect() {
        let home = limits(MINUTE, HOUR);
        let lax_limits = limits(HOUR, 12 * HOUR);
        assert_eq!(
            decide(
                Some(&session(&home)),
                &home,
                &lax_limits,
                START.plus(MINUTE)
            ),
            IDLE
        );
    }

    #[test]
    fn the_idle_limit_never_exceeds_the_record_retention() {
        let signed_in = limits(MINUTE, 12 * HOUR);
        let mut session = session(&signed_in);
        session.retention = signed_in.retention(Duration::ZERO);
        let max_idle = session.retention - MIN_TOMBSTONE_TTL;
        for idle in [Some(11 * HOUR), None] {
            let longer_limits = Limits { idle, ..signed_in };
            assert_eq!(
                verdict(&session, &longer_limits, START.plus(max_idle)),
                IDLE
            );
        }
    }
}

mod transitions {
    use super::*;

    #[test]
    fn the_first_end_is_final() {
        let mut session = session(&limits(MINUTE, HOUR));
        assert!(session.end(EndReason::Revoked, START));
        assert!(!session.end(EndReason::IdleTimeout, START.plus(HOUR)));
        assert_eq!(
            session.state,
            State::Ended(End {
                reason: EndReason::Revoked,
                at: START
            })
        );
    }

    #[test]
    fn ageing_equals_an_earlier_start() {
        let limits = limits(15 * MINUTE, HOUR);
        let mut aged = session(&limits);
        aged.age(14 * MINUTE);
        assert_eq!(verdict(&aged, &limits, START), ALLOW);
        assert_eq!(verdict(&aged, &limits, START.plus(MINUTE)), IDLE);
        aged.age(46 * MINUTE);
        assert_eq!(verdict(&aged, &limits, START), ABSOLUTE);
        assert!(
            aged.expires() >= START.plus(MIN_TOMBSTONE_TTL),
            "the record should still contain the reason"
        );
    }

    #[test]
    fn a_record_is_kept_past_every_limit() {
        let limits = limits(15 * MINUTE, HOUR);
        let mut session = session(&limits);
        assert_eq!(session.expires(), START.plus(HOUR + 15 * MINUTE));
        session.touch(START.plus(MINUTE));
        assert_eq!(session.expires(), START.plus(HOUR + 16 * MINUTE));
        session.end(EndReason::Revoked, START.plus(2 * MINUTE));
        assert_eq!(session.expires(), START.plus(HOUR + 17 * MINUTE));
        assert!(session.expires() <= session.expires_at_latest());
    }
}

/// Generates limits. The idle limit can be shorter or longer than the absolute limit, or missing.
fn any_limits() -> impl Strategy<Value = Limits> {
    (
        proptest::option::of(1_u64..100),
        1_u64..200,
        proptest::option::of(1_u64..200),
    )
        .prop_map(|(idle, absolute, max_auth_age)| Limits {
            idle: idle.map(Duration::from_secs),
            absolute: Duration::from_secs(absolute),
            max_auth_age: max_auth_age.map(Duration::from_secs),
        })
}

/// Generates times before, during and after a session that starts at [`START`]. Many of them are whole seconds after
/// [`START`], so that a limit can be reached exactly.
fn any_instant() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        (0_u32..260).prop_map(|s| START.plus(s * SECOND)),
        (0_u64..260_000).prop_map(|ms| START.plus(Duration::from_millis(ms))),
        (1_u64..60_000).prop_map(|ms| START.minus(Duration::from_millis(ms))),
    ]
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Touch(Timestamp),
    End(EndReason, Timestamp),
    Age(Duration),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any_instant().prop_map(Step::Touch),
        1 => (0_usize..3, any_instant()).prop_map(|(i, at)| Step::End(EndReason::ALL[i], at)),
        1 => (0_u32..50).prop_map(|s| Step::Age(s * SECOND)),
    ]
}

fn apply_step(session: &mut Session, step: Step) {
    match step {
        Step::Touch(at) => session.touch(at),
        Step::End(reason, at) => {
            session.end(reason, at);
        }
        Step::Age(by) => session.age(by),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// A session is allowed exactly until it reaches one of its limits. The test computes the expected verdict
    /// without the functions that it tests.
    #[test]
    fn a_session_is_allowed_exactly_within_its_limits(
        limits in any_limits(),
        touches in proptest::collection::vec(any_instant(), 0..8),
        now in any_instant(),
    ) {
        let home = Limits { max_auth_age: None, ..limits };
        let mut session = session(&home);
        for at in &touches {
            session.touch(*at);
        }
        let last_seen = touches.iter().copied().chain([START]).max().unwrap();
        let age = now.as_millis().saturating_sub(START.as_millis());
        let idle_time = now.as_millis().saturating_sub(last_seen.as_millis());
        let expected = if u128::from(age) >= home.absolute.as_millis() {
            ABSOLUTE
        } else if home.idle.is_some_and(|idle| u128::from(idle_time) >= idle.as_millis()) {
            IDLE
        } else {
            ALLOW
        };
        prop_assert_eq!(verdict(&session, &home, now), expected);
        // A step-up limit denies exactly the live sessions that have reached it.
        let needs_step_up = limits.max_auth_age.is_some_and(|max| u128::from(age) >= max.as_millis());
        let expected = if expected == ALLOW && needs_step_up { REAUTHENTICATE } else { expected };
        prop_assert_eq!(verdict(&session, &limits, now), expected);
        let until = allowed_until(&session, &home, &limits);
        prop_assert_eq!(decide(Some(&session), &home, &limits, now) == ALLOW, now < until);
    }

    /// An ended session never becomes live again, even after further operations and with other limits.
    #[test]
    fn an_ended_session_is_never_revived(
        at_start in any_limits(),
        before in proptest::collection::vec(any_step(), 0..5),
        reason in 0_usize..3,
        after in proptest::collection::vec(any_step(), 0..8),
        later in any_limits(),
        now in any_instant(),
    ) {
        let mut session = session(&at_start);
        before.into_iter().for_each(|step| apply_step(&mut session, step));
        session.end(EndReason::ALL[reason], now);
        let tombstone = session.clone();
        after.into_iter().for_each(|step| apply_step(&mut session, step));
        prop_assert_eq!(&session, &tombstone, "a tombstone should never change");
        let State::Ended(end) = session.state else { panic!("the session should have ended") };
        prop_assert_eq!(verdict(&session, &later, now), Verdict::Deny(end.reason.denial()));
    }

    /// Time alone never makes a session valid again: after a denial, every later request is denied.
    #[test]
    fn a_denial_is_final_without_a_touch(
        limits in any_limits(), request in any_limits(), a in any_instant(), b in any_instant(),
    ) {
        let session = session(&limits);
        let (early, late) = (a.min(b), a.max(b));
        if decide(Some(&session), &limits, &request, early) != ALLOW {
            prop_assert_ne!(decide(Some(&session), &limits, &request, late), ALLOW);
        }
    }

    /// Without a record, the verdict is `unknown_session` at any time and with any limits.
    #[test]
    fn without_a_record_the_verdict_is_unknown_session(
        home in any_limits(), request in any_limits(), now in any_instant(),
    ) {
        let unknown = Verdict::Deny(DenyReason::UnknownSession);
        prop_assert_eq!(decide(None, &home, &request, now), unknown);
    }

    /// Touches in another order, and repeated touches, give the same record.
    #[test]
    fn the_order_and_repetition_of_touches_have_no_effect(
        limits in any_limits(),
        touches in proptest::collection::vec(any_instant(), 1..8),
        order in proptest::collection::vec(any::<proptest::sample::Index>(), 0..16),
    ) {
        let (mut in_order, mut shuffled) = (session(&limits), session(&limits));
        touches.iter().for_each(|at| in_order.touch(*at));
        order.iter().for_each(|index| shuffled.touch(*index.get(&touches)));
        touches.iter().rev().for_each(|at| shuffled.touch(*at));
        prop_assert_eq!(in_order, shuffled);
    }

    /// A touch changes only the last activity, and never moves it back.
    #[test]
    fn a_touch_extends_only_the_idle_limit(limits in any_limits(), at in any_instant()) {
        let before = session(&limits);
        let mut after = before.clone();
        after.touch(at);
        prop_assert!(after.last_seen >= before.last_seen);
        prop_assert_eq!(after.absolute_deadline(&limits), before.absolute_deadline(&limits));
        prop_assert_eq!(Session { last_seen: before.last_seen, ..after }, before);
    }

    /// Shorter limits apply at once. Longer limits never move the deadline.
    #[test]
    fn shorter_limits_apply_at_once_and_longer_limits_never_move_the_deadline(
        at_start in any_limits(),
        later in any_limits(),
        touches in proptest::collection::vec(any_instant(), 0..4),
        now in any_instant(),
    ) {
        let at_start = Limits { max_auth_age: None, ..at_start };
        let later = Limits { max_auth_age: None, ..later };
        let mut session = session(&at_start);
        touches.iter().for_each(|at| session.touch(*at));
        let verdict = verdict(&session, &later, now);
        if now >= START.plus(at_start.absolute.min(later.absolute)) {
            prop_assert_eq!(verdict, ABSOLUTE);
        } else if later.idle.is_some_and(|idle| now >= session.last_seen.plus(idle)) {
            prop_assert_eq!(verdict, IDLE);
        }
    }

    /// A request policy can deny requests that the home policy allows, but it never allows requests that the home
    /// policy denies.
    #[test]
    fn a_request_policy_never_allows_what_the_home_policy_denies(
        home in any_limits(), request in any_limits(), now in any_instant(),
    ) {
        let home = Limits { max_auth_age: None, ..home };
        let session = session(&home);
        let home_verdict = verdict(&session, &home, now);
        let verdict_for_request = decide(Some(&session), &home, &request, now);
        prop_assert!(verdict_for_request == home_verdict
            || (home_verdict == ALLOW && verdict_for_request == REAUTHENTICATE));
        prop_assert_eq!(verdict_for_request == ALLOW, home_verdict == ALLOW
            && verdict(&session, &Limits { max_auth_age: request.max_auth_age,
                ..home.strictest(request) }, now) == ALLOW);
    }

    /// The record of a session never expires before the session reaches one of its limits.
    #[test]
    fn the_store_keeps_the_record_of_a_live_session(
        at_start in any_limits(), later in any_limits(), now in any_instant(),
        touches in proptest::collection::vec(any_instant(), 0..4),
        tombstone_ttl in 0_u32..200,
    ) {
        let mut session = session(&at_start);
        session.retention = at_start.retention(tombstone_ttl * SECOND) + session.margin;
        touches.iter().for_each(|at| session.touch(*at));
        let kept_until = session.expires().minus(MIN_TOMBSTONE_TTL);
        if now >= kept_until {
            prop_assert_ne!(verdict(&session, &later, now), ALLOW);
        }
    }
}
