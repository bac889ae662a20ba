use std::sync::Arc;

use async_trait::async_trait;

use super::{Replication, StoreError};
use crate::revocation::RevocationRule;
use crate::session::{Session, Subject, Timestamp};

/// For each subject, the time before which all of its sessions have ended: its *cut-off*.
///
/// Revoking a subject ends the sessions in its index. A cut-off also ends sessions that the index lost in a
/// fail-over, and sessions of credentials from before (the `event_timestamp` of CAEP).
///
/// The number of cut-offs is bounded. Beyond the bound, one general cut-off for every subject replaces the oldest
/// ones.
#[async_trait]
pub trait CutOffStore: Send + Sync + 'static {
    /// Ends all sessions of a subject that started before `at`. A cut-off only moves forward. The store may drop
    /// cut-offs of at most `forget`. Returns how many Redis replicas have the change.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed; the cut-off may still be set.
    async fn set_cut_off(
        &self,
        subject: &Subject,
        at: Timestamp,
        forget: Timestamp,
    ) -> Result<Replication, StoreError>;

    /// The cut-off of a subject, read from the store.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    async fn cut_off(&self, subject: &Subject) -> Result<Option<Timestamp>, StoreError>;

    /// The cut-off in the memory of this process. It needs no request to the store, so every check reads it.
    fn known_cut_off(&self, subject: &Subject) -> Option<Timestamp>;

    /// Whether this process has all changes that the store had two seconds ago. If not, a check must call
    /// [`SessionStore::load`](super::SessionStore::load), which also reads the cut-offs of the session.
    fn is_fresh(&self) -> bool {
        true
    }

    /// Adds a revocation rule. Every replica that has the rule treats matching sessions as ended. The store may drop
    /// rules with a time of at most `forget`.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed; the rule may still be added.
    async fn add_rule(
        &self,
        rule: &RevocationRule,
        forget: Timestamp,
    ) -> Result<RuleAdded, StoreError>;

    /// The revocation rules in the memory of this process, the oldest time first.
    fn rules(&self) -> Arc<Vec<RevocationRule>>;

    /// Whether a rule ends this session. It takes one atomic load while there are no rules.
    fn is_ended_by_rule(&self, session: &Session) -> bool;

    /// The number of cut-offs, and its limit.
    fn usage(&self) -> CutOffUsage;
}

/// How many cut-offs are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutOffUsage {
    /// The cut-offs in the memory of this process.
    pub entries: usize,
    /// The largest number of separate cut-offs.
    pub max: usize,
}

impl CutOffUsage {
    /// Whether an unauthenticated request may add a cut-off. Half of the cut-offs are reserved for administrators and
    /// identity providers.
    #[must_use]
    pub const fn accepts_unauthenticated(self) -> bool {
        self.entries < self.max / 2
    }
}

/// The result of [`CutOffStore::add_rule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAdded {
    /// The rule is stored.
    Added {
        /// The sequence number of the change. A replica that has read up to it has the rule. `None` if there is only
        /// one replica.
        change: Option<u64>,
        /// How many Redis replicas have the rule.
        replication: Replication,
    },
    /// There are already [`MAX_REVOCATION_RULES`](super::MAX_REVOCATION_RULES) other rules.
    TooMany,
}
