//! The embedded store: sessions in the memory of this process, for one replica and for demos.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;

use super::cut_offs::{CutOffs, MAX_CUT_OFFS, subject_key};
use super::revocation_rules::RevocationRules;
use super::{
    AddRuleOutcome, Batch, Change, ChangeOutcome, CreateOutcome, Cursor, CutOffStore, CutOffUsage,
    DeadlineQueue, EndOutcome, EndRequest, History, HistoryStore, LimitsBySource, Page,
    Replication, RouteCheckStore, SessionStore, SessionWalk, SharedRouteChecks, StoreError,
    TimesByRoute, Touch,
};
use crate::LocalStore;
use crate::clock::Clock;
use crate::events::SessionEnded;
use crate::policy::Policies;
use crate::revocation::RevocationRule;
use crate::session::{Session, SessionId, SessionMap, State, Subject, Timestamp};

/// A bounded store in memory. It deletes records after their retention.
///
/// A full store rejects new sessions; it never drops a live session.
pub struct MemoryStore {
    tables: RwLock<Tables>,
    clock: Arc<dyn Clock>,
    max_sessions: usize,
    cut_offs: CutOffs,
    rules: RevocationRules,
    /// The store may drop the cut-offs and revocation rules whose time is not later than this time, in milliseconds.
    expired_until: AtomicU64,
    history: Mutex<History>,
    route_checks: Mutex<Option<SharedRouteChecks>>,
}

#[derive(Default)]
struct Tables {
    sessions: SessionMap<Session>,
    /// The minimum expiry of each tombstone for which [`SessionStore::keep_tombstone`] was called.
    extended_expiries: SessionMap<Timestamp>,
    /// The sessions of each subject, in the order in which [`SessionStore::list`] returns them.
    subjects: BTreeSet<(Subject, Cursor)>,
    /// The due time of each session.
    due_times: SessionMap<Timestamp>,
    /// The same sessions, in the order of their due times.
    by_due_time: BTreeSet<(Timestamp, SessionId)>,
}

impl Tables {
    /// Sets or changes the due time of a session; `None` removes it. Returns whether the session had a due time before.
    fn set_due(&mut self, id: SessionId, at: Option<Timestamp>) -> bool {
        let before = match at {
            Some(at) => self.due_times.insert(id, at),
            None => self.due_times.remove(&id),
        };
        if let Some(before) = before {
            self.by_due_time.remove(&(before, id));
        }
        if let Some(at) = at {
            self.by_due_time.insert((at, id));
        }
        before.is_some()
    }
}

impl MemoryStore {
    /// Creates an empty store for at most `max_sessions` records. `clock` determines when records expire.
    #[must_use]
    pub fn new(max_sessions: usize, clock: Arc<dyn Clock>) -> Self {
        Self {
            tables: RwLock::default(),
            clock,
            max_sessions,
            cut_offs: CutOffs::new(MAX_CUT_OFFS),
            rules: RevocationRules::new(),
            expired_until: AtomicU64::new(0),
            history: Mutex::default(),
            route_checks: Mutex::default(),
        }
    }

    /// Records that an earlier process lost its sessions at the time `at`, so that credentials of other issuers start
    /// sessions only for later sign-ins. Returns the same store.
    #[must_use]
    pub fn after_loss(self, at: Timestamp) -> Self {
        self.history.lock().record_loss(at);
        self
    }

    /// Returns the number of records, tombstones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tables.read().sessions.len()
    }

    /// Returns whether there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Replaces a record, to simulate a fail-over that loses writes.
    #[cfg(any(test, feature = "testing"))]
    pub fn put(&self, id: SessionId, session: Session) {
        self.tables.write().sessions.insert(id, session);
    }

    /// Removes a record without a tombstone, to simulate `DEL`.
    #[cfg(any(test, feature = "testing"))]
    pub fn remove(&self, id: SessionId) {
        self.tables.write().sessions.remove(&id);
    }

    /// Removes all records, to simulate `FLUSHALL`, and records the loss of data.
    #[cfg(any(test, feature = "testing"))]
    pub fn lose_all(&self, at: Timestamp) {
        *self.tables.write() = Tables::default();
        self.history.lock().record_loss(at);
    }

    /// Ends a session, to simulate a process that stops before it publishes the end.
    #[cfg(any(test, feature = "testing"))]
    pub async fn end_unpublished(&self, id: SessionId, ending: EndRequest) {
        let ended = self.end(id, ending).await;
        assert!(matches!(ended, Ok(EndOutcome::Ended(_))), "{ended:?}");
    }

    /// Deletes expired records. Returns how many it deleted. The function reads all sessions, so callers call it only
    /// from time to time. A full store calls it before it rejects a new session.
    pub fn reclaim(&self) -> usize {
        let now = self.clock.now();
        let forget_until = self.expired_until.load(Ordering::Relaxed);
        self.cut_offs.forget(Timestamp::from_millis(forget_until));
        self.rules.forget(Timestamp::from_millis(forget_until));
        let mut tables = self.tables.write();
        let before = tables.sessions.len();
        let Tables {
            sessions,
            subjects,
            extended_expiries,
            ..
        } = &mut *tables;
        extended_expiries.retain(|_, until| now < *until);
        sessions
            .retain(|id, session| now < session.expires() || extended_expiries.contains_key(id));
        subjects.retain(|(_, cursor)| sessions.contains_key(&cursor.id));
        before - sessions.len()
    }
}

#[async_trait]
impl SessionStore for MemoryStore {
    async fn load(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        Ok(self.load_cached(id))
    }

    async fn create(&self, id: SessionId, session: &Session) -> Result<CreateOutcome, StoreError> {
        if self.len() >= self.max_sessions && self.reclaim() == 0 {
            return Err(StoreError::Full(self.max_sessions));
        }
        let mut tables = self.tables.write();
        // Another task may have filled the store since the comparison above.
        if tables.sessions.len() >= self.max_sessions {
            return Err(StoreError::Full(self.max_sessions));
        }
        if tables.sessions.contains_key(&id) {
            return Ok(CreateOutcome::Exists);
        }
        tables.sessions.insert(id, session.clone());
        let entry = (session.subject.clone(), Cursor::of(id, session));
        tables.subjects.insert(entry);
        Ok(CreateOutcome::Created)
    }

    async fn touch(&self, id: SessionId, touch: Touch) -> Result<(), StoreError> {
        self.try_buffer_touch(id, touch);
        Ok(())
    }

    async fn end(&self, id: SessionId, ending: EndRequest) -> Result<EndOutcome, StoreError> {
        let mut tables = self.tables.write();
        let Some(session) = tables.sessions.get_mut(&id) else {
            return Ok(EndOutcome::Unknown);
        };
        if session.state != State::Live {
            return Ok(EndOutcome::AlreadyEnded(session.clone()));
        }
        if ending
            .unless_touched_since
            .is_some_and(|last_seen| last_seen != session.last_seen)
        {
            return Ok(EndOutcome::Touched(session.clone()));
        }
        session.end(ending.reason, ending.at);
        Ok(EndOutcome::Ended(session.clone()))
    }

    async fn keep_tombstone(&self, id: SessionId, until: Timestamp) -> Result<(), StoreError> {
        let mut tables = self.tables.write();
        let has_ended = |session: &Session| session.state != State::Live;
        if tables.sessions.get(&id).is_some_and(has_ended) {
            let expiry = tables.extended_expiries.entry(id).or_insert(until);
            *expiry = until.max(*expiry);
        }
        Ok(())
    }

    async fn withdraw(&self, id: SessionId, session: &Session) -> Result<bool, StoreError> {
        let mut tables = self.tables.write();
        let is_same = tables
            .sessions
            .get(&id)
            .is_some_and(|stored| stored.is_same_sign_in(session));
        if is_same {
            tables.sessions.remove(&id);
            let entry = (session.subject.clone(), Cursor::of(id, session));
            tables.subjects.remove(&entry);
            tables.set_due(id, None);
        }
        Ok(is_same)
    }

    async fn change(&self, id: SessionId, change: &Change) -> Result<ChangeOutcome, StoreError> {
        let mut tables = self.tables.write();
        let Some(session) = tables.sessions.get_mut(&id) else {
            return Ok(ChangeOutcome::Unknown);
        };
        let outcome = change.apply_to(session.clone());
        if let ChangeOutcome::Changed(changed) = &outcome {
            session.clone_from(changed);
        }
        Ok(outcome)
    }

    async fn age(&self, id: SessionId, by: Duration) -> Result<Option<Session>, StoreError> {
        let mut tables = self.tables.write();
        Ok(tables.sessions.get_mut(&id).map(|session| {
            session.age(by);
            session.clone()
        }))
    }

    async fn list(
        &self,
        subject: &Subject,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let tables = self.tables.read();
        let start = match after {
            Some(cursor) => Bound::Excluded((subject.clone(), cursor)),
            None => Bound::Included((subject.clone(), Cursor::FIRST)),
        };
        let mut cursors = tables
            .subjects
            .range((start, Bound::Unbounded))
            .take_while(|(owner, _)| owner == subject)
            .map(|(_, cursor)| *cursor);
        let page: Vec<Cursor> = cursors.by_ref().take(limit).collect();
        let next = cursors.next().and(page.last().copied());
        let sessions = page
            .iter()
            .filter_map(|cursor| Some((cursor.id, tables.sessions.get(&cursor.id)?.clone())))
            .collect();
        Ok(Page { sessions, next })
    }

    async fn wait_replicated(&self, _: SessionId) -> Result<Replication, StoreError> {
        Ok(Replication::default())
    }

    async fn ready(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn incarnation(&self) -> Option<tokio::sync::watch::Receiver<u64>> {
        None
    }

    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl LocalStore for MemoryStore {
    fn load_cached(&self, id: SessionId) -> Option<Session> {
        self.tables.read().sessions.get(&id).cloned()
    }

    fn try_buffer_touch(&self, id: SessionId, touch: Touch) -> bool {
        if let Some(session) = self.tables.write().sessions.get_mut(&id) {
            session.touch(touch.at);
        }
        true
    }
}

#[async_trait]
impl DeadlineQueue for MemoryStore {
    async fn enqueue(&self, id: SessionId, at: Timestamp) -> Result<(), StoreError> {
        let mut tables = self.tables.write();
        if !tables.due_times.contains_key(&id) {
            tables.set_due(id, Some(at));
        }
        Ok(())
    }

    async fn claim(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<SessionId>, StoreError> {
        let mut tables = self.tables.write();
        let due = tables.by_due_time.iter().take_while(|(at, _)| *at <= now);
        let claimed: Vec<SessionId> = due.take(limit).map(|(_, id)| *id).collect();
        for id in &claimed {
            tables.set_due(*id, Some(until));
        }
        Ok(claimed)
    }

    async fn peek_upcoming(&self, limit: usize) -> Result<Vec<SessionId>, StoreError> {
        let tables = self.tables.read();
        let upcoming = tables.by_due_time.iter().take(limit);
        Ok(upcoming.map(|(_, id)| *id).collect())
    }

    async fn postpone(&self, id: SessionId, at: Timestamp) -> Result<(), StoreError> {
        let mut tables = self.tables.write();
        if tables.due_times.contains_key(&id) {
            tables.set_due(id, Some(at));
        }
        Ok(())
    }

    async fn tighten_deadlines(&self, policies: &Policies) -> Result<(), StoreError> {
        let mut tables = self.tables.write();
        let tightened = tables.sessions.iter().filter_map(|(id, session)| {
            let deadline = policies.deadline(session);
            let is_later = tables.due_times.get(id).is_some_and(|at| *at > deadline);
            (session.state == State::Live && is_later).then_some((*id, deadline))
        });
        let earlier_deadlines: Vec<(SessionId, Timestamp)> = tightened.collect();
        for (id, deadline) in earlier_deadlines {
            tables.set_due(id, Some(deadline));
        }
        Ok(())
    }

    async fn acknowledge(
        &self,
        id: SessionId,
        _: Option<&SessionEnded>,
    ) -> Result<bool, StoreError> {
        Ok(self.tables.write().set_due(id, None))
    }
}

#[async_trait]
impl CutOffStore for MemoryStore {
    async fn set_cut_off(
        &self,
        subject: &Subject,
        at: Timestamp,
        forget_until: Timestamp,
    ) -> Result<Replication, StoreError> {
        self.cut_offs.raise(subject_key(subject), at);
        self.expired_until
            .fetch_max(forget_until.as_millis(), Ordering::Relaxed);
        Ok(Replication::default())
    }

    async fn cut_off(&self, subject: &Subject) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.known_cut_off(subject))
    }

    fn known_cut_off(&self, subject: &Subject) -> Option<Timestamp> {
        self.cut_offs.for_subject(subject)
    }

    async fn add_rule(
        &self,
        rule: &RevocationRule,
        forget_until: Timestamp,
    ) -> Result<AddRuleOutcome, StoreError> {
        self.rules.forget(forget_until);
        if !self.rules.has_space_for(rule) {
            return Ok(AddRuleOutcome::TooMany);
        }
        self.rules.add([rule.clone()]);
        self.expired_until
            .fetch_max(forget_until.as_millis(), Ordering::Relaxed);
        Ok(AddRuleOutcome::Added {
            change: None,
            replication: Replication::default(),
        })
    }

    fn rules(&self) -> Arc<Vec<RevocationRule>> {
        self.rules.all()
    }

    fn is_ended_by_rule(&self, session: &Session) -> bool {
        self.rules.ends(session)
    }

    fn usage(&self) -> CutOffUsage {
        CutOffUsage {
            entries: self.cut_offs.len(),
            max: self.cut_offs.max(),
        }
    }
}

#[async_trait]
impl HistoryStore for MemoryStore {
    async fn history(&self, _: SessionId) -> Result<History, StoreError> {
        Ok(self.history.lock().clone())
    }

    async fn record_limits(
        &self,
        limits: &LimitsBySource,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.history.lock().record_limits(limits, now);
        Ok(())
    }
}

#[async_trait]
impl RouteCheckStore for MemoryStore {
    async fn share_route_checks(
        &self,
        known: &TimesByRoute,
        now: Timestamp,
    ) -> Result<SharedRouteChecks, StoreError> {
        let mut shared = self.route_checks.lock();
        let shared = shared.get_or_insert_with(|| SharedRouteChecks {
            since: now,
            times: TimesByRoute::new(),
        });
        shared.merge(known, now);
        Ok(shared.clone())
    }
}

#[async_trait]
impl SessionWalk for MemoryStore {
    async fn walk(&self, batches: mpsc::Sender<Batch>) -> Result<(), StoreError> {
        /// How many records one step copies while it holds the lock.
        const BATCH_SIZE: usize = 1000;
        let ids: Vec<SessionId> = self.tables.read().sessions.keys().copied().collect();
        for ids in ids.chunks(BATCH_SIZE) {
            let sessions = {
                let tables = self.tables.read();
                let find = |id: &SessionId| Some((*id, tables.sessions.get(id)?.clone()));
                ids.iter().filter_map(find).collect()
            };
            let batch = Batch {
                sessions,
                unreadable: 0,
            };
            if batches.send(batch).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
