use std::sync::Arc;

use async_trait::async_trait;

use super::{Replication, StoreError};
use crate::revocation::RevocationRule;
use crate::session::{Session, Subject, Timestamp};

/// Stores cut-offs. The *cut-off* of a subject is a time: all sessions of the subject that started before this time
/// have ended.
///
/// To revoke a subject, Curfew sets a cut-off, and ends the sessions in the index of the subject (the list of its
/// sessions). The cut-off also ends sessions that are missing in the index after a fail-over. In addition, Curfew
/// starts no session from a credential whose sign-in was before the cut-off.
///
/// The number of cut-offs is bounded. Beyond the bound, one general cut-off for all subjects replaces the oldest
/// cut-offs.
#[async_trait]
pub trait CutOffStore: Send + Sync + 'static {
    /// Ends all sessions of a subject that started before `at`. A cut-off only moves forward. The store may drop
    /// cut-offs that are not later than the time `forget_until`, because no session that started before `forget_until`
    /// can still be live. Returns how many Redis replicas have the change.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed; the cut-off may still be set.
    async fn set_cut_off(
        &self,
        subject: &Subject,
        at: Timestamp,
        forget_until: Timestamp,
    ) -> Result<Replication, StoreError>;

    /// Reads the cut-off of a subject from the store.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    async fn cut_off(&self, subject: &Subject) -> Result<Option<Timestamp>, StoreError>;

    /// Returns the cut-off of a subject from the memory of this process. The function sends no request to the store,
    /// so every check can call it.
    fn known_cut_off(&self, subject: &Subject) -> Option<Timestamp>;

    /// Returns whether this process has all changes of cut-offs and revocation rules that the store had two seconds
    /// ago. If the result is `false`, a check must call [`SessionStore::load`](super::SessionStore::load), which also
    /// reads the cut-offs of the session.
    fn is_fresh(&self) -> bool {
        true
    }

    /// Adds a revocation rule. Every replica that has the rule treats matching sessions as ended. As in
    /// [`Self::set_cut_off`], the store may drop rules whose time is not later than the time `forget_until`.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed; the rule may still be added.
    async fn add_rule(
        &self,
        rule: &RevocationRule,
        forget_until: Timestamp,
    ) -> Result<AddRuleOutcome, StoreError>;

    /// Returns the revocation rules in the memory of this process, the oldest time first.
    fn rules(&self) -> Arc<Vec<RevocationRule>>;

    /// Returns whether a revocation rule ends this session. While there are no revocation rules, the function reads
    /// only one atomic variable.
    fn is_ended_by_rule(&self, session: &Session) -> bool;

    /// Returns the current and the maximum number of cut-offs.
    fn usage(&self) -> CutOffUsage;
}

/// How many cut-offs are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutOffUsage {
    /// The number of cut-offs in the memory of this process.
    pub entries: usize,
    /// The largest number of cut-offs. The general cut-off does not count.
    pub max: usize,
}

impl CutOffUsage {
    /// Returns whether an unauthenticated request may add a cut-off. Such requests can use only half of the maximum, so
    /// that administrators and identity providers can always add cut-offs.
    #[must_use]
    pub const fn accepts_unauthenticated(self) -> bool {
        self.entries < self.max / 2
    }
}

/// The result of [`CutOffStore::add_rule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddRuleOutcome {
    /// The rule is stored.
    Added {
        /// The sequence number of the change. A replica that has read all changes up to this number has the rule.
        /// `None` if there is only one replica.
        change: Option<u64>,
        /// How many Redis replicas have the rule.
        replication: Replication,
    },
    /// The rule is not stored, because there are already [`MAX_REVOCATION_RULES`](super::MAX_REVOCATION_RULES) other
    /// rules.
    TooMany,
}
