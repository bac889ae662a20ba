//! Stores for sessions.
//!
//! The trait [`SessionStore`] has two back ends, [`memory`] and [`redis`], and the wrappers [`touch`], [`cached`],
//! [`journal`] and [`measured`]. All of them pass the suite in `conformance`. Back ends implement further traits
//! for other data: [`DeadlineQueue`], [`CutOffStore`] and [`HistoryStore`].

#[macro_use]
mod forward;

pub mod cached;
mod change;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod cursor;
mod cut_off_store;
pub(crate) mod cut_offs;
mod deadline_queue;
mod ends;
mod error;
mod history;
pub mod journal;
mod lock;
pub mod measured;
pub mod memory;
pub mod redis;
pub(crate) mod revocation_rules;
mod stores;
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
pub use cut_off_store::{CutOffStore, CutOffUsage, RuleAdded};
pub use cut_offs::MAX_CUT_OFFS;
pub use deadline_queue::DeadlineQueue;
pub use ends::{InvalidationListener, NoopListener};
pub use error::StoreError;
pub use history::{History, HistoryStore, LimitsOfSources};
pub use revocation_rules::MAX_REVOCATION_RULES;
pub use stores::Stores;
pub use walk::{Batch, SessionWalk};

/// A store for sessions.
///
/// Every operation is safe to repeat, and none revives an ended session. `create` never replaces a record or a
/// tombstone, `touch` never creates a record or moves `last_seen` backwards, and `end` keeps the first reason. The
/// caller passes `now`, so a store reads no clock for a decision. Redis deletes expired records with its own clock,
/// which is only a clean-up.
#[async_trait]
pub trait SessionStore: LocalStore {
    /// The record of a session, tombstones included; `None` if there is no record.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    async fn load(&self, id: SessionId) -> Result<Option<Session>, StoreError>;

    /// Stores a new session, unless a record or a tombstone has this session ID.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed; the session may still be stored.
    async fn create(&self, id: SessionId, session: &Session) -> Result<CreateOutcome, StoreError>;

    /// Records activity: `last_seen = max(last_seen, touch.at)`. It changes no missing or ended session.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed; repeating the call is safe.
    async fn touch(&self, id: SessionId, touch: Touch) -> Result<(), StoreError>;

    /// Ends a session and leaves a tombstone.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed; the session may still have ended. Repeating the call is safe.
    async fn end(&self, id: SessionId, ending: Ending) -> Result<EndOutcome, StoreError>;

    /// Keeps the tombstone of a session until `until` at least, because clients still present its credential. It
    /// changes no missing or live session.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed; repeating the call is safe.
    async fn keep_tombstone(&self, id: SessionId, until: Timestamp) -> Result<(), StoreError>;

    /// Removes a session that this process has just created, unless it has ended or changed; activity does not
    /// prevent that. It leaves no tombstone, so the credential can start the session again. Returns whether the
    /// session was removed.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed; the session may still be removed.
    async fn withdraw(&self, id: SessionId, session: &Session) -> Result<bool, StoreError>;
    /// Changes the details or attributes of a live session, if its details are the expected ones. The last activity
    /// and the limits stay the same, and a tombstone does not change.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed; the change may still be written.
    async fn change(&self, id: SessionId, change: &Change) -> Result<ChangeOutcome, StoreError>;

    /// Moves every time of a live session into the past by `by`, for tests of timeouts. Returns the record
    /// afterwards; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    async fn age(&self, id: SessionId, by: Duration) -> Result<Option<Session>, StoreError>;

    /// A page of at most `limit` records of a subject, tombstones included. The order does not change while a session
    /// lives; `after` is `next` of the previous page.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    async fn list(
        &self,
        subject: &Subject,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError>;

    /// Waits until the configured number of Redis replicas has the last write for a session, or until the configured
    /// timeout. Returns the number of replicas that have it.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    async fn wait_replicated(&self, id: SessionId) -> Result<Replication, StoreError>;

    /// Succeeds if the store can be used now.
    ///
    /// # Errors
    /// [`StoreError`] with the cause.
    async fn ready(&self) -> Result<(), StoreError>;

    /// A number that grows when the store may have lost its latest writes, for example after a fail-over. `None` for
    /// a store that loses nothing while the process runs.
    fn incarnation(&self) -> Option<watch::Receiver<u64>>;

    /// Writes buffered data. It is called once, when the process stops.
    ///
    /// # Errors
    /// [`StoreError`] if data was lost.
    async fn flush(&self) -> Result<(), StoreError>;
}

/// What a store answers at once, from the memory of this process. No method has a default, so a wrapper that forgets
/// to forward a call does not compile.
pub trait LocalStore: Send + Sync + 'static {
    /// The record of a session, if this process has it. `None` does not mean that there is no session. A live record
    /// may miss changes by other replicas; the documentation of each store gives the time.
    fn load_cached(&self, id: SessionId) -> Option<Session>;

    /// Buffers activity as [`SessionStore::touch`] records it, without waiting. Returns `false` if the caller must
    /// call `touch`.
    fn try_buffer_touch(&self, id: SessionId, touch: Touch) -> bool;
}

/// The result of [`SessionStore::create`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateOutcome {
    /// The session is stored.
    Created,
    /// A live session or a tombstone has this session ID, and stays unchanged.
    Exists,
}

/// Activity on a session, with all data that the store needs to record it without reading the record again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The time of the activity.
    pub at: Timestamp,
    /// The last activity in the record that the check read.
    pub last_seen: Timestamp,
    /// The retention in the record.
    pub retention: Duration,
    /// The touch interval: how long activity may be buffered before one touch is written.
    pub interval: Duration,
    /// When the session would have ended without this activity. Near this time, the activity is written at once.
    pub deadline: Timestamp,
}

/// A request to end a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The reason for the tombstone.
    pub reason: EndReason,
    /// When the reason was established.
    pub at: Timestamp,
    /// If set, the session ends only if its last activity is still this time. So a timeout that one replica decided
    /// respects a touch from another replica.
    pub unless_touched_since: Option<Timestamp>,
}

impl Ending {
    /// A revocation, whatever activity there is.
    #[must_use]
    pub const fn revoked(at: Timestamp) -> Self {
        Self {
            reason: EndReason::Revoked,
            at,
            unless_touched_since: None,
        }
    }

    /// A sign-out by the user.
    #[must_use]
    pub const fn signed_out(at: Timestamp) -> Self {
        Self {
            reason: EndReason::SignedOut,
            at,
            unless_touched_since: None,
        }
    }

    /// The end that follows from a denial at `now`; `None` if the denial ends no session. Only an idle timeout
    /// depends on activity at other replicas.
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

/// The result of an [`Ending`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndOutcome {
    /// This call ended the session; the tombstone.
    Ended(Session),
    /// The session had ended before; its tombstone, with the first reason.
    AlreadyEnded(Session),
    /// The session was used in the meantime and lives; its current record.
    Touched(Session),
    /// There is no record.
    Unknown,
}

/// The number of Redis replicas that have a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replication {
    /// The configured number of replicas.
    pub wanted: u16,
    /// The number of replicas that confirmed the write before the timeout.
    pub confirmed: u16,
}

impl Replication {
    /// Whether enough replicas confirmed the write.
    #[must_use]
    pub const fn is_confirmed(self) -> bool {
        self.confirmed >= self.wanted
    }
}

/// A page of a list of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The sessions on this page.
    pub sessions: Vec<(SessionId, Session)>,
    /// The start of the next page; `None` on the last page.
    pub next: Option<Cursor>,
}

/// A shared store is a store.
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
