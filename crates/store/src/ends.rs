use crate::session::{SessionId, Timestamp};

/// Receives invalidations: sessions that another process has ended or changed.
///
/// The listener also learns up to which time it has received all of them, so that it can limit the age of its
/// records.
pub trait InvalidationListener: Send + Sync + 'static {
    /// A process changed the record of a session, usually by ending it. `at` is in decision time.
    fn invalidate(&self, id: SessionId, at: Timestamp);

    /// The listener has received every invalidation from before `since`, which is a time of its own clock.
    fn caught_up_to(&self, since: Timestamp);

    /// An invalidation may be lost.
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
