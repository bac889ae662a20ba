//! The supervisor of open streams: decides again, while a stream is open, whether its request is still allowed.
//!
//! The supervisor decides on a session when a limit is due, when a replica reports a change of the session, when the
//! configuration changes, and when the client sends data that counts as activity. It always reads the record from the
//! store. If the request of a stream would now be denied, the supervisor cuts the stream with the reason of the denial.
//! If the store cannot be asked, streams stay open for the grace of their policy (`stream_grace`).

mod decision;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::lifecycle::Lifecycle;
use crate::live::Live;
use crate::policy::{Routes, Rulebook};
use crate::session::Timestamp;
use crate::store::Stores;
use crate::streams::OpenStreams;
use crate::telemetry::Metrics;

/// The interval at which the supervisor looks for due sessions. It wakes up earlier if a session is due at once.
const TICK: Duration = Duration::from_millis(100);
/// The interval at which the supervisor compares the last known records with the revocation rules and the cut-offs (all
/// sessions of a subject that started before its cut-off have ended).
const CUT_OFF_INTERVAL: Duration = Duration::from_millis(500);
/// The maximum number of concurrent reads of the store.
const MAX_CONCURRENT_READS: usize = 128;
/// The pause between two rounds. Each round examines all sessions with streams, and each finished read starts a round.
const MIN_PAUSE: Duration = Duration::from_millis(5);

/// The parts that the supervisor uses. A reload of the configuration replaces them.
#[derive(Clone)]
pub struct Supervisor {
    /// Ends sessions that have reached a limit.
    pub lifecycle: Lifecycle,
    /// The session records.
    pub stores: Stores,
    /// The clock of decision time, the common time of all replicas.
    pub clock: Arc<dyn Clock>,
    /// The rules and policies.
    pub rulebook: Arc<Rulebook>,
    /// The open streams of this replica.
    pub streams: Arc<OpenStreams>,
    /// The timeout for one read of the store.
    pub store_timeout: Duration,
    /// Counts touches.
    pub metrics: Arc<Metrics>,
}

/// Supervises the open streams until `stop` is cancelled.
pub async fn run(supervisor: Live<Supervisor>, stop: CancellationToken) {
    let mut rounds = Rounds::default();
    while !stop.is_cancelled() {
        let current = supervisor.current();
        rounds.run_due(&current);
        tokio::select! {
            () = stop.cancelled() => {}
            () = current.streams.wait_until_due() => {}
            () = tokio::time::sleep(TICK) => {}
        }
        tokio::time::sleep(MIN_PAUSE).await;
    }
}

/// The state between two rounds of the supervisor.
struct Rounds {
    /// The rulebook and the routes of the last round.
    terms: Option<(Arc<Rulebook>, Arc<Routes>)>,
    /// When the records were last compared with the cut-offs.
    cut_offs_compared_at: Timestamp,
    reads: Arc<Semaphore>,
}

impl Default for Rounds {
    fn default() -> Self {
        Self {
            terms: None,
            cut_offs_compared_at: Timestamp::default(),
            reads: Arc::new(Semaphore::new(MAX_CONCURRENT_READS)),
        }
    }
}

impl Rounds {
    /// Starts a decision on each session that is due, and cuts the streams whose sessions are uncertain.
    fn run_due(&mut self, supervisor: &Arc<Supervisor>) {
        let Supervisor {
            streams,
            clock,
            rulebook,
            ..
        } = &**supervisor;
        let routes = rulebook.routes.current();
        let is_same = |(before, routes_before): &(Arc<Rulebook>, Arc<Routes>)| {
            Arc::ptr_eq(before, rulebook) && Arc::ptr_eq(routes_before, &routes)
        };
        if !self.terms.as_ref().is_some_and(is_same) {
            self.terms = Some((Arc::clone(rulebook), routes));
            streams.recheck_all();
        }
        let now = clock.now();
        if now.since(self.cut_offs_compared_at) >= CUT_OFF_INTERVAL
            || now < self.cut_offs_compared_at
        {
            self.cut_offs_compared_at = now;
            supervisor.recheck_revoked();
        }
        // A slow store must not delay the limits and the grace of the other streams.
        streams.cut_uncertain(now);
        for session in streams.take_due(now, self.reads.available_permits()) {
            let permit = Arc::clone(&self.reads).try_acquire_owned();
            let supervisor = Arc::clone(supervisor);
            tokio::spawn(async move {
                supervisor.decide_again(session).await;
                drop(permit);
                supervisor.streams.wake();
            });
        }
    }
}

impl Supervisor {
    /// Makes the sessions due that a cut-off or a revocation rule ends. If this replica may lack some cut-offs, all
    /// sessions are due, because reading a record also reads its cut-offs.
    fn recheck_revoked(&self) {
        if self.stores.cut_offs.is_fresh() {
            self.streams
                .recheck_if(|session| self.lifecycle.is_revoked(session));
        } else {
            self.streams.recheck_all();
        }
    }
}

#[cfg(test)]
mod tests;
