use std::sync::Arc;

use async_trait::async_trait;

use super::{Replication, StoreError};
use crate::revocation::RevocationRule;
use crate::session::{Session, Subject, Timestamp};

/// For each subject, the time before which all of its sessions have ended: its *cut-off*.
///
/// Revoking a subject ends the sessions that its index knows. This ends those, too, that the index
/// lost in a fail-over, and those of a credential from before (the `event_timestamp` of CAEP).
///
/// The number of cut-offs is bounded. Beyond that, one general cut-off takes the place of the oldest: it holds for
/// every subject.
#[async_trait]
pub trait NotBefore: Send + Sync + 'static {
    /// Notes that all sessions of a subject that started before `at` have ended. The time only
    /// moves forward. The store may forget cut-offs of at most `forget`. Says how many replicas
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

    /// The cut-off of a subject, asked of the store.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not say.
    async fn not_before(&self, subject: &Subject) -> Result<Option<Timestamp>, StoreError>;

    /// The cut-off as this process knows it. Costs no question, so every check can look.
    fn known_not_before(&self, subject: &Subject) -> Option<Timestamp>;

    /// Whether this process knows all that the store had within the last two seconds. If not, a session counts only
    /// after [`SessionStore::load`](super::SessionStore::load): that asks the store for the cut-offs of the session, too.
    fn is_fresh(&self) -> bool {
        true
    }

    /// Adds a revocation rule: sessions that it ends have ended for every replica that knows it. Rules with a time of at
    /// most `forget` may be forgotten.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not add it; it may still have done so.
    async fn add_rule(
        &self,
        rule: &RevocationRule,
        forget: Timestamp,
    ) -> Result<RuleAdded, StoreError>;

    /// The revocation rules that this process knows, the oldest time first.
    fn rules(&self) -> Arc<Vec<RevocationRule>>;

    /// Whether a session has ended by one of them. Costs one atomic load while there are none.
    fn is_ended_by_rule(&self, session: &Session) -> bool;

    /// How many cut-offs there are, and how many there can be.
    fn occupancy(&self) -> Occupancy;
}

/// How full the set of cut-offs is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// Cut-offs that this process knows.
    pub entries: usize,
    /// The most that are kept one by one.
    pub max: usize,
}

impl Occupancy {
    /// Whether there is room for a cut-off that anybody could ask for: half of the room is kept for administrators
    /// and identity providers.
    #[must_use]
    pub const fn has_room_for_anonymous(self) -> bool {
        self.entries < self.max / 2
    }
}

/// What became of a revocation rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAdded {
    /// The store has it.
    Added {
        /// The number of the change: a replica that has read so far knows the rule. `None` where there is one replica.
        change: Option<u64>,
        /// How many replicas of the store have it.
        replication: Replication,
    },
    /// There are [`MAX_REVOCATION_RULES`](super::MAX_REVOCATION_RULES) others.
    TooMany,
}
