//! The sessions that providers are to be asked about, in the order in which they were noted; bounded.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::session::{Registration, SessionId, Timestamp};

/// The most sessions that wait or are being asked about; a further one is noted again with its next check.
const MAX_SESSIONS: usize = 10_000;
/// The most questions to one provider at the same time.
pub(super) const MAX_QUESTIONS: usize = 8;
/// The pause after a question without an answer. It doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Sessions that are due.
#[derive(Debug, Default)]
pub struct RevalidationQueue {
    state: Mutex<State>,
    noted: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// All that wait or are being asked about.
    sessions: HashSet<SessionId>,
    providers: BTreeMap<Registration, Waiting>,
}

/// What waits for one provider.
#[derive(Debug, Default)]
struct Waiting {
    sessions: VecDeque<SessionId>,
    questions: usize,
    /// Questions in a row without an answer, a round of them at the same time counted once.
    failures: u32,
    paused_until: Timestamp,
}

/// A session that is being asked about. Dropping it makes room for the next.
#[derive(Debug)]
pub(super) struct Slot {
    queue: Arc<RevalidationQueue>,
    pub(super) id: SessionId,
    pub(super) registration: Registration,
}

impl RevalidationQueue {
    /// Adds a session, unless it is there already or its provider was in trouble a moment ago; `false` where there are
    /// too many.
    pub(super) fn add(&self, id: SessionId, registration: Registration, now: Timestamp) -> bool {
        let mut state = self.state.lock();
        let State {
            sessions,
            providers,
        } = &mut *state;
        let provider = providers.entry(registration).or_default();
        if sessions.contains(&id) || now < provider.paused_until {
            return true;
        }
        if sessions.len() >= MAX_SESSIONS {
            return false;
        }
        sessions.insert(id);
        provider.sessions.push_back(id);
        drop(state);
        self.noted.notify_one();
        true
    }

    /// Waits for a session, or for a question that has ended.
    pub(super) async fn noted(&self) {
        self.noted.notified().await;
    }

    /// Takes as many sessions as their providers may be asked about now.
    pub(super) fn take(self: &Arc<Self>, now: Timestamp) -> Vec<Slot> {
        let mut taken = Vec::new();
        let mut state = self.state.lock();
        for (registration, provider) in &mut state.providers {
            while now >= provider.paused_until
                && provider.questions < MAX_QUESTIONS
                && let Some(id) = provider.sessions.pop_front()
            {
                provider.questions += 1;
                taken.push(Slot {
                    queue: Arc::clone(self),
                    id,
                    registration: *registration,
                });
            }
        }
        taken
    }

    /// Notes whether a provider answered. After a question without an answer it is left alone for a while.
    pub(super) fn answered(&self, registration: Registration, answered: bool, now: Timestamp) {
        let mut state = self.state.lock();
        let provider = state.providers.entry(registration).or_default();
        if answered {
            provider.failures = 0;
            provider.paused_until = now.min(provider.paused_until);
        } else if now >= provider.paused_until {
            let pause = FIRST_PAUSE.saturating_mul(1 << provider.failures.min(16));
            provider.failures += 1;
            provider.paused_until = now.plus(pause.min(LONGEST_PAUSE));
        }
    }

    /// How many sessions wait or are being asked about.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.state.lock().sessions.len()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        state.sessions.remove(&self.id);
        if let Some(provider) = state.providers.get_mut(&self.registration) {
            provider.questions = provider.questions.saturating_sub(1);
        }
        drop(state);
        self.queue.noted.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{SECOND, START};

    const MAIN: Registration = Registration::from_bytes([1; 8]);
    const OTHER: Registration = Registration::from_bytes([2; 8]);

    fn id(number: usize) -> SessionId {
        SessionId::from_bytes((number as u128).to_be_bytes())
    }

    #[test]
    fn a_session_is_there_once_and_a_provider_is_asked_a_few_things_at_once() {
        let queue = Arc::new(RevalidationQueue::default());
        for number in 0..20 {
            assert!(queue.add(id(number), MAIN, START));
            assert!(queue.add(id(number), MAIN, START));
        }
        assert!(queue.add(id(100), OTHER, START));
        assert_eq!(queue.len(), 21);
        let mut taken = queue.take(START);
        assert_eq!(
            taken.len(),
            MAX_QUESTIONS + 1,
            "one provider keeps no other waiting"
        );
        assert!(queue.take(START).is_empty());
        let first = taken.remove(0);
        assert_eq!((first.id, first.registration), (id(0), MAIN), "in order");
        assert!(queue.add(id(0), MAIN, START));
        assert_eq!(queue.len(), 21, "it is being asked about");
        drop(first);
        let next = queue.take(START);
        assert_eq!(next.len(), 1);
        assert_eq!(next[0].id, id(MAX_QUESTIONS));
        assert_eq!(queue.len(), 20);
    }

    #[test]
    fn it_is_bounded() {
        let queue = Arc::new(RevalidationQueue::default());
        for number in 0..MAX_SESSIONS {
            assert!(queue.add(id(number), MAIN, START));
        }
        assert!(!queue.add(id(MAX_SESSIONS), OTHER, START));
        assert!(queue.add(id(0), MAIN, START), "it is there");
        drop(queue.take(START));
        assert!(queue.add(id(MAX_SESSIONS), OTHER, START));
    }

    #[test]
    fn a_provider_in_trouble_is_left_alone_for_longer_and_longer() {
        let queue = Arc::new(RevalidationQueue::default());
        let (mut now, mut pauses) = (START, Vec::new());
        for _ in 0..8 {
            queue.answered(MAIN, false, now);
            // Others that were asked at the same time.
            queue.answered(MAIN, false, now);
            let begun = now;
            while {
                assert!(queue.add(id(1), MAIN, now), "nothing is dropped");
                queue.len() == 0
            } {
                now = now.plus(SECOND);
            }
            pauses.push(now.since(begun).as_secs());
            drop(queue.take(now));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(queue.add(id(2), OTHER, START));
        assert_eq!(
            queue.take(START).len(),
            1,
            "another provider is not concerned"
        );
        queue.answered(MAIN, false, now);
        queue.answered(MAIN, true, now);
        assert!(queue.add(id(3), MAIN, now));
        assert_eq!(queue.take(now).len(), 1);
    }
}
