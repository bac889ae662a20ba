//! The conformance suite for stores: every store and every wrapper of a store must pass it. Each test creates its own
//! sessions, so several tests may use one store.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test suite reports failures as panics"
)]

mod adoption;
mod changes;
mod revocations;
mod route_checks;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;

use super::{CreateOutcome, Cursor, DeadlineQueue, EndOutcome, EndRequest, SessionStore, Touch};
use crate::actor::Actor;
use crate::events::SessionEnded;
use crate::session::{
    Attributes, End, EndReason, Limits, NewSession, PolicyName, Session, SessionId, State, Subject,
    Timestamp,
};

pub use adoption::run_history;
pub use revocations::{run_cut_offs, run_rules};
pub use route_checks::run_route_checks;

const MINUTE: Duration = Duration::from_secs(60);
/// How many tasks try an operation concurrently, if only one of them may succeed.
const CONCURRENT_ATTEMPTS: usize = 16;

/// Runs the whole suite. `now` must be close to the time of the store, because a store may delete expired records
/// with its own clock.
///
/// # Panics
/// If the store fails a test.
pub async fn run(store: &dyn SessionStore, now: Timestamp) {
    store.ready().await.expect("the store should be ready");
    operations_do_not_create_a_missing_session(store, now).await;
    a_session_is_stored_unchanged(store, now).await;
    create_replaces_no_record(store, now).await;
    touches_only_move_the_last_activity_forward(store, now).await;
    a_later_end_or_touch_does_not_change_a_tombstone(store, now).await;
    an_outdated_timeout_does_not_end_a_touched_session(store, now).await;
    ageing_moves_every_time_of_a_session(store, now).await;
    listing_pages_through_a_subject(store, now).await;
    only_one_concurrent_create_or_end_succeeds(store, now).await;
    adoption::run(store, now).await;
    changes::run(store, now).await;
}

/// Tests a deadline queue. The queue must be empty before the call.
///
/// # Panics
/// If the queue fails a test.
pub async fn run_queue(queue: &dyn DeadlineQueue, now: Timestamp) {
    let (a, b, c) = (random_id(), random_id(), random_id());
    let (lease, later) = (now.plus(MINUTE), now.plus(2 * MINUTE));
    let claim = async |now, until, limit| queue.claim(now, until, limit).await.unwrap();
    assert_eq!(
        claim(now, lease, 9).await,
        [],
        "an empty queue should have no due session"
    );
    queue.enqueue(b, now).await.unwrap();
    queue.enqueue(a, now.minus(MINUTE)).await.unwrap();
    queue.enqueue(c, later).await.unwrap();
    queue.enqueue(c, now).await.unwrap();
    assert_eq!(
        queue.peek_upcoming(2).await.unwrap(),
        [a, b],
        "peek_upcoming should not claim the sessions that it returns"
    );
    assert_eq!(queue.peek_upcoming(9).await.unwrap(), [a, b, c]);
    assert_eq!(queue.peek_upcoming(0).await.unwrap(), []);
    assert_eq!(
        claim(now, lease, 1).await,
        [a],
        "claim should return the earliest due time first"
    );
    assert_eq!(
        claim(now, lease, 9).await,
        [b],
        "enqueue should not move c, which is already in the queue"
    );
    assert_eq!(
        claim(now, lease, 9).await,
        [],
        "no session should be due after all were claimed"
    );
    let mut again = claim(lease, later, 9).await;
    again.sort_unstable();
    let mut expected = [a, b];
    expected.sort_unstable();
    assert_eq!(again, expected, "expired claims should be due again");
    queue.postpone(a, now).await.unwrap();
    assert_eq!(
        claim(now, lease, 9).await,
        [a],
        "postpone should change the due time"
    );
    let event = SessionEnded::new(a, &ended_session(a, now), &Actor::CURFEW, false).unwrap();
    assert!(queue.acknowledge(a, Some(&event)).await.unwrap());
    assert!(
        !queue.acknowledge(a, Some(&event)).await.unwrap(),
        "a session should be acknowledged only once"
    );
    queue.postpone(a, now).await.unwrap();
    assert_eq!(
        claim(now, lease, 9).await,
        [],
        "postpone should not add an acknowledged session again"
    );
    for id in [b, c] {
        assert!(queue.acknowledge(id, None).await.unwrap());
    }
    let ids: Vec<SessionId> = (0..100).map(|_| random_id()).collect();
    for id in &ids {
        queue.enqueue(*id, now).await.unwrap();
    }
    let claims = join_all((0..CONCURRENT_ATTEMPTS).map(|_| queue.claim(now, lease, 10))).await;
    let mut claimed: Vec<SessionId> = claims.into_iter().flat_map(Result::unwrap).collect();
    claimed.sort_unstable();
    let mut expected = ids;
    expected.sort_unstable();
    assert_eq!(claimed, expected, "concurrent claims should not overlap");
    for id in claimed {
        queue.acknowledge(id, None).await.unwrap();
    }
}

fn ended_session(id: SessionId, now: Timestamp) -> Session {
    let mut session = new_session(id, now);
    session.end(EndReason::Revoked, now);
    session
}

fn random_id() -> SessionId {
    let mut bytes = [0; SessionId::LEN];
    getrandom::fill(&mut bytes).unwrap();
    SessionId::from_bytes(bytes)
}

/// Returns a session whose subject has no other session.
fn new_session(id: SessionId, now: Timestamp) -> Session {
    session_of(&format!("subject of {id}"), now)
}

fn session_of(subject: &str, now: Timestamp) -> Session {
    let limits = Limits {
        idle: Some(15 * MINUTE),
        absolute: 720 * MINUTE,
        max_auth_age: None,
    };
    let groups = vec!["staff".to_owned(), "admin".to_owned()];
    let new = NewSession {
        remembered: false,
        binding: crate::session::Binding::default(),
        subject: Subject::new(subject).unwrap(),
        attributes: Attributes::new(BTreeMap::from([("groups".to_owned(), groups)])).unwrap(),
        policy: PolicyName::new("default").unwrap(),
    };
    Session::start(new, &limits, 60 * MINUTE, now)
}

async fn create_session(store: &dyn SessionStore, now: Timestamp) -> (SessionId, Session) {
    let id = random_id();
    let session = new_session(id, now);
    assert_eq!(
        store.create(id, &session).await.unwrap(),
        CreateOutcome::Created
    );
    (id, session)
}

/// Returns a touch like that of a check of a proxy. The touch interval is so short that a store which buffers touches
/// may write this touch at once.
fn new_touch(session: &Session, at: Timestamp) -> Touch {
    let interval = Duration::from_millis(1);
    Touch {
        at,
        last_seen: session.last_seen,
        retention: session.retention,
        interval,
        deadline: session.last_seen.plus(15 * MINUTE),
    }
}

async fn operations_do_not_create_a_missing_session(store: &dyn SessionStore, now: Timestamp) {
    let id = random_id();
    assert_eq!(store.load(id).await.unwrap(), None);
    store
        .touch(id, new_touch(&new_session(id, now), now))
        .await
        .unwrap();
    store.flush().await.unwrap();
    assert_eq!(
        store.load(id).await.unwrap(),
        None,
        "a touch should not create a session"
    );
    assert_eq!(
        store.end(id, EndRequest::revoked(now)).await.unwrap(),
        EndOutcome::Unknown
    );
    assert_eq!(store.age(id, MINUTE).await.unwrap(), None);
    let unknown_subject = Subject::new(format!("nobody {id}")).unwrap();
    let page = store.list(&unknown_subject, None, 10).await.unwrap();
    assert!(page.sessions.is_empty() && page.next.is_none());
}

async fn a_session_is_stored_unchanged(store: &dyn SessionStore, now: Timestamp) {
    let (id, session) = create_session(store, now).await;
    assert_eq!(store.load(id).await.unwrap(), Some(session));
}

async fn create_replaces_no_record(store: &dyn SessionStore, now: Timestamp) {
    let (id, first) = create_session(store, now).await;
    let second = session_of("someone else", now.plus(MINUTE));
    assert_eq!(
        store.create(id, &second).await.unwrap(),
        CreateOutcome::Exists
    );
    assert_eq!(store.load(id).await.unwrap().as_ref(), Some(&first));
    store.end(id, EndRequest::revoked(now)).await.unwrap();
    assert_eq!(
        store.create(id, &second).await.unwrap(),
        CreateOutcome::Exists,
        "create should not replace a tombstone"
    );
    let state = store.load(id).await.unwrap().unwrap().state;
    assert_eq!(
        state,
        State::Ended(End {
            reason: EndReason::Revoked,
            at: now
        })
    );
    let page = store.list(&second.subject, None, 100).await.unwrap();
    assert!(
        page.sessions.iter().all(|(other, _)| *other != id),
        "the list of another subject should not contain the session"
    );
}

async fn touches_only_move_the_last_activity_forward(store: &dyn SessionStore, now: Timestamp) {
    let (id, session) = create_session(store, now).await;
    for (at, expected) in [(3, 3), (1, 3), (3, 3), (5, 5), (0, 5)] {
        store
            .touch(id, new_touch(&session, now.plus(at * MINUTE)))
            .await
            .unwrap();
        let seen = store.load(id).await.unwrap().unwrap();
        let expected = Session {
            last_seen: now.plus(expected * MINUTE),
            ..session.clone()
        };
        assert_eq!(seen, expected, "touched at {at} min");
    }
    store.flush().await.unwrap();
    let seen = store.load(id).await.unwrap().unwrap();
    assert_eq!(
        seen,
        Session {
            last_seen: now.plus(5 * MINUTE),
            ..session
        }
    );
}

async fn a_later_end_or_touch_does_not_change_a_tombstone(
    store: &dyn SessionStore,
    now: Timestamp,
) {
    for reason in EndReason::ALL {
        let (id, session) = create_session(store, now).await;
        let at = now.plus(MINUTE);
        let ending = EndRequest {
            reason,
            at,
            unless_touched_since: None,
        };
        let EndOutcome::Ended(tombstone) = store.end(id, ending).await.unwrap() else {
            unreachable!("end should end a live session");
        };
        let expected = Session {
            state: State::Ended(End { reason, at }),
            ..session.clone()
        };
        assert_eq!(tombstone, expected);
        let again = store
            .end(id, EndRequest::revoked(now.plus(2 * MINUTE)))
            .await
            .unwrap();
        assert_eq!(again, EndOutcome::AlreadyEnded(tombstone.clone()));
        store
            .touch(id, new_touch(&session, now.plus(3 * MINUTE)))
            .await
            .unwrap();
        store.flush().await.unwrap();
        assert_eq!(
            store.age(id, MINUTE).await.unwrap().as_ref(),
            Some(&tombstone)
        );
        assert_eq!(
            store.load(id).await.unwrap(),
            Some(tombstone),
            "a touch or a change of age should not change a tombstone"
        );
    }
}

async fn an_outdated_timeout_does_not_end_a_touched_session(
    store: &dyn SessionStore,
    now: Timestamp,
) {
    let (id, session) = create_session(store, now).await;
    let unless = |seen| EndRequest {
        reason: EndReason::IdleTimeout,
        at: now.plus(15 * MINUTE),
        unless_touched_since: Some(seen),
    };
    let touched = now.plus(14 * MINUTE);
    store.touch(id, new_touch(&session, touched)).await.unwrap();
    let outcome = store.end(id, unless(now)).await.unwrap();
    assert_eq!(
        outcome,
        EndOutcome::Touched(Session {
            last_seen: touched,
            ..session
        })
    );
    let outcome = store.end(id, unless(touched)).await.unwrap();
    assert!(matches!(outcome, EndOutcome::Ended(_)), "{outcome:?}");
}

async fn ageing_moves_every_time_of_a_session(store: &dyn SessionStore, now: Timestamp) {
    let (id, mut session) = create_session(store, now).await;
    session.age(300 * MINUTE);
    assert_eq!(
        store.age(id, 300 * MINUTE).await.unwrap().as_ref(),
        Some(&session)
    );
    assert_eq!(
        store.load(id).await.unwrap(),
        Some(session),
        "the store should contain the aged record"
    );
}

async fn listing_pages_through_a_subject(store: &dyn SessionStore, now: Timestamp) {
    let subject = format!("pages {}", random_id());
    let mut all = BTreeMap::new();
    for index in 0..7 {
        let id = random_id();
        // Some sessions start in the same millisecond.
        let session = session_of(&subject, now.plus(Duration::from_millis(index / 3)));
        store.create(id, &session).await.unwrap();
        all.insert(Cursor::of(id, &session), id);
    }
    create_session(store, now).await;
    let expected: Vec<SessionId> = all.into_values().collect();
    let subject = Subject::new(subject).unwrap();
    for limit in [1, 2, 3, 6, 7, 8] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = store.list(&subject, after, limit).await.unwrap();
            assert!(page.sessions.len() <= limit);
            seen.extend(page.sessions.iter().map(|(id, _)| *id));
            after = page.next;
            if after.is_none() {
                break;
            }
            // Neither activity nor a session end may move a session in the list.
            if let Some((id, session)) = page.sessions.first() {
                store
                    .touch(*id, new_touch(session, now.plus(MINUTE)))
                    .await
                    .unwrap();
                store
                    .end(*id, EndRequest::revoked(now.plus(MINUTE)))
                    .await
                    .unwrap();
            }
        }
        assert_eq!(seen, expected, "pages of {limit} sessions");
    }
}

async fn only_one_concurrent_create_or_end_succeeds(store: &dyn SessionStore, now: Timestamp) {
    let id = random_id();
    let session = new_session(id, now);
    let creations = join_all((0..CONCURRENT_ATTEMPTS).map(|_| store.create(id, &session))).await;
    let created = creations
        .iter()
        .filter(|result| matches!(result, Ok(CreateOutcome::Created)));
    assert_eq!(created.count(), 1, "one call should create the session");
    let ends =
        join_all((0..CONCURRENT_ATTEMPTS).map(|_| store.end(id, EndRequest::revoked(now)))).await;
    let ended = ends
        .iter()
        .filter(|result| matches!(result, Ok(EndOutcome::Ended(_))));
    assert_eq!(ended.count(), 1, "one call should end the session");
    let already_ended = ends
        .iter()
        .filter(|result| matches!(result, Ok(EndOutcome::AlreadyEnded(_))));
    assert_eq!(
        already_ended.count(),
        CONCURRENT_ATTEMPTS - 1,
        "all other calls should return AlreadyEnded"
    );
}
