//! The open streams of this replica, by session.
//!
//! A stream is a request whose answer goes on for longer than the check: a WebSocket, an event stream, a gRPC stream,
//! another upgraded connection, or a long transfer. A stream must end with its session, so code that forwards a request
//! registers it here. The registry cuts streams: it tells the task that relays a stream to end it, with a reason.
//!
//! [`Lifecycle`](crate::lifecycle::Lifecycle) reports the session ends of this replica. The ends of other replicas
//! arrive as invalidations. The supervisor (`supervision.rs`) decides on each session again when it is due.

mod hearing;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::session::{DenyReason, EndReason, Session, SessionId, SessionMap, Timestamp};
use crate::store::InvalidationListener;
use crate::telemetry::Metrics;
use hearing::Hearing;
pub use stream::{OpenStream, StreamGuard, StreamKind, StreamTarget, StreamTerms};

/// The time after which a new stream is decided on for the first time. A session can end between the check of the
/// request and the registration of its stream, and this decision finds such an end.
const FIRST_RECHECK: Duration = Duration::from_millis(500);
/// The time of sessions that are due at once.
const DUE_AT_ONCE: Timestamp = Timestamp::from_millis(0);
/// A stream of this age was registered before the check of a new request began.
const OLD_STREAM: Duration = Duration::from_secs(60);
/// The time until another decision, if a decision reports no result because of a fault in Curfew.
const RESULT_TIMEOUT: Duration = Duration::from_secs(30);
/// While session ends are not heard, Curfew reads the session of each stream again at this interval.
const UNHEARD_RECHECK: Duration = Duration::from_secs(1);

/// The limits on open streams of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// The maximum number of open streams.
    pub max: usize,
    /// The maximum number of open streams of one session.
    pub max_per_session: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            max: 20_000,
            max_per_session: 200,
        }
    }
}

/// The limit that prevents a new stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamLimit {
    /// The limit of the replica.
    Replica,
    /// The limit of the session.
    Session,
}

impl StreamLimit {
    /// Both limits.
    pub const ALL: [Self; 2] = [Self::Replica, Self::Session];

    /// The word for this limit in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replica => "replica",
            Self::Session => "session",
        }
    }
}

/// The open streams of this replica. A reload of the configuration keeps them.
pub struct OpenStreams {
    state: Mutex<State>,
    hearing: Hearing,
    /// Wakes the supervisor when a session is due at once.
    due: Notify,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    sessions: SessionMap<SessionStreams>,
    stream_count: usize,
    next_number: u64,
}

/// The open streams of one session.
struct SessionStreams {
    streams: Vec<Arc<OpenStream>>,
    /// The record of the session at the last decision.
    record: Session,
    /// When the supervisor must decide on the session again.
    due_at: Timestamp,
    /// When the supervisor decides again if the decision in progress reports no result.
    result_due_at: Timestamp,
    /// When Curfew last read the session from the store, or allowed a request that opened a stream.
    confirmed_at: Timestamp,
    /// The time of the first of the latest failures to read the session; `None` if the latest attempt succeeded.
    unconfirmed_since: Option<Timestamp>,
}

impl OpenStreams {
    /// Creates a registry without streams. `clock` shows decision time, the common time of all replicas. `steady` is
    /// the clock of the invalidation channel; `None` for a store without other replicas, whose ends are always heard.
    #[must_use]
    pub fn new(
        clock: Arc<dyn Clock>,
        steady: Option<Arc<dyn Clock>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        init_metrics(&metrics);
        Self {
            state: Mutex::default(),
            hearing: Hearing::new(steady),
            due: Notify::new(),
            clock,
            metrics,
        }
    }

    /// Registers the stream of an allowed request. The stream is open until the guard is dropped.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn open(
        self: &Arc<Self>,
        (session, record): (SessionId, Session),
        target: StreamTarget,
        terms: StreamTerms,
        limits: StreamLimits,
    ) -> Result<StreamGuard, StreamLimit> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let of_session = state.sessions.get(&session);
        let of_session = of_session.map_or(0, |session| session.streams.len());
        let reached = if state.stream_count >= limits.max {
            Some(StreamLimit::Replica)
        } else if of_session >= limits.max_per_session {
            Some(StreamLimit::Session)
        } else {
            None
        };
        if let Some(limit) = reached {
            self.metrics
                .streams
                .refused
                .with_label_values(&[limit.as_str()])
                .inc();
            return Err(limit);
        }
        let number = state.next_number;
        state.next_number += 1;
        state.stream_count += 1;
        let stream = Arc::new(OpenStream::new(number, session, target, terms, now));
        let first_recheck = now.plus(FIRST_RECHECK);
        let of_session = state
            .sessions
            .entry(session)
            .or_insert_with(|| SessionStreams {
                streams: Vec::new(),
                record: record.without_refresh_token(),
                due_at: first_recheck,
                result_due_at: Timestamp::MAX,
                confirmed_at: now,
                unconfirmed_since: None,
            });
        // If the session has had a stream for long enough, its end was reported to the registry, and cannot get lost.
        let has_old_stream = of_session
            .streams
            .first()
            .is_some_and(|stream| now.since(stream.opened) > OLD_STREAM);
        if !has_old_stream {
            of_session.due_at = of_session.due_at.min(first_recheck);
        }
        of_session.streams.push(Arc::clone(&stream));
        Ok(StreamGuard::new(stream, Arc::clone(self)))
    }

    /// Cuts all streams of a session that has ended.
    pub fn end_session(&self, session: SessionId, reason: DenyReason) {
        for stream in self.of_session(session) {
            stream.cut(reason);
        }
    }

    /// Returns the open streams of a session, the oldest first.
    #[must_use]
    pub fn of_session(&self, session: SessionId) -> Vec<Arc<OpenStream>> {
        let state = self.state.lock();
        let found = state.sessions.get(&session);
        found.map_or_else(Vec::new, |session| session.streams.clone())
    }

    /// Returns the number of open streams.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state.lock().stream_count
    }

    /// Makes a session due at once, if it has open streams.
    pub fn recheck_now(&self, session: SessionId) {
        if let Some(session) = self.state.lock().sessions.get_mut(&session) {
            session.due_at = DUE_AT_ONCE;
            self.due.notify_one();
        }
    }

    /// Makes all sessions with open streams due at once.
    pub fn recheck_all(&self) {
        self.recheck_if(|_| true);
    }

    /// Makes those sessions due at once whose last known record meets the condition.
    pub fn recheck_if(&self, condition: impl Fn(&Session) -> bool) {
        let mut state = self.state.lock();
        let mut is_any_due = false;
        for session in state.sessions.values_mut() {
            if condition(&session.record) {
                session.due_at = DUE_AT_ONCE;
                is_any_due = true;
            }
        }
        if is_any_due {
            self.due.notify_one();
        }
    }

    /// Waits until a session is due at once.
    pub async fn wait_until_due(&self) {
        self.due.notified().await;
    }

    /// Takes at most `max` sessions that are due at `now`. Each is due again when
    /// [`record_decision`](Self::record_decision) or another report says so.
    #[must_use]
    pub fn take_due(&self, now: Timestamp, max: usize) -> Vec<SessionId> {
        let mut state = self.state.lock();
        let due = state
            .sessions
            .iter_mut()
            .filter(|(_, session)| session.due_at.min(session.result_due_at) <= now);
        let take = |(id, session): (&SessionId, &mut SessionStreams)| {
            session.due_at = Timestamp::MAX;
            session.result_due_at = now.plus(RESULT_TIMEOUT);
            *id
        };
        due.take(max).map(take).collect()
    }

    /// Records a decision on a session: its record, and when it is due again.
    pub fn record_decision(&self, session: SessionId, record: &Session, due_at: Timestamp) {
        if let Some(session) = self.state.lock().sessions.get_mut(&session) {
            session.record = record.clone().without_refresh_token();
            session.due_at = session.due_at.min(due_at);
            session.result_due_at = Timestamp::MAX;
            session.confirmed_at = self.clock.now();
            session.unconfirmed_since = None;
        }
    }

    /// Records that the store could not be asked about a session, and when to ask again.
    pub fn mark_unconfirmed(&self, session: SessionId, now: Timestamp, due_at: Timestamp) {
        if let Some(session) = self.state.lock().sessions.get_mut(&session) {
            session.due_at = session.due_at.min(due_at);
            session.result_due_at = Timestamp::MAX;
            session.unconfirmed_since.get_or_insert(now);
        }
    }

    /// Cuts the streams whose session Curfew can no longer be sure of, with the reason `store_unavailable`. A session is
    /// uncertain while neither the store can be asked nor session ends are heard. Curfew cuts a stream that was uncertain
    /// for longer than its grace, and at its deadline if the store could not be asked. While session ends are not heard, a
    /// session whose record is old becomes due, so call [`take_due`](Self::take_due) after this function. Also closes the connections of
    /// streams that were cut and have not ended.
    pub fn cut_uncertain(&self, now: Timestamp) {
        let unheard = self.hearing.unheard_time();
        let mut state = self.state.lock();
        for session in state.sessions.values_mut() {
            let unconfirmed = session.unconfirmed_since.map(|since| now.since(since));
            let unread = now.since(session.confirmed_at);
            let is_deciding = session.result_due_at != Timestamp::MAX;
            let is_unread = unconfirmed.is_none() && unread >= UNHEARD_RECHECK && !is_deciding;
            if !unheard.is_zero() && is_unread {
                session.due_at = session.due_at.min(now);
            }
            let uncertain = unheard.min(unread).max(unconfirmed.unwrap_or_default());
            for stream in &session.streams {
                if stream.cut_reason().is_some() {
                    stream.close_if_late(now);
                    continue;
                }
                if uncertain.is_zero() {
                    continue;
                }
                let terms = stream.terms();
                let is_past_grace = uncertain.min(now.since(stream.opened)) > terms.settings.grace;
                let is_past_deadline = unconfirmed.is_some() && now >= terms.deadline;
                if is_past_grace || is_past_deadline {
                    stream.cut(DenyReason::StoreUnavailable);
                }
            }
        }
    }

    /// Wakes the supervisor, because it can start another decision.
    pub fn wake(&self) {
        self.due.notify_one();
    }

    fn remove(&self, stream: &OpenStream) {
        let mut state = self.state.lock();
        state.stream_count = state.stream_count.saturating_sub(1);
        if let Some(of_session) = state.sessions.get_mut(&stream.session) {
            of_session
                .streams
                .retain(|open| open.number != stream.number);
            if of_session.streams.is_empty() {
                state.sessions.remove(&stream.session);
            }
        }
    }
}

/// Creates the metrics at zero, so that an alert on their growth notices the first event.
fn init_metrics(metrics: &Metrics) {
    let metrics = &metrics.streams;
    for limit in StreamLimit::ALL {
        metrics.refused.with_label_values(&[limit.as_str()]);
    }
    for kind in StreamKind::ALL {
        metrics.open.with_label_values(&[kind.as_str()]);
        metrics.opened.with_label_values(&[kind.as_str()]);
    }
    for reason in EndReason::ALL {
        metrics.cut.with_label_values(&[reason.as_str()]);
    }
    for direction in ["from_client", "to_client"] {
        metrics.bytes.with_label_values(&[direction]);
    }
}

/// Invalidations come from all replicas. They say only that a record has changed, so the supervisor reads the record.
impl InvalidationListener for OpenStreams {
    fn invalidate(&self, id: SessionId, _: Timestamp) {
        self.recheck_now(id);
    }

    fn caught_up_to(&self, since: Timestamp) {
        if self.hearing.record_heard(since) {
            // Invalidations may have been lost before, so every session could have ended.
            self.recheck_all();
        }
    }

    fn on_lost_invalidation(&self) {
        self.hearing.record_lost();
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
