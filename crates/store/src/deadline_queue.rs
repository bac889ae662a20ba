use async_trait::async_trait;

use super::StoreError;
use crate::events::SessionEnded;
use crate::policy::Policies;
use crate::session::{SessionId, Timestamp};

/// When each session is to be looked at, so that its end is noticed although nobody asks.
///
/// It is lazy: activity does not move a session in it. A session that is due and turns out to have
/// been used is put off to its next deadline, so the queue costs something when a session's
/// deadline comes, not when it is used. An ended session stays in it until its end has been told
/// (*settled*); that is how an end is told although the process that ended the session died.
#[async_trait]
pub trait DeadlineQueue: Send + Sync + 'static {
    /// Puts a session into the queue, to be looked at at `at`, unless it is there already.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not do it.
    async fn enqueue(&self, id: SessionId, at: Timestamp) -> Result<(), StoreError>;

    /// Takes at most `limit` sessions that are due at `now`. Each is due again at `until`, to be
    /// taken by anybody, unless it is postponed or settled before.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not say; some may have been taken.
    async fn claim(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<SessionId>, StoreError>;

    /// At most `limit` sessions, those first that are to be looked at first. Nothing changes by this.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not say.
    async fn upcoming(&self, limit: usize) -> Result<Vec<SessionId>, StoreError>;

    /// Moves a session that is in the queue; one that is not is not put there.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not do it.
    async fn postpone(&self, id: SessionId, at: Timestamp) -> Result<(), StoreError>;

    /// Makes every session that lives due no later than its deadline under these policies, which may
    /// be tighter than those that it was put into the queue under.
    ///
    /// # Errors
    /// [`StoreError`] when it has to be tried again.
    async fn tighten_deadlines(&self, policies: &Policies) -> Result<(), StoreError>;

    /// Takes a session out of the queue for good, and writes the end `ended` to where other
    /// programs read it, if that is configured; both or neither, and once. Says whether the session
    /// was in the queue.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not do it; it may still have done so.
    async fn acknowledge(
        &self,
        id: SessionId,
        ended: Option<&SessionEnded>,
    ) -> Result<bool, StoreError>;
}
