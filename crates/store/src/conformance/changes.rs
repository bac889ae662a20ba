//! Tests for changes of live sessions.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{CONCURRENT_ATTEMPTS, MINUTE, create_session, new_touch, random_id};
use crate::secret::Secret;
use crate::session::{
    Attributes, ClaimsInToken, Details, Registration, Revalidation, Session, SessionId, State,
    Timestamp,
};
use crate::{Change, ChangeOutcome, EndOutcome, EndRequest, SessionStore};

pub(super) async fn run(store: &dyn SessionStore, now: Timestamp) {
    a_change_does_not_count_as_activity(store, now).await;
    a_change_loses_no_activity(store, now).await;
    a_change_with_other_details_is_rejected(store, now).await;
    an_ended_session_is_not_changed(store, now).await;
    only_one_concurrent_change_succeeds(store, now).await;
    a_tombstone_has_no_refresh_token(store, now).await;
}

/// Returns details with a refresh token. The identity provider last confirmed the session `minutes` minutes after the
/// time `now`.
fn details(now: Timestamp, minutes: u32) -> Arc<Details> {
    Arc::new(Details {
        refresh_token: Some(Secret::new(format!("refresh token {minutes}"))),
        revalidation: Some(Revalidation {
            registration: Registration::from_bytes(*b"provider"),
            confirmed: now.plus(minutes * MINUTE),
            leased_until: now,
            in_id_token: ClaimsInToken::default(),
        }),
        ..Details::default()
    })
}

fn change(expected: Option<Arc<Details>>, details: Arc<Details>) -> Change {
    Change {
        expected,
        details: Some(details),
        attributes: None,
    }
}

/// Creates a session with details.
async fn create_with_details(store: &dyn SessionStore, now: Timestamp) -> (SessionId, Session) {
    let (id, session) = create_session(store, now).await;
    let first = change(None, details(now, 0));
    let ChangeOutcome::Changed(session) = store.change(id, &first).await.unwrap() else {
        unreachable!("the session should be live: {session:?}");
    };
    (id, session)
}

async fn a_change_does_not_count_as_activity(store: &dyn SessionStore, now: Timestamp) {
    let (id, session) = create_session(store, now).await;
    let groups = Attributes::from_sorted([(Attributes::GROUPS, ["former"])]).unwrap();
    let change_of_groups = Change {
        attributes: Some(groups.clone()),
        ..change(None, details(now, 0))
    };
    let expected = Session {
        attributes: groups,
        details: Some(details(now, 0)),
        ..session
    };
    let changed = store.change(id, &change_of_groups).await.unwrap();
    assert_eq!(changed, ChangeOutcome::Changed(expected.clone()));
    assert_eq!(
        store.load(id).await.unwrap().as_ref(),
        Some(&expected),
        "a change should move neither the last activity nor a limit"
    );
    let later = change(Some(details(now, 0)), details(now, 1));
    store.change(id, &later).await.unwrap();
    let changed = Session {
        details: Some(details(now, 1)),
        ..expected
    };
    assert_eq!(store.load(id).await.unwrap(), Some(changed.clone()));
    let page = store.list(&changed.subject, None, 9).await.unwrap();
    assert_eq!(page.sessions, [(id, changed)]);
}

async fn a_change_loses_no_activity(store: &dyn SessionStore, now: Timestamp) {
    let (id, session) = create_with_details(store, now).await;
    let touched = now.plus(3 * MINUTE);
    store.touch(id, new_touch(&session, touched)).await.unwrap();
    let later = change(Some(details(now, 0)), details(now, 1));
    let ChangeOutcome::Changed(changed) = store.change(id, &later).await.unwrap() else {
        unreachable!("the details should be the expected ones");
    };
    assert_eq!(changed.last_seen, touched);
    store.flush().await.unwrap();
    assert_eq!(store.load(id).await.unwrap(), Some(changed.clone()));
    let touched = now.plus(5 * MINUTE);
    store.touch(id, new_touch(&changed, touched)).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(store.load(id).await.unwrap().unwrap().last_seen, touched);
}

async fn a_change_with_other_details_is_rejected(store: &dyn SessionStore, now: Timestamp) {
    let (id, session) = create_with_details(store, now).await;
    for expected in [None, Some(details(now, 1))] {
        let outcome = store.change(id, &change(expected, details(now, 2))).await;
        assert_eq!(outcome.unwrap(), ChangeOutcome::Differs(session.clone()));
    }
    assert_eq!(store.load(id).await.unwrap(), Some(session));
}

async fn an_ended_session_is_not_changed(store: &dyn SessionStore, now: Timestamp) {
    let id = random_id();
    let any = change(None, details(now, 0));
    assert_eq!(
        store.change(id, &any).await.unwrap(),
        ChangeOutcome::Unknown
    );
    assert_eq!(
        store.load(id).await.unwrap(),
        None,
        "a change should not create a record"
    );
    let (id, _) = create_session(store, now).await;
    let EndOutcome::Ended(tombstone) = store.end(id, EndRequest::revoked(now)).await.unwrap()
    else {
        unreachable!("end should end a live session");
    };
    assert_eq!(
        store.change(id, &any).await.unwrap(),
        ChangeOutcome::Ended(tombstone.clone())
    );
    assert_eq!(store.load(id).await.unwrap(), Some(tombstone));
}

async fn only_one_concurrent_change_succeeds(store: &dyn SessionStore, now: Timestamp) {
    let (id, _) = create_with_details(store, now).await;
    let candidates = (1..)
        .take(CONCURRENT_ATTEMPTS)
        .map(|candidate| details(now, candidate));
    let changes: Vec<Change> = candidates
        .map(|candidate| change(Some(details(now, 0)), candidate))
        .collect();
    let outcomes = join_all(changes.iter().map(|change| store.change(id, change))).await;
    let changed = outcomes
        .iter()
        .filter(|result| matches!(result, Ok(ChangeOutcome::Changed(_))));
    assert_eq!(
        changed.count(),
        1,
        "exactly one call should change the record: {outcomes:?}"
    );
}

async fn a_tombstone_has_no_refresh_token(store: &dyn SessionStore, now: Timestamp) {
    let (id, session) = create_with_details(store, now).await;
    assert!(session.details.is_some());
    store.end(id, EndRequest::revoked(now)).await.unwrap();
    let tombstone = store.load(id).await.unwrap().unwrap();
    assert_ne!(tombstone.state, State::Live);
    assert_eq!(tombstone.details, None);
}
