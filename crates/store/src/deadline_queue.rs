use async_trait::async_trait;

use super::StoreError;
use crate::events::SessionEnded;
use crate::policy::Policies;
use crate::session::{SessionId, Timestamp};

/// A queue of all sessions, sorted by the time at which they are due. With the queue, Curfew ends a session at its
/// deadline even if no request arrives.
///
/// The queue is lazy: activity does not move an entry. If a due session was used in the meantime, the sweeper (the
/// background task that claims due sessions) postpones it to its new deadline. So the work of the queue grows with the
/// number of deadlines, not with the number of requests.
///
/// An ended session stays in the queue until a process has published its end and has called [`Self::acknowledge`]. If
/// the process that ended the session stops before the acknowledgement, another process publishes the end again.
#[async_trait]
pub trait DeadlineQueue: Send + Sync + 'static {
    /// Adds a session that is due at `at`. Does nothing if the queue already contains the session.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    async fn enqueue(&self, id: SessionId, at: Timestamp) -> Result<(), StoreError>;

    /// Claims at most `limit` sessions that are due at `now`. A claimed session is due again at `until`, for any
    /// process, unless it is postponed or acknowledged before that time.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed; some sessions may be claimed.
    async fn claim(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<SessionId>, StoreError>;

    /// Returns at most `limit` sessions, the earliest due time first. Does not claim them.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    async fn peek_upcoming(&self, limit: usize) -> Result<Vec<SessionId>, StoreError>;

    /// Changes the due time of a session. Does nothing if the queue does not contain the session.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    async fn postpone(&self, id: SessionId, at: Timestamp) -> Result<(), StoreError>;

    /// Makes every live session due at its deadline under `policies`, if its due time is later. Call this function
    /// after the limits of a policy became shorter.
    ///
    /// # Errors
    /// [`StoreError`] if the caller must try again.
    async fn tighten_deadlines(&self, policies: &Policies) -> Result<(), StoreError>;

    /// Removes a session from the queue. If `events.stream` is configured, also writes `ended` to this Redis stream.
    /// The store does both atomically, and only once. Returns whether the session was in the queue.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed; the acknowledgement may still have succeeded.
    async fn acknowledge(
        &self,
        id: SessionId,
        ended: Option<&SessionEnded>,
    ) -> Result<bool, StoreError>;
}
