//! Where sessions live.
//!
//! One trait, [`SessionStore`]; two back ends, [`memory`] and [`redis`]; wrappers over any of them,
//! [`touch`], [`cached`], [`journal`] and [`measured`]. All of them pass the one suite in `conformance`. What a
//! back end keeps beside the records has traits of its own: [`DeadlineQueue`], [`NotBefore`] and
//! [`HistoryStore`].

#[macro_use]
mod forward;

pub mod cached;
mod change;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod cursor;
pub(crate) mod cut_offs;
mod deadline_queue;
mod ends;
mod error;
mod history;
pub mod journal;
mod lock;
pub mod measured;
pub mod memory;
mod not_before;
pub mod redis;
pub(crate) mod revocation_rules;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod touch;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use curfew_clock as clock;
#[cfg(any(test, feature = "testing"))]
use curfew_core::actor;
use curfew_core::{credential, events, live, policy, revocation, secret, session};
use curfew_telemetry as telemetry;
use tokio::sync::watch;

use crate::session::{DenyReason, EndReason, Session, SessionId, State, Subject, Timestamp};

pub use change::{Change, ChangeOutcome};
pub use cursor::{Cursor, ParseCursorError};
pub use cut_offs::MAX_CUT_OFFS;
pub use deadline_queue::DeadlineQueue;
pub use ends::{Deaf, InvalidationListener};
pub use error::StoreError;
pub use history::{History, HistoryStore, LimitsOfSources};
pub use not_before::{NotBefore, Occupancy, RuleAdded};
pub use revocation_rules::MAX_REVOCATION_RULES;
pub use walk::{Batch, SessionWalk};

/// A place where sessions live.
///
/// Every operation is safe to repeat, and none brings an ended session back: `create` never
/// replaces a record or a tombstone, `touch` never creates and never moves `last_seen` backwards,
/// `end` keeps the first reason. `now` is always an argument; a store reads no clock for a decision
/// (Redis forgets records by its own clock, which is clean-up only).
#[async_trait]
pub trait SessionStore: LocalStore {
    /// The record of a session, tombstones included; `None` where there is none (any more).
    ///
    /// # Errors
    /// [`StoreError`] when the store could not say.
    async fn load(&self, id: SessionId) -> Result<Option<Session>, StoreError>;

    /// Keeps a new session, unless a record or a tombstone of this name is there already.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not keep it; it may still have done so.
    async fn create(&self, id: SessionId, session: &Session) -> Result<CreateOutcome, StoreError>;

    /// Records activity: `last_seen = max(last_seen, touch.at)`. A missing or ended session stays
    /// as it is.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not record it; repeating it is safe.
    async fn touch(&self, id: SessionId, touch: Touch) -> Result<(), StoreError>;

    /// Ends a session and leaves a tombstone.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not end it; it may still have done so, and repeating it
    /// is safe.
    async fn end(&self, id: SessionId, ending: Ending) -> Result<EndOutcome, StoreError>;

    /// Keeps the tombstone of a session until `until` at least: its credential is still presented. A missing or live
    /// session stays as it is.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not do it; repeating it is safe.
    async fn keep_tombstone(&self, id: SessionId, until: Timestamp) -> Result<(), StoreError>;

    /// Removes a session that this process has just created, unless it has ended or changed; activity makes no difference.
    /// No tombstone is left, and the credential can start it again. Says whether it was removed.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not remove it; it may still have done so.
    async fn withdraw(&self, id: SessionId, session: &Session) -> Result<bool, StoreError>;
    /// Changes what is known of a live session, if its details are the expected ones. The last activity, the limits and
    /// a tombstone stay as they are.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not change it; it may still have done so.
    async fn change(&self, id: SessionId, change: &Change) -> Result<ChangeOutcome, StoreError>;

    /// Moves every time of a live session into the past by `by`; answers the record as it is then,
    /// `None` where there is none. For tests of time-outs, not for production.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not change it.
    async fn age(&self, id: SessionId, by: Duration) -> Result<Option<Session>, StoreError>;

    /// A page of at most `limit` of a subject's records, tombstones included, in an order that
    /// does not change while a session lives; `after` is the end of the page before.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not say.
    async fn list(
        &self,
        subject: &Subject,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError>;

    /// Waits until as many replicas as are wanted have what was last written about a session, as
    /// long as is configured; says how many have it.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not say.
    async fn wait_replicated(&self, id: SessionId) -> Result<Replication, StoreError>;

    /// Whether the store can be used right now.
    ///
    /// # Errors
    /// [`StoreError`] with the reason why not.
    async fn ready(&self) -> Result<(), StoreError>;

    /// A number that grows whenever the store may have lost what was written to it last, as after
    /// a fail-over; `None` for a store that loses nothing while the process lives.
    fn incarnation(&self) -> Option<watch::Receiver<u64>>;

    /// Writes what has not been written yet; called once, when the process ends.
    ///
    /// # Errors
    /// [`StoreError`] when something was lost.
    async fn flush(&self) -> Result<(), StoreError>;
}

/// What a store answers at once, from the memory of this process. No method has a default, so that a wrapper that
/// forgets to pass a call on does not compile.
pub trait LocalStore: Send + Sync + 'static {
    /// The record of a session, if this process has it. `None` does not mean that there is no session. A live record may
    /// lack changes by other replicas; the documentation of each store gives the time.
    fn load_cached(&self, id: SessionId) -> Option<Session>;

    /// Records activity as [`SessionStore::touch`] does, if that needs no waiting. `false` if the caller must call
    /// `touch`.
    fn try_buffer_touch(&self, id: SessionId, touch: Touch) -> bool;
}

/// Whether a session was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateOutcome {
    /// It is kept now.
    Created,
    /// The name was taken, by a live session or by a tombstone, which stays as it is.
    Exists,
}

/// Activity on a session, with all that is needed to record it without reading the record again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// When the activity was.
    pub at: Timestamp,
    /// The last activity that the record showed.
    pub last_seen: Timestamp,
    /// The record's own retention.
    pub retention: Duration,
    /// How long activities may be gathered before one is written.
    pub interval: Duration,
    /// When the session would have ended without this activity: as this comes near, the activity
    /// is written at once.
    pub deadline: Timestamp,
}

/// How a session is to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Why.
    pub reason: EndReason,
    /// When that was established.
    pub at: Timestamp,
    /// End it only if the last activity is still this one, so that a time-out that was decided
    /// on one replica respects a touch from another; `None` ends it in any case.
    pub unless_touched_since: Option<Timestamp>,
}

impl Ending {
    /// An end on purpose, whatever the session is used for.
    #[must_use]
    pub const fn revoked(at: Timestamp) -> Self {
        Self {
            reason: EndReason::Revoked,
            at,
            unless_touched_since: None,
        }
    }

    /// The end of a session whose user signs out.
    #[must_use]
    pub const fn signed_out(at: Timestamp) -> Self {
        Self {
            reason: EndReason::SignedOut,
            at,
            unless_touched_since: None,
        }
    }

    /// The end that a denial at `now` calls for, where it ends the session. Only idleness can be
    /// disproved by activity elsewhere.
    #[must_use]
    pub fn for_denial(session: &Session, denial: DenyReason, now: Timestamp) -> Option<Self> {
        let reason = EndReason::from_denial(denial).filter(|_| session.state == State::Live)?;
        let idle = reason == EndReason::IdleTimeout;
        Some(Self {
            reason,
            at: now,
            unless_touched_since: idle.then_some(session.last_seen),
        })
    }
}

/// What became of an [`Ending`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndOutcome {
    /// Ended by this call; the tombstone.
    Ended(Session),
    /// It had ended before; its tombstone, with the first reason.
    AlreadyEnded(Session),
    /// It was used in the meantime and lives; the record as it is now.
    Touched(Session),
    /// There is no record.
    Unknown,
}

/// How many replicas have something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replication {
    /// How many should.
    pub wanted: u16,
    /// How many said so in time.
    pub confirmed: u16,
}

impl Replication {
    /// Whether those that should have it do.
    #[must_use]
    pub const fn is_confirmed(self) -> bool {
        self.confirmed >= self.wanted
    }
}

/// A page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The sessions on this page.
    pub sessions: Vec<(SessionId, Session)>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<Cursor>,
}

/// A store that is shared is a store.
#[async_trait]
impl<S: SessionStore + ?Sized> SessionStore for Arc<S> {
    forward!(self => (**self); load, create, touch, end, keep_tombstone, withdraw, change, age, list, wait_replicated, ready,
        incarnation, flush);
}

impl<S: LocalStore + ?Sized> LocalStore for Arc<S> {
    fn load_cached(&self, id: SessionId) -> Option<Session> {
        (**self).load_cached(id)
    }

    fn try_buffer_touch(&self, id: SessionId, touch: Touch) -> bool {
        (**self).try_buffer_touch(id, touch)
    }
}
