use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::session::{Session, SessionId, Timestamp};

/// The most sessions in one of the two generations.
const GENERATION: usize = 50_000;

/// Sessions that this process has seen alive in the store, with the activity that it has seen
/// itself: what may be served for a while when the store can't be asked.
///
/// It is bounded: there are two generations of sessions, and when the younger is full the older
/// is given up.
#[derive(Debug, Default)]
pub struct KnownSessions {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<SessionId, Known>,
    old: HashMap<SessionId, Known>,
}

#[derive(Debug)]
struct Known {
    session: Session,
    /// When the store said that it lives.
    verified: Timestamp,
}

impl KnownSessions {
    /// Notes that the store had this session, alive, at `now`.
    pub fn verified(&self, id: SessionId, session: &Session, now: Timestamp) {
        let known = Known {
            session: session.clone(),
            verified: now,
        };
        let mut generations = self.generations.lock();
        if generations.young.len() >= GENERATION && !generations.young.contains_key(&id) {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(id, known);
    }

    /// The session, if the store had it, alive, less than `grace` before `now`.
    #[must_use]
    pub fn recall(&self, id: SessionId, grace: Duration, now: Timestamp) -> Option<Session> {
        let generations = self.generations.lock();
        let known = generations
            .young
            .get(&id)
            .or_else(|| generations.old.get(&id));
        known
            .filter(|known| now < known.verified.plus(grace))
            .map(|known| known.session.clone())
    }

    /// Notes activity that was allowed without the store.
    pub fn touched(&self, id: SessionId, now: Timestamp) {
        let mut generations = self.generations.lock();
        let Generations { young, old } = &mut *generations;
        if let Some(known) = young.get_mut(&id).or_else(|| old.get_mut(&id)) {
            known.session.touch(now);
        }
    }

    /// Forgets a session: it has ended, or is to.
    pub fn forget(&self, id: SessionId) {
        let mut generations = self.generations.lock();
        generations.young.remove(&id);
        generations.old.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MINUTE, START, session_of};

    fn id(number: usize) -> SessionId {
        SessionId::from_bytes((number as u128).to_be_bytes())
    }

    #[test]
    fn a_session_is_known_for_the_grace() {
        let known = KnownSessions::default();
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
        assert_eq!(known.recall(id(1), MINUTE, START), None);
    }

    #[test]
    fn it_is_bounded_and_gives_up_the_oldest() {
        let known = KnownSessions::default();
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
