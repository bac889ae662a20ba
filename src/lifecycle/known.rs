use std::time::Duration;

use parking_lot::Mutex;

use crate::session::{Session, SessionId, SessionMap, Timestamp};

/// The most sessions in one of the two generations.
const GENERATION: usize = 50_000;

/// Sessions that this process has seen alive in the store, with the activity that it has seen
/// itself: what may be served for a while when the store can't be asked.
///
/// It is bounded: there are two generations of sessions, and when the younger is full the older
/// is given up.
#[derive(Debug, Default)]
pub struct LastKnownSessions {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: SessionMap<Known>,
    old: SessionMap<Known>,
}

#[derive(Debug)]
enum Known {
    /// The store said at a time that it lives.
    Alive {
        session: Session,
        verified: Timestamp,
    },
    /// It was ended here, or was to be. A check that had read it before must not bring it back.
    Gone,
}

impl LastKnownSessions {
    /// Notes that the store had this session, alive, at `now`.
    pub fn verified(&self, id: SessionId, session: &Session, now: Timestamp) {
        let mut generations = self.generations.lock();
        if !matches!(generations.get(id), Some(Known::Gone)) {
            let session = session.clone().without_refresh_token();
            let verified = now;
            generations.put(id, Known::Alive { session, verified });
        }
    }

    /// The session, if the store had it, alive, less than `grace` before `now`.
    #[must_use]
    pub fn recall(&self, id: SessionId, grace: Duration, now: Timestamp) -> Option<Session> {
        match self.generations.lock().get(id) {
            Some(Known::Alive { session, verified }) if now < verified.plus(grace) => {
                Some(session.clone())
            }
            _ => None,
        }
    }

    /// Notes activity that was allowed without the store.
    pub fn touched(&self, id: SessionId, now: Timestamp) {
        let mut generations = self.generations.lock();
        let Generations { young, old } = &mut *generations;
        let known = young.get_mut(&id).or_else(|| old.get_mut(&id));
        if let Some(Known::Alive { session, .. }) = known {
            session.touch(now);
        }
    }

    /// Notes that the store has other attributes for a session that is known.
    pub fn renewed(&self, id: SessionId, renewed: &Session) {
        let mut generations = self.generations.lock();
        let Generations { young, old } = &mut *generations;
        for known in [young.get_mut(&id), old.get_mut(&id)] {
            if let Some(Known::Alive { session, .. }) = known {
                session.attributes = renewed.attributes.clone();
            }
        }
    }

    /// Forgets a session, and does not take it for known again: it has ended, or is to.
    pub fn forget(&self, id: SessionId) {
        self.generations.lock().put(id, Known::Gone);
    }

    /// Lets a session be known again: it was to be ended, and was used meanwhile.
    pub fn clear_tombstone(&self, id: SessionId) {
        let mut generations = self.generations.lock();
        generations.young.remove(&id);
        generations.old.remove(&id);
    }
}

impl Generations {
    fn get(&self, id: SessionId) -> Option<&Known> {
        self.young.get(&id).or_else(|| self.old.get(&id))
    }

    fn put(&mut self, id: SessionId, known: Known) {
        if self.young.len() >= GENERATION && !self.young.contains_key(&id) {
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

    /// Groups that were taken away must not be served without the store either.
    #[test]
    fn a_known_session_has_the_attributes_of_the_store() {
        let known = LastKnownSessions::default();
        let mut session = session_of("alice", START);
        known.renewed(id(1), &session);
        assert_eq!(known.recall(id(1), MINUTE, START), None, "it is not known");
        known.verified(id(1), &session, START);
        session.attributes = Attributes::sorted([("groups", ["former"])]).unwrap();
        known.renewed(id(1), &session);
        let recalled = known.recall(id(1), MINUTE, START).unwrap();
        assert_eq!(recalled.attributes, session.attributes);
        known.forget(id(1));
        known.renewed(id(1), &session);
        assert_eq!(known.recall(id(1), MINUTE, START), None, "it has ended");
    }

    #[test]
    fn a_session_is_known_for_the_grace() {
        let known = LastKnownSessions::default();
        let session = session_of("alice", START);
        known.verified(id(1), &session, START);
        let just_before = START.plus(MINUTE).minus(Duration::from_millis(1));
        assert_eq!(
            known.recall(id(1), MINUTE, just_before),
            Some(session.clone())
        );
        assert_eq!(known.recall(id(1), MINUTE, START.plus(MINUTE)), None);
        known.touched(id(1), START.plus(MINUTE / 2));
        let touched = known.recall(id(1), MINUTE, just_before).unwrap();
        assert_eq!(touched.last_seen, START.plus(MINUTE / 2));
        known.forget(id(1));
        assert_eq!(known.recall(id(1), MINUTE, START), None);
        known.touched(id(1), START);
        known.verified(id(1), &session, START);
        assert_eq!(
            known.recall(id(1), MINUTE, START),
            None,
            "a check that was late"
        );
        known.clear_tombstone(id(1));
        known.verified(id(1), &session, START);
        assert_eq!(known.recall(id(1), MINUTE, START), Some(session));
    }

    #[test]
    fn it_is_bounded_and_gives_up_the_oldest() {
        let known = LastKnownSessions::default();
        let session = session_of("alice", START);
        for number in 0..3 * GENERATION {
            known.verified(id(number), &session, START);
        }
        let generations = known.generations.lock();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION);
        drop(generations);
        assert!(known.recall(id(0), MINUTE, START).is_none());
        assert!(
            known
                .recall(id(3 * GENERATION - 1), MINUTE, START)
                .is_some()
        );
    }
}
