use crate::session::{SessionId, Timestamp};

/// Receives invalidations: messages that say that another process has ended or changed a session.
///
/// The listener also learns up to which time it has received all invalidations, so that it can limit the age of its
/// records.
pub trait InvalidationListener: Send + Sync + 'static {
    /// Processes an invalidation: a process changed the record of this session at the time `at`. Usually, the change is
    /// the end of the session. `at` is in decision time, the common time of all replicas.
    fn invalidate(&self, id: SessionId, at: Timestamp);

    /// Records that the listener has received every invalidation from before the time `since`. This time is from the
    /// listener's own clock.
    fn caught_up_to(&self, since: Timestamp);

    /// Records that an invalidation may have been lost.
    fn on_lost_invalidation(&self);
}

/// A listener without records, which ignores invalidations.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoopListener;

impl InvalidationListener for NoopListener {
    fn invalidate(&self, _: SessionId, _: Timestamp) {}

    fn caught_up_to(&self, _: Timestamp) {}

    fn on_lost_invalidation(&self) {}
}
