use crate::session::{SessionId, Timestamp};

/// Receives the session ends of other replicas.
///
/// What was heard is whole up to a time: whoever keeps records goes by how long ago that is.
pub trait InvalidationListener: Send + Sync + 'static {
    /// The record of a session was changed by somebody, at `at` by the store's time: most likely it
    /// has ended.
    fn invalidate(&self, id: SessionId, at: Timestamp);

    /// All that was told before `since`, by the listener's own clock, has been heard.
    fn caught_up_to(&self, since: Timestamp);

    /// Something may have been missed.
    fn missed(&self);
}

/// Keeps no records, so ends make no difference to it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deaf;

impl InvalidationListener for Deaf {
    fn invalidate(&self, _: SessionId, _: Timestamp) {}

    fn caught_up_to(&self, _: Timestamp) {}

    fn missed(&self) {}
}
