use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::session::Timestamp;

/// The interval after which a missing heartbeat counts. Heartbeats arrive more often than that while the channel works.
const HEARTBEAT_TOLERANCE: Duration = Duration::from_secs(1);

/// Whether this replica hears the session ends of other replicas.
pub(super) struct Hearing {
    /// The clock of the invalidation channel; `None` if there are no other replicas.
    steady: Option<Arc<dyn Clock>>,
    state: Mutex<HearingState>,
}

struct HearingState {
    /// The time up to which all invalidations have arrived.
    heard_until: Timestamp,
    /// Whether invalidations may have been lost since the last heartbeat.
    has_lost: bool,
}

impl Hearing {
    pub(super) fn new(steady: Option<Arc<dyn Clock>>) -> Self {
        let heard_until = steady
            .as_ref()
            .map_or(Timestamp::MAX, |steady| steady.now());
        Self {
            steady,
            state: Mutex::new(HearingState {
                heard_until,
                has_lost: false,
            }),
        }
    }

    /// Records that all invalidations from before `since` have arrived. Returns whether invalidations may have been lost
    /// before.
    pub(super) fn record_heard(&self, since: Timestamp) -> bool {
        let mut state = self.state.lock();
        state.heard_until = state.heard_until.max(since);
        std::mem::take(&mut state.has_lost)
    }

    /// Records that invalidations may have been lost.
    pub(super) fn record_lost(&self) {
        self.state.lock().has_lost = true;
    }

    /// Returns for how long no invalidations have arrived; zero while the channel works.
    pub(super) fn unheard_time(&self) -> Duration {
        let Some(steady) = &self.steady else {
            return Duration::ZERO;
        };
        let unheard = steady.now().since(self.state.lock().heard_until);
        if unheard > HEARTBEAT_TOLERANCE {
            unheard
        } else {
            Duration::ZERO
        }
    }
}
