//! Records which session ends the store may have lost. Curfew uses this history before it starts a session from a
//! credential of another issuer.
//!
//! A credential of another issuer starts its session when Curfew first receives it, unless the session has already
//! ended. A tombstone (the short record of an ended session) shows the end. It stays until the absolute limit that
//! applied at the session end has passed. The tombstone can disappear too early in two cases: the store loses data, or
//! an operator makes the limit longer later. In these cases, a credential from an earlier sign-in starts no session,
//! and the user must sign in again.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::session::{SessionId, Timestamp};

/// The largest number of earlier limits per source. Beyond this number, Curfew merges the two oldest limits.
const MAX_EARLIER_LIMITS: usize = 8;
/// The largest number of sources. Beyond this number, Curfew drops the sources that are not configured any more.
const MAX_SOURCES: usize = 256;

/// The last loss of data, and the absolute limits over time. Times and durations are in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Session ends from before this time may be lost; 0 if there was no loss of data.
    last_loss: u64,
    /// The absolute limits of each source.
    limits: BTreeMap<String, SourceLimits>,
}

/// The absolute limits of one source over time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SourceLimits {
    current: u64,
    /// Earlier, shorter limits, each with the time at which a longer limit replaced it; the oldest limit comes first.
    earlier: Vec<(u64, u64)>,
}

/// The absolute limit of each source, by the name of the source.
pub type LimitsBySource = BTreeMap<String, Duration>;

/// Access to the history. The store itself contains the history, so that all replicas and later processes can read
/// it.
#[async_trait]
pub trait HistoryStore: Send + Sync + 'static {
    /// Reads the history from the store. Call it *after* [`SessionStore::load`](super::SessionStore::load) found no
    /// record, so that the history includes a loss that happened before the load.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    async fn history(&self, id: SessionId) -> Result<History, StoreError>;

    /// Records the absolute limits of the sources that apply from `now` on.
    ///
    /// # Errors
    /// [`StoreError`] if the store could not record the limits.
    async fn record_limits(
        &self,
        limits: &LimitsBySource,
        now: Timestamp,
    ) -> Result<(), StoreError>;
}

impl History {
    /// Records a loss of data: session ends from before the time `at` may be missing.
    pub fn record_loss(&mut self, at: Timestamp) {
        self.last_loss = self.last_loss.max(at.as_millis());
    }

    /// Returns the time of the last loss. Session ends from before this time may be missing.
    #[must_use]
    pub fn last_loss(&self) -> Option<Timestamp> {
        (self.last_loss > 0).then_some(Timestamp::from_millis(self.last_loss))
    }

    /// Records the limits that apply from `now` on; returns whether the history changed.
    pub fn record_limits(&mut self, limits: &LimitsBySource, now: Timestamp) -> bool {
        let before = self.clone();
        for (source, limit) in limits {
            let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
            match self.limits.get_mut(source) {
                Some(known) => known.record(limit, now.as_millis()),
                None => {
                    let known = SourceLimits {
                        current: limit,
                        earlier: Vec::new(),
                    };
                    self.limits.insert(source.clone(), known);
                }
            }
        }
        if self.limits.len() > MAX_SOURCES {
            self.limits.retain(|source, _| limits.contains_key(source));
        }
        *self != before
    }

    /// Returns the recorded limit of a source. A replica whose configuration still has a shorter limit must keep its
    /// tombstones for the recorded limit.
    #[must_use]
    pub fn recorded_limit(&self, source: &str) -> Option<Duration> {
        let known = self.limits.get(source)?;
        Some(Duration::from_millis(known.current))
    }

    /// Returns the absolute limit of a session that started at the time `started`. `limit` is the configured limit.
    /// If an operator makes the limit longer, the longer limit does not apply to earlier sign-ins.
    #[must_use]
    pub fn limit(&self, source: &str, started: Timestamp, limit: Duration) -> Duration {
        let Some(known) = self.limits.get(source) else {
            return limit;
        };
        let earlier = known.earlier.iter();
        let earlier = earlier.filter(|(_, until)| started.as_millis() <= *until);
        let shortest = earlier.map(|(limit, _)| *limit).min();
        // A configured limit that is longer than the recorded limit applies only after the history has recorded it.
        let shortest = shortest.unwrap_or(u64::MAX).min(known.current);
        limit.min(Duration::from_millis(shortest))
    }
}

impl SourceLimits {
    fn record(&mut self, limit: u64, now: u64) {
        if limit > self.current {
            self.earlier.push((self.current, now));
        }
        self.current = limit;
        if self.earlier.len() > MAX_EARLIER_LIMITS {
            let (limit, _) = self.earlier.remove(0);
            self.earlier[0].0 = self.earlier[0].0.min(limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOURCE: &str = "jwt https://id.example.com";

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn limits(seconds: u64) -> LimitsBySource {
        LimitsBySource::from([(SOURCE.to_owned(), Duration::from_secs(seconds))])
    }

    #[test]
    fn a_longer_limit_applies_to_later_sign_ins() {
        let mut history = History::default();
        assert!(history.record_limits(&limits(60), at(0)));
        assert!(!history.record_limits(&limits(60), at(10)));
        let long = Duration::from_secs(600);
        let effective = |history: &History, started| history.limit(SOURCE, at(started), long);
        assert_eq!(
            effective(&history, 90).as_secs(),
            60,
            "the longer limit should not apply before it is recorded"
        );
        assert!(history.record_limits(&limits(600), at(100)));
        assert_eq!(effective(&history, 100).as_secs(), 60);
        assert_eq!(effective(&history, 101).as_secs(), 600);
        assert!(history.record_limits(&limits(30), at(200)));
        let short = Duration::from_secs(30);
        assert_eq!(history.limit(SOURCE, at(150), short).as_secs(), 30);
        assert!(history.record_limits(&limits(600), at(300)));
        assert_eq!(effective(&history, 150).as_secs(), 30);
        assert_eq!(history.limit("another", at(0), long), long);
    }

    #[test]
    fn the_history_is_bounded() {
        let mut history = History::default();
        for number in 0..10_000_u64 {
            let source = format!("source {number}");
            let limits = LimitsBySource::from([(source, Duration::from_secs(number))]);
            history.record_limits(&limits, at(number));
            history.record_limits(&self::limits(number + 1), at(number));
        }
        assert!(history.limits.len() <= MAX_SOURCES + 1);
        assert!(history.limits[SOURCE].earlier.len() <= MAX_EARLIER_LIMITS);
    }

    /// A change of the limit, an event of a session, or the passing of time.
    #[derive(Clone, Debug)]
    enum Step {
        Limit(u64),
        SignIn,
        End(usize),
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (1_u64..50).prop_map(Step::Limit),
            Just(Step::SignIn),
            any::<usize>().prop_map(Step::End),
            (1_u64..40).prop_map(Step::Wait),
        ];
        proptest::collection::vec(step, 1..80)
    }

    /// A sign-in, and the time until which the store keeps its tombstone.
    struct Session {
        started: u64,
        tombstone_until: Option<u64>,
    }

    proptest! {
        /// An ended session never starts again, even if the limits change. The store keeps the tombstone until the
        /// absolute limit that applied when the session ended has passed.
        #[test]
        fn no_ended_session_starts_again(steps in steps()) {
            let (mut history, mut now, mut limit) = (History::default(), 100, 10);
            history.record_limits(&limits(limit), at(now));
            let mut sessions: Vec<Session> = Vec::new();
            for step in steps {
                match step {
                    Step::Limit(new) => {
                        limit = new;
                        history.record_limits(&limits(limit), at(now));
                    }
                    Step::SignIn => sessions.push(Session { started: now, tombstone_until: None }),
                    Step::End(index) if !sessions.is_empty() => {
                        let index = index % sessions.len();
                        let session = &mut sessions[index];
                        let configured = Duration::from_secs(limit);
                        let own_limit = history.limit(SOURCE, at(session.started), configured).as_secs();
                        if session.tombstone_until.is_none() && now < session.started + own_limit {
                            session.tombstone_until = Some(now + limit);
                        }
                    }
                    Step::End(_) => {}
                    Step::Wait(seconds) => now += seconds,
                }
                for session in &sessions {
                    let own_limit = history.limit(SOURCE, at(session.started), Duration::from_secs(limit)).as_secs();
                    let is_adopted = now < session.started + own_limit;
                    let is_forgotten = session.tombstone_until.is_some_and(|until| now >= until);
                    let started = session.started;
                    prop_assert!(!(is_adopted && is_forgotten), "signed in at {started}, now {now}, {history:?}");
                }
            }
        }
    }
}
