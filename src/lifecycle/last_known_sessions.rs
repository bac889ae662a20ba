use std::time::Duration;

use parking_lot::Mutex;

use crate::session::{Session, SessionId, SessionMap, Timestamp};

/// The maximum number of sessions in each of the two generations of [`LastKnownSessions`].
const MAX_GENERATION_SESSIONS: usize = 50_000;

/// Sessions that this process found live in the store, with the touches (activity) that this process has recorded.
/// Checks may use them for a limited time while the store is unavailable.
///
/// The memory is bounded, because the sessions are in two generations of limited size. When the young generation is
/// full, the old generation is dropped, and the young generation becomes the old one.
#[derive(Debug, Default)]
pub struct LastKnownSessions {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: SessionMap<KnownSession>,
    old: SessionMap<KnownSession>,
}

#[derive(Debug)]
enum KnownSession {
    /// The session was live in the store at the time `verified`.
    Live {
        session: Session,
        verified: Timestamp,
    },
    /// This process ended the session or tried to end it. A concurrent check with an older record must not add the
    /// session again.
    Ended,
}

impl LastKnownSessions {
    /// Records that the session was live in the store at the time `now`.
    pub fn record_live(&self, id: SessionId, session: &Session, now: Timestamp) {
        let mut generations = self.generations.lock();
        if !matches!(generations.get(id), Some(KnownSession::Ended)) {
            let session = session.clone().without_refresh_token();
            let verified = now;
            generations.put(id, KnownSession::Live { session, verified });
        }
    }

    /// Returns the session if this process found it live in the store less than `grace` before `now`.
    #[must_use]
    pub fn get_within_grace(
        &self,
        id: SessionId,
        grace: Duration,
        now: Timestamp,
    ) -> Option<Session> {
        match self.generations.lock().get(id) {
            Some(KnownSession::Live { session, verified }) if now < verified.plus(grace) => {
                Some(session.clone())
            }
            _ => None,
        }
    }

    /// Records activity that was allowed without the store.
    pub fn record_touch(&self, id: SessionId, now: Timestamp) {
        let mut generations = self.generations.lock();
        let Generations { young, old } = &mut *generations;
        let known = young.get_mut(&id).or_else(|| old.get_mut(&id));
        if let Some(KnownSession::Live { session, .. }) = known {
            session.touch(now);
        }
    }

    /// Updates the attributes of a session after the store has received new ones.
    pub fn update_attributes(&self, id: SessionId, renewed: &Session) {
        let mut generations = self.generations.lock();
        let Generations { young, old } = &mut *generations;
        for known in [young.get_mut(&id), old.get_mut(&id)] {
            if let Some(KnownSession::Live { session, .. }) = known {
                session.attributes = renewed.attributes.clone();
            }
        }
    }

    /// Removes a session that has ended or is about to end, and ignores the session until [`Self::clear_tombstone`].
    pub fn forget(&self, id: SessionId) {
        self.generations.lock().put(id, KnownSession::Ended);
    }

    /// After [`Self::forget`], accepts the session again, because it did not end.
    pub fn clear_tombstone(&self, id: SessionId) {
        let mut generations = self.generations.lock();
        generations.young.remove(&id);
        generations.old.remove(&id);
    }
}

impl Generations {
    fn get(&self, id: SessionId) -> Option<&KnownSession> {
        self.young.get(&id).or_else(|| self.old.get(&id))
    }

    fn put(&mut self, id: SessionId, known: KnownSession) {
        if self.young.len() >= MAX_GENERATION_SESSIONS && !self.young.contains_key(&id) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Attributes;
    use crate::testing::{MINUTE, START, session_of};

    fn id(number: usize) -> SessionId {
        SessionId::from_bytes((number as u128).to_be_bytes())
    }

    /// A session must not keep groups that were removed, even while the store is unavailable.
    #[test]
    fn a_last_known_session_has_the_attributes_of_the_store() {
        let known = LastKnownSessions::default();
        let mut session = session_of("alice", START);
        known.update_attributes(id(1), &session);
        assert_eq!(
            known.get_within_grace(id(1), MINUTE, START),
            None,
            "an unknown session must not be added"
        );
        known.record_live(id(1), &session, START);
        session.attributes = Attributes::from_sorted([("groups", ["former"])]).unwrap();
        known.update_attributes(id(1), &session);
        let recalled = known.get_within_grace(id(1), MINUTE, START).unwrap();
        assert_eq!(recalled.attributes, session.attributes);
        known.forget(id(1));
        known.update_attributes(id(1), &session);
        assert_eq!(
            known.get_within_grace(id(1), MINUTE, START),
            None,
            "an ended session must not be added"
        );
    }

    #[test]
    fn a_session_can_be_recalled_within_the_grace_period() {
        let known = LastKnownSessions::default();
        let session = session_of("alice", START);
        known.record_live(id(1), &session, START);
        let just_before = START.plus(MINUTE).minus(Duration::from_millis(1));
        assert_eq!(
            known.get_within_grace(id(1), MINUTE, just_before),
            Some(session.clone())
        );
        assert_eq!(
            known.get_within_grace(id(1), MINUTE, START.plus(MINUTE)),
            None
        );
        known.record_touch(id(1), START.plus(MINUTE / 2));
        let touched = known.get_within_grace(id(1), MINUTE, just_before).unwrap();
        assert_eq!(touched.last_seen, START.plus(MINUTE / 2));
        known.forget(id(1));
        assert_eq!(known.get_within_grace(id(1), MINUTE, START), None);
        known.record_touch(id(1), START);
        known.record_live(id(1), &session, START);
        assert_eq!(
            known.get_within_grace(id(1), MINUTE, START),
            None,
            "a late check must not add an ended session"
        );
        known.clear_tombstone(id(1));
        known.record_live(id(1), &session, START);
        assert_eq!(known.get_within_grace(id(1), MINUTE, START), Some(session));
    }

    #[test]
    fn the_number_of_sessions_is_bounded_and_the_oldest_are_dropped() {
        let known = LastKnownSessions::default();
        let session = session_of("alice", START);
        for number in 0..3 * MAX_GENERATION_SESSIONS {
            known.record_live(id(number), &session, START);
        }
        let generations = known.generations.lock();
        assert!(generations.young.len() + generations.old.len() <= 2 * MAX_GENERATION_SESSIONS);
        drop(generations);
        assert!(known.get_within_grace(id(0), MINUTE, START).is_none());
        assert!(
            known
                .get_within_grace(id(3 * MAX_GENERATION_SESSIONS - 1), MINUTE, START)
                .is_some()
        );
    }
}
