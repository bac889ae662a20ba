//! A bounded queue of sessions to revalidate, in order of arrival.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::session::{Registration, SessionId, Timestamp};

/// The maximum number of sessions that wait or are in progress. If the queue is full, a session is not added, but a
/// later check of the session tries again.
const MAX_SESSIONS: usize = 10_000;
/// The maximum number of concurrent requests to one provider.
pub(super) const MAX_CONCURRENT_REQUESTS: usize = 8;
/// The first backoff (pause) after a failed request to a provider. It doubles with each failure.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// The sessions that are due.
#[derive(Debug, Default)]
pub struct RevalidationQueue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// All sessions that wait or are in progress.
    sessions: HashSet<SessionId>,
    providers: BTreeMap<Registration, ProviderQueue>,
}

/// The sessions that wait for one provider.
#[derive(Debug, Default)]
struct ProviderQueue {
    sessions: VecDeque<SessionId>,
    in_progress: usize,
    /// The number of consecutive failures. Concurrent failures count once.
    failures: u32,
    paused_until: Timestamp,
}

/// A session in progress, which counts as one of the concurrent requests to its provider. After the slot is dropped,
/// the request for the next session can start.
#[derive(Debug)]
pub(super) struct Slot {
    queue: Arc<RevalidationQueue>,
    pub(super) id: SessionId,
    pub(super) registration: Registration,
}

impl RevalidationQueue {
    /// Adds a session, unless it is queued already or its provider is in backoff. Returns `false` if the queue is
    /// full.
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
        self.changed.notify_one();
        true
    }

    /// Waits until a session is added to the queue, or a request to a provider has finished.
    pub(super) async fn wait_for_change(&self) {
        self.changed.notified().await;
    }

    /// Takes sessions from the queue, as many as the limits and backoffs of the providers allow now.
    pub(super) fn take(self: &Arc<Self>, now: Timestamp) -> Vec<Slot> {
        let mut taken = Vec::new();
        let mut state = self.state.lock();
        for (registration, provider) in &mut state.providers {
            while now >= provider.paused_until
                && provider.in_progress < MAX_CONCURRENT_REQUESTS
                && let Some(id) = provider.sessions.pop_front()
            {
                provider.in_progress += 1;
                taken.push(Slot {
                    queue: Arc::clone(self),
                    id,
                    registration: *registration,
                });
            }
        }
        taken
    }

    /// Records whether a provider answered. A failure starts a backoff.
    pub(super) fn record_result(&self, registration: Registration, answered: bool, now: Timestamp) {
        let mut state = self.state.lock();
        let provider = state.providers.entry(registration).or_default();
        if answered {
            provider.failures = 0;
            provider.paused_until = now.min(provider.paused_until);
        } else if now >= provider.paused_until {
            let pause = MIN_BACKOFF.saturating_mul(1 << provider.failures.min(16));
            provider.failures += 1;
            provider.paused_until = now.plus(pause.min(MAX_BACKOFF));
        }
    }

    /// Returns the number of sessions that wait or are in progress.
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
            provider.in_progress = provider.in_progress.saturating_sub(1);
        }
        drop(state);
        self.queue.changed.notify_one();
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
    fn a_session_is_queued_once_and_requests_to_a_provider_are_limited() {
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
            MAX_CONCURRENT_REQUESTS + 1,
            "providers must not block each other"
        );
        assert!(queue.take(START).is_empty());
        let first = taken.remove(0);
        assert_eq!(
            (first.id, first.registration),
            (id(0), MAIN),
            "sessions must be taken in the order of arrival"
        );
        assert!(queue.add(id(0), MAIN, START));
        assert_eq!(
            queue.len(),
            21,
            "a session in progress must not be added again"
        );
        drop(first);
        let next = queue.take(START);
        assert_eq!(next.len(), 1);
        assert_eq!(next[0].id, id(MAX_CONCURRENT_REQUESTS));
        assert_eq!(queue.len(), 20);
    }

    #[test]
    fn the_queue_is_bounded() {
        let queue = Arc::new(RevalidationQueue::default());
        for number in 0..MAX_SESSIONS {
            assert!(queue.add(id(number), MAIN, START));
        }
        assert!(!queue.add(id(MAX_SESSIONS), OTHER, START));
        assert!(
            queue.add(id(0), MAIN, START),
            "adding a queued session again must not report a full queue"
        );
        drop(queue.take(START));
        assert!(queue.add(id(MAX_SESSIONS), OTHER, START));
    }

    #[test]
    fn the_backoff_grows_with_each_failure() {
        let queue = Arc::new(RevalidationQueue::default());
        let (mut now, mut pauses) = (START, Vec::new());
        for _ in 0..8 {
            queue.record_result(MAIN, false, now);
            // Several concurrent requests fail.
            queue.record_result(MAIN, false, now);
            let started = now;
            while {
                assert!(queue.add(id(1), MAIN, now), "the session must be queued");
                queue.len() == 0
            } {
                now = now.plus(SECOND);
            }
            pauses.push(now.since(started).as_secs());
            drop(queue.take(now));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(queue.add(id(2), OTHER, START));
        assert_eq!(
            queue.take(START).len(),
            1,
            "the backoff must apply to one provider only"
        );
        queue.record_result(MAIN, false, now);
        queue.record_result(MAIN, true, now);
        assert!(queue.add(id(3), MAIN, now));
        assert_eq!(queue.take(now).len(), 1);
    }
}
