use std::sync::Arc;

use crate::session::{SessionId, Timestamp};

/// Receives invalidations: messages about sessions that another process has ended or changed.
///
/// The caller also reports up to which time no invalidation is missing, so that the listener can limit the age of its
/// records.
pub trait InvalidationListener: Send + Sync + 'static {
    /// Processes an invalidation: a process changed the record of this session at the time `at`. Usually, the change is
    /// the end of the session. `at` is in decision time, the common time of all replicas.
    fn invalidate(&self, id: SessionId, at: Timestamp);

    /// Records that the listener has received every invalidation from before the time `since`. This is a time of the
    /// listener's own clock, not decision time.
    fn caught_up_to(&self, since: Timestamp);

    /// Records that an invalidation may have been lost.
    fn on_lost_invalidation(&self);
}

/// Several listeners: each receives every call.
pub struct InvalidationListeners(pub Vec<Arc<dyn InvalidationListener>>);

impl InvalidationListener for InvalidationListeners {
    fn invalidate(&self, id: SessionId, at: Timestamp) {
        self.0
            .iter()
            .for_each(|listener| listener.invalidate(id, at));
    }

    fn caught_up_to(&self, since: Timestamp) {
        self.0
            .iter()
            .for_each(|listener| listener.caught_up_to(since));
    }

    fn on_lost_invalidation(&self) {
        self.0
            .iter()
            .for_each(|listener| listener.on_lost_invalidation());
    }
}
