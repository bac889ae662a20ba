//! Tests for sessions that start from credentials of other issuers.

use std::time::Duration;

use super::{MINUTE, create_session, new_session, new_touch, random_id};
use crate::session::Timestamp;
use crate::{CreateOutcome, EndOutcome, EndRequest, HistoryStore, LimitsBySource, SessionStore};

pub(super) async fn run(store: &dyn SessionStore, now: Timestamp) {
    a_new_session_is_withdrawn_without_a_trace(store, now).await;
    only_a_new_session_is_withdrawn(store, now).await;
    keeping_a_tombstone_changes_nothing_else(store, now).await;
}

async fn a_new_session_is_withdrawn_without_a_trace(store: &dyn SessionStore, now: Timestamp) {
    for is_used in [false, true] {
        let (id, session) = create_session(store, now).await;
        if is_used {
            let touch = new_touch(&session, now.plus(MINUTE));
            store.touch(id, touch).await.unwrap();
        }
        assert!(
            store.withdraw(id, &session).await.unwrap(),
            "is_used: {is_used}"
        );
        store.flush().await.unwrap();
        assert_eq!(store.load(id).await.unwrap(), None);
        let page = store.list(&session.subject, None, 10).await.unwrap();
        assert_eq!(page.sessions, []);
        assert!(
            !store.withdraw(id, &session).await.unwrap(),
            "a session should be withdrawn only once"
        );
        let outcome = store.create(id, &session).await.unwrap();
        assert_eq!(
            outcome,
            CreateOutcome::Created,
            "the credential should start the session again"
        );
    }
}

async fn only_a_new_session_is_withdrawn(store: &dyn SessionStore, now: Timestamp) {
    let (id, live) = create_session(store, now).await;
    let other = new_session(id, now.plus(MINUTE));
    assert!(
        !store.withdraw(id, &other).await.unwrap(),
        "the record of another sign-in should stay"
    );
    assert_eq!(store.load(id).await.unwrap(), Some(live.clone()));
    let EndOutcome::Ended(tombstone) = store.end(id, EndRequest::revoked(now)).await.unwrap()
    else {
        unreachable!("end should end a live session");
    };
    for session in [&live, &tombstone] {
        let withdrawn = store.withdraw(id, session).await.unwrap();
        assert!(!withdrawn, "an ended session should not be removed");
        assert_eq!(
            store.create(id, &live).await.unwrap(),
            CreateOutcome::Exists
        );
    }
}

async fn keeping_a_tombstone_changes_nothing_else(store: &dyn SessionStore, now: Timestamp) {
    let missing_id = random_id();
    let far_future = now.plus(24 * 60 * MINUTE);
    store.keep_tombstone(missing_id, far_future).await.unwrap();
    assert_eq!(store.load(missing_id).await.unwrap(), None);
    let (id, session) = create_session(store, now).await;
    store.keep_tombstone(id, far_future).await.unwrap();
    assert_eq!(store.load(id).await.unwrap(), Some(session.clone()));
    store.end(id, EndRequest::revoked(now)).await.unwrap();
    for until in [far_future, now] {
        store.keep_tombstone(id, until).await.unwrap();
        let extended = store.load(id).await.unwrap().unwrap();
        assert_ne!(extended.state, session.state);
        assert_eq!(
            (extended.subject, extended.started),
            (session.subject.clone(), now)
        );
        assert_eq!(extended.last_seen, session.last_seen);
    }
}

/// Tests a history store. No other test may use the store at the same time.
///
/// # Panics
/// If the store fails a test.
pub async fn run_history(store: &dyn HistoryStore, now: Timestamp) {
    let limits = |seconds| LimitsBySource::from([("a".to_owned(), Duration::from_secs(seconds))]);
    let id = random_id();
    let limit = async |started, seconds| {
        let history = store.history(id).await.unwrap();
        history
            .limit("a", started, Duration::from_secs(seconds))
            .as_secs()
    };
    store.record_limits(&limits(60), now).await.unwrap();
    assert_eq!(limit(now, 600).await, 60);
    let later = now.plus(MINUTE);
    store.record_limits(&limits(600), later).await.unwrap();
    store
        .record_limits(&limits(600), later.plus(MINUTE))
        .await
        .unwrap();
    assert_eq!(limit(now, 600).await, 60);
    assert_eq!(limit(later.plus(MINUTE), 600).await, 600);
}
