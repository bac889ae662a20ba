//! Stores for sessions.
//!
//! The trait [`SessionStore`] has two implementations, [`memory`] and [`redis`], and the wrappers [`touch`],
//! [`cached`], [`journal`] and [`measured`]. All of them pass the test suite in `conformance`. [`memory`] and [`redis`]
//! also implement traits for other data: [`DeadlineQueue`], [`CutOffStore`], [`HistoryStore`] and [`RouteCheckStore`].

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
mod error;
mod history;
mod invalidation_listener;
pub mod journal;
mod lock;
pub mod measured;
pub mod memory;
pub mod redis;
pub(crate) mod revocation_rules;
mod route_checks;
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

use crate::session::{
    DenyReason, EndReason, Limits, Session, SessionId, State, Subject, Timestamp,
};

pub use change::{Change, ChangeOutcome};
pub use cursor::{Cursor, ParseCursorError};
pub use cut_off_store::{AddRuleOutcome, CutOffStore, CutOffUsage};
pub use cut_offs::MAX_CUT_OFFS;
pub use deadline_queue::DeadlineQueue;
pub use error::StoreError;
pub use history::{History, HistoryStore, LimitsBySource};
pub use invalidation_listener::{InvalidationListener, InvalidationListeners};
pub use revocation_rules::MAX_REVOCATION_RULES;
pub use route_checks::{RouteCheckStore, SharedRouteChecks, TimesByRoute};
pub use stores::Stores;
pub use walk::{Batch, SessionWalk};

/// A store for sessions.
///
/// An ended session leaves a tombstone: a short record with the reason of the end. The tombstone prevents a valid
/// credential from starting the session again.
///
/// Every operation except `age` is safe to repeat, and no operation revives an ended session. For example, `create`
/// never replaces a record or a tombstone, `touch` never creates a record or moves `last_seen` backwards, and `end`
/// keeps the first reason. The caller passes the current time, so a store reads no clock for a decision. Redis uses its
/// own clock only to delete expired records.
#[async_trait]
pub trait SessionStore: LocalStore {
    /// Returns the record of a session, which may be a tombstone. Returns `None` if there is no record.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    async fn load(&self, id: SessionId) -> Result<Option<Session>, StoreError>;

    /// Stores a new session, unless a live record or a tombstone already has this session ID.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed; the session may still be stored.
    async fn create(&self, id: SessionId, session: &Session) -> Result<CreateOutcome, StoreError>;

    /// Records activity: `last_seen = max(last_seen, touch.at)`. Does nothing if the session is missing or has ended.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed; repeating the call is safe.
    async fn touch(&self, id: SessionId, touch: Touch) -> Result<(), StoreError>;

    /// Ends a session and leaves a tombstone.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed; the session may still have ended. Repeating the call is safe.
    async fn end(&self, id: SessionId, ending: EndRequest) -> Result<EndOutcome, StoreError>;

    /// Keeps the tombstone of a session at least until the time `until`. A caller uses this function while clients
    /// still present the credential, because without the tombstone the credential could start the session again. Does
    /// nothing if the session is missing or live.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed; repeating the call is safe.
    async fn keep_tombstone(&self, id: SessionId, until: Timestamp) -> Result<(), StoreError>;

    /// Removes a session that this process has just created and that no client has received. The store does not remove
    /// a session that has ended or changed; activity does not count as a change. No tombstone remains, so the
    /// credential can start the session again. Returns whether the session was removed.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed; the session may still be removed.
    async fn withdraw(&self, id: SessionId, session: &Session) -> Result<bool, StoreError>;

    /// Changes the details or attributes of a live session if its details equal `change.expected`. Does not change
    /// the last activity, the limits or a tombstone.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed; the change may still be written.
    async fn change(&self, id: SessionId, change: &Change) -> Result<ChangeOutcome, StoreError>;

    /// Moves all timestamps of a live session into the past by the duration `by`, to test timeouts. Returns the new
    /// record, or `None` if there is no record.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    async fn age(&self, id: SessionId, by: Duration) -> Result<Option<Session>, StoreError>;

    /// Returns a page of at most `limit` records of a subject, including tombstones. Activity and session ends do not
    /// change the order. The argument `after` is the field `next` of the previous page; `None` returns the first page.
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
    /// timeout. Returns how many Redis replicas have this write.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    async fn wait_replicated(&self, id: SessionId) -> Result<Replication, StoreError>;

    /// Succeeds if the store can be used now.
    ///
    /// # Errors
    /// [`StoreError`] with the cause.
    async fn ready(&self) -> Result<(), StoreError>;

    /// Returns a receiver for a number that grows when the store may have lost its latest writes, for example after a
    /// fail-over. Returns `None` for a store that loses nothing while the process runs.
    fn incarnation(&self) -> Option<watch::Receiver<u64>>;

    /// Writes buffered data. The process calls this function once, when it stops.
    ///
    /// # Errors
    /// [`StoreError`] if data was lost.
    async fn flush(&self) -> Result<(), StoreError>;
}

/// The operations for which a store uses only the memory of this process, so they never wait. No method has a default
/// implementation, so the compiler rejects a wrapper that forgets to forward a call.
pub trait LocalStore: Send + Sync + 'static {
    /// Returns the record of a session if this process has the record in memory. If the result is `None`, the store may
    /// still have the session. A live record may lack recent changes by other replicas. The documentation of each store
    /// says for how long a change may be missing.
    fn load_cached(&self, id: SessionId) -> Option<Session>;

    /// Buffers a touch in memory, without waiting. Returns `false` if it did not buffer the touch; then the caller
    /// must call [`SessionStore::touch`].
    fn try_buffer_touch(&self, id: SessionId, touch: Touch) -> bool;
}

/// The result of [`SessionStore::create`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateOutcome {
    /// The session is stored.
    Created,
    /// A live session or a tombstone already has this session ID. The store did not change this record.
    Exists,
}

/// Activity of a session, with all data that the store needs to record the activity without another read of the
/// record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The time of the activity.
    pub at: Timestamp,
    /// The last activity in the record that the check read.
    pub last_seen: Timestamp,
    /// How long the store keeps the record after the last activity, according to the record that the check read.
    pub retention: Duration,
    /// The touch interval: how long a wrapper may buffer activity before it writes one touch.
    pub interval: Duration,
    /// The time when the session would end without this activity. Shortly before this time, a wrapper writes the
    /// activity at once.
    pub deadline: Timestamp,
}

impl Touch {
    /// Creates the touch for activity at the time `at` in a session under these limits. `interval` is the touch
    /// interval.
    #[must_use]
    pub fn new(session: &Session, limits: &Limits, interval: Duration, at: Timestamp) -> Self {
        Self {
            at,
            last_seen: session.last_seen,
            retention: session.retention,
            interval,
            deadline: session.idle_deadline(limits),
        }
    }
}

/// A request to end a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndRequest {
    /// The reason of the session end, for the tombstone.
    pub reason: EndReason,
    /// The time of the decision to end the session.
    pub at: Timestamp,
    /// If set, the session ends only if its last activity was at this time. So later activity at another replica
    /// prevents a timeout that this replica has decided.
    pub unless_touched_since: Option<Timestamp>,
}

impl EndRequest {
    /// Creates a request to revoke a session. Activity does not prevent the session end.
    #[must_use]
    pub const fn revoked(at: Timestamp) -> Self {
        Self {
            reason: EndReason::Revoked,
            at,
            unless_touched_since: None,
        }
    }

    /// Creates a request for a sign-out by the user. Activity does not prevent the session end.
    #[must_use]
    pub const fn signed_out(at: Timestamp) -> Self {
        Self {
            reason: EndReason::SignedOut,
            at,
            unless_touched_since: None,
        }
    }

    /// Creates the request for the session end that a denial at the time `now` causes. Returns `None` if the denial
    /// does not end the session. Activity after the denial prevents the session end only for an idle timeout.
    #[must_use]
    pub fn for_denial(session: &Session, denial: DenyReason, now: Timestamp) -> Option<Self> {
        let reason = EndReason::from_denial(denial).filter(|_| session.state == State::Live)?;
        let is_idle_timeout = reason == EndReason::IdleTimeout;
        Some(Self {
            reason,
            at: now,
            unless_touched_since: is_idle_timeout.then_some(session.last_seen),
        })
    }
}

/// The result of an [`EndRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndOutcome {
    /// This call ended the session. The variant contains the tombstone.
    Ended(Session),
    /// The session had already ended. The variant contains the tombstone, with the reason of the first end.
    AlreadyEnded(Session),
    /// The session was used in the meantime, so it is still live. The variant contains the current record.
    Touched(Session),
    /// There is no record.
    Unknown,
}

/// How many Redis replicas must have a write, and how many have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replication {
    /// The configured number of Redis replicas that must have a write.
    pub wanted: u16,
    /// The number of Redis replicas that confirmed the write before the timeout.
    pub confirmed: u16,
}

impl Replication {
    /// Returns whether enough Redis replicas confirmed the write.
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
    /// The argument `after` for the next page; `None` on the last page.
    pub next: Option<Cursor>,
}

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
