use async_trait::async_trait;

use super::StoreError;
use crate::events::SessionEnded;
use crate::policy::Policies;
use crate::session::{SessionId, Timestamp};

/// A queue of the times at which sessions are due. It makes sessions end even if no request arrives.
///
/// The queue is lazy: activity does not move an entry. When a session is due but was used, the sweeper postpones it
/// to its new deadline. So the queue costs work per deadline, not per request. An ended session stays in the queue
/// until its end is acknowledged. If the process that ended the session stops first, another process publishes the
/// end again.
#[async_trait]
pub trait DeadlineQueue: Send + Sync + 'static {
    /// Adds a session that is due at `at`. Does nothing if the queue already contains the session.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    async fn enqueue(&self, id: SessionId, at: Timestamp) -> Result<(), StoreError>;

    /// Claims at most `limit` sessions that are due at `now`. A claimed session is due again at `until`, for any
    /// process, unless it is postponed or acknowledged before.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed; some sessions may be claimed.
    async fn claim(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<SessionId>, StoreError>;

    /// Returns at most `limit` sessions, the earliest due time first, without claiming them.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    async fn upcoming(&self, limit: usize) -> Result<Vec<SessionId>, StoreError>;

    /// Changes the due time of a session that is in the queue. A session that is not in the queue is not added.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    async fn postpone(&self, id: SessionId, at: Timestamp) -> Result<(), StoreError>;

    /// Brings every live session forward to its deadline under `policies`, if the queue has a later time. Call it
    /// after the limits of a policy became shorter.
    ///
    /// # Errors
    /// [`StoreError`] if the caller must try again.
    async fn tighten_deadlines(&self, policies: &Policies) -> Result<(), StoreError>;

    /// Removes a session from the queue, and writes `ended` to the event stream if one is configured. Both happen
    /// atomically, and once. Returns whether the session was in the queue.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed; the acknowledgement may still have succeeded.
    async fn acknowledge(
        &self,
        id: SessionId,
        ended: Option<&SessionEnded>,
    ) -> Result<bool, StoreError>;
}
