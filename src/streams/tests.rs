use std::time::Duration;

use super::testing::{open_stream, target};
use super::*;
use crate::clock::ManualClock;
use crate::policy::StreamSettings;
use crate::testing::{SECOND, START, session_of};

#[test]
fn the_limits_of_the_replica_and_of_a_session_hold() {
    let limits = StreamLimits {
        max: 3,
        max_per_session: 2,
    };
    let opened = open_stream(StreamSettings::default(), limits);
    let first = opened.open().unwrap();
    let second = opened.open().unwrap();
    assert_eq!(opened.open().err(), Some(StreamLimit::Session));
    let open_other = || {
        let other = (SessionId::from_bytes([2; 16]), session_of("bob", START));
        let terms = opened.terms.clone();
        opened.registry.open(other, target(), terms, limits)
    };
    let third = open_other().unwrap();
    assert_eq!(open_other().err(), Some(StreamLimit::Replica));
    drop(first);
    let fourth = open_other().unwrap();
    assert_eq!(opened.registry.count(), 3);
    drop((second, third, fourth));
    assert_eq!(opened.registry.count(), 0);
    assert!(opened.registry.of_session(opened.session).is_empty());
    let text = opened.metrics.render().unwrap();
    for line in [
        "curfew_streams_refused_total{limit=\"session\"} 1",
        "curfew_streams_refused_total{limit=\"replica\"} 1",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn a_cut_keeps_its_first_reason() {
    let opened = open_stream(StreamSettings::default(), StreamLimits::default());
    let guard = opened.open().unwrap();
    guard.set_kind(StreamKind::WebSocket);
    opened
        .registry
        .end_session(opened.session, DenyReason::SignedOut);
    opened
        .registry
        .end_session(opened.session, DenyReason::Revoked);
    assert_eq!(guard.stream().cut_reason(), Some(DenyReason::SignedOut));
    guard.count_from_client(10);
    guard.count_to_client(20);
    let text = opened.metrics.render().unwrap();
    assert!(
        text.contains("curfew_streams_open{kind=\"websocket\"} 1"),
        "{text}"
    );
    drop(guard);
    let text = opened.metrics.render().unwrap();
    for line in [
        "curfew_streams_open{kind=\"websocket\"} 0",
        "curfew_streams_opened_total{kind=\"websocket\"} 1",
        "curfew_streams_cut_total{reason=\"signed_out\"} 1",
        "curfew_stream_bytes_total{direction=\"from_client\"} 10",
        "curfew_stream_bytes_total{direction=\"to_client\"} 20",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

/// A session that is reported during its decision is due again afterwards.
#[test]
fn a_report_during_a_decision_is_not_lost() {
    let opened = open_stream(StreamSettings::default(), StreamLimits::default());
    let _guard = opened.open().unwrap();
    let now = START.plus(SECOND);
    assert_eq!(opened.registry.take_due(now, 100), [opened.session]);
    assert!(opened.registry.take_due(now, 100).is_empty());
    opened.registry.recheck_now(opened.session);
    let record = session_of("alice", START);
    opened
        .registry
        .record_decision(opened.session, &record, START.plus(60 * SECOND));
    assert_eq!(opened.registry.take_due(now, 100), [opened.session]);
    opened
        .registry
        .record_decision(opened.session, &record, START.plus(60 * SECOND));
    assert!(opened.registry.take_due(now, 100).is_empty());
    assert_eq!(
        opened.registry.take_due(START.plus(60 * SECOND), 100),
        [opened.session]
    );
}

/// Opens a stream in a registry whose invalidations come from other replicas.
fn open_with_replicas() -> (ManualClock, Arc<OpenStreams>, StreamGuard) {
    let steady = ManualClock::new(START);
    let opened = open_stream(StreamSettings::default(), StreamLimits::default());
    let registry = OpenStreams::new(
        Arc::new(opened.clock.clone()),
        Some(Arc::new(steady.clone())),
        Arc::clone(&opened.metrics),
    );
    let registry = Arc::new(registry);
    let session = (opened.session, session_of("alice", START));
    let guard = registry
        .open(session, target(), opened.terms, opened.limits)
        .unwrap();
    (steady, registry, guard)
}

#[test]
fn streams_are_cut_when_ends_were_not_heard_for_longer_than_the_grace() {
    let (steady, registry, guard) = open_with_replicas();
    // In this test, decision time equals the time of the channel.
    let is_cut = |steady: &ManualClock| {
        registry.cut_uncertain(steady.now());
        guard.stream().cut_reason().is_some()
    };
    registry.caught_up_to(START);
    steady.advance(StreamSettings::DEFAULT_GRACE);
    assert!(!is_cut(&steady));
    registry.on_lost_invalidation();
    registry.caught_up_to(steady.now());
    steady.advance(StreamSettings::DEFAULT_GRACE);
    assert!(!is_cut(&steady), "a heartbeat must begin a new grace");
    steady.advance(Duration::from_millis(1));
    assert!(is_cut(&steady));
    assert_eq!(
        guard.stream().cut_reason(),
        Some(DenyReason::StoreUnavailable)
    );
}

/// Without the invalidation channel, Curfew reads the records instead.
#[test]
fn a_session_that_is_read_again_is_not_uncertain() {
    let opened = open_stream(StreamSettings::default(), StreamLimits::default());
    let clock = opened.clock.clone();
    let registry = OpenStreams::new(
        Arc::new(clock.clone()),
        Some(Arc::new(clock.clone())),
        Arc::clone(&opened.metrics),
    );
    let registry = Arc::new(registry);
    let record = session_of("alice", START);
    let session = (opened.session, record.clone());
    let guard = registry
        .open(session, target(), opened.terms, opened.limits)
        .unwrap();
    for _ in 0..200 {
        clock.advance(SECOND);
        registry.cut_uncertain(clock.now());
        assert_eq!(registry.take_due(clock.now(), 100), [opened.session]);
        registry.record_decision(opened.session, &record, Timestamp::MAX);
    }
    assert_eq!(guard.stream().cut_reason(), None);
}

#[test]
fn all_sessions_are_due_after_lost_invalidations() {
    let (steady, registry, _guard) = open_with_replicas();
    assert_eq!(registry.take_due(START.plus(SECOND), 100).len(), 1);
    registry.caught_up_to(steady.now());
    assert!(registry.take_due(START.plus(SECOND), 100).is_empty());
    registry.on_lost_invalidation();
    assert!(registry.take_due(START.plus(SECOND), 100).is_empty());
    registry.caught_up_to(steady.now());
    assert_eq!(registry.take_due(START.plus(SECOND), 100).len(), 1);
}

/// A second decision would only repeat the question to a store that does not answer.
#[test]
fn a_session_is_not_due_again_during_its_decision_while_ends_are_not_heard() {
    let (steady, registry, guard) = open_with_replicas();
    let later = START.plus(5 * SECOND);
    steady.set(later);
    registry.cut_uncertain(later);
    let session = guard.stream().session;
    assert_eq!(registry.take_due(later, 100), [session]);
    for _ in 0..3 {
        registry.cut_uncertain(later);
        assert!(registry.take_due(later, 100).is_empty());
    }
    registry.mark_unconfirmed(session, later, later.plus(SECOND));
    registry.cut_uncertain(later);
    assert!(registry.take_due(later, 100).is_empty());
    assert_eq!(registry.take_due(later.plus(SECOND), 100), [session]);
}
