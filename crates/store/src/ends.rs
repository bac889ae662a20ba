use crate::session::{SessionId, Timestamp};

/// Receives invalidations: messages that say that another process has ended or changed a session.
///
/// The listener also receives the time up to which it has all invalidations, so that it can limit the age of its
/// records.
pub trait InvalidationListener: Send + Sync + 'static {
    /// Processes an invalidation: a process changed the record of this session at `at`, in decision time. Usually it
    /// ended the session.
    fn invalidate(&self, id: SessionId, at: Timestamp);

    /// Records that the listener has received every invalidation from before `since`, in the time of its own clock.
    fn caught_up_to(&self, since: Timestamp);

    /// Records that an invalidation may be lost.
    fn missed(&self);
}

/// A listener without records, which ignores invalidations.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoopListener;

impl InvalidationListener for NoopListener {
    fn invalidate(&self, _: SessionId, _: Timestamp) {}

    fn caught_up_to(&self, _: Timestamp) {}

    fn missed(&self) {}
}
