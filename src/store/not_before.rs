use async_trait::async_trait;

use super::{Replication, StoreError};
use crate::session::{Subject, Timestamp};

/// For each subject, the time before which all of its sessions have ended.
///
/// Revoking a subject ends the sessions that its index knows. This ends those, too, that the index
/// lost in a fail-over, and those of a credential from before (the `event_timestamp` of CAEP).
#[async_trait]
pub trait NotBefore: Send + Sync + 'static {
    /// Notes that all sessions of a subject that started before `at` have ended. The time only
    /// moves forward. What is older than `forget` is forgotten. Says how many replicas
    /// have it.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not note it; it may still have done so.
    async fn set_not_before(
        &self,
        subject: &Subject,
        at: Timestamp,
        forget: Timestamp,
    ) -> Result<Replication, StoreError>;

    /// The time, asked of the store.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not say.
    async fn not_before(&self, subject: &Subject) -> Result<Option<Timestamp>, StoreError>;

    /// The time as this process knows it, which may be a second behind the store. Costs no
    /// question, so every check can look.
    fn known_not_before(&self, subject: &Subject) -> Option<Timestamp>;
}
