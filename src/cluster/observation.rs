//! Observes which routes send checks, together with the other replicas.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;

use super::watch::Change;
use crate::clock::Clock;
use crate::live::Live;
use crate::policy::{CheckTimes, RouteIndex, Routes};
use crate::session::Timestamp;
use crate::store::{RouteCheckStore, TimesByRoute};
use crate::telemetry::Metrics;

/// The interval at which replicas share what they have observed.
const INTERVAL: Duration = Duration::from_secs(60);

/// The pause after a change of the routes.
const AFTER_CHANGE: Duration = Duration::from_secs(5);

/// Shares the times of checks, and says when the statuses of policies must change.
pub(super) struct Observer {
    pub(super) store: Arc<dyn RouteCheckStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) routes: Live<Routes>,
    pub(super) metrics: Arc<Metrics>,
    /// Notified when the routes are known, and when they change.
    pub(super) known: Arc<Notify>,
}

/// What the statuses of policies say about the observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Summary {
    since: Timestamp,
    counts: Counts,
}

/// How many routes have sent checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    certain: usize,
    possible: usize,
    never: usize,
}

impl Observer {
    /// Runs until nobody receives the changes any more.
    pub(super) async fn run(self, changes: Sender<Change>) {
        // Without the store, this replica has observed since its start.
        let mut since = self.clock.now();
        let mut last: Option<Summary> = None;
        self.known.notified().await;
        loop {
            let routes = self.routes.current();
            let Routes::Known(index) = &*routes else {
                return;
            };
            since = self.share(index, since).await;
            let counts = counts(index);
            self.metrics
                .record_route_checks(counts.certain, counts.possible, counts.never);
            let summary = Summary { since, counts };
            if last != Some(summary) {
                last = Some(summary);
                if changes.send(Change::Observed(since)).await.is_err() {
                    return;
                }
            }
            drop(routes);
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = self.known.notified() => tokio::time::sleep(AFTER_CHANGE).await,
            }
        }
    }

    /// Adds the times of this replica to the store, and those of the others to the index. Returns the start of the
    /// observation.
    async fn share(&self, index: &RouteIndex, since: Timestamp) -> Timestamp {
        let known = index.checks().map(|route| (route.id, route.times()));
        let known: TimesByRoute = known.collect();
        match self
            .store
            .share_route_checks(&known, self.clock.now())
            .await
        {
            Ok(shared) => {
                for route in index.checks() {
                    route.record(shared.times.get(&route.id).copied().unwrap_or_default());
                }
                shared.since
            }
            Err(error) => {
                tracing::debug!(%error, "could not share the times of checks with the other replicas");
                since
            }
        }
    }
}

fn counts(index: &RouteIndex) -> Counts {
    let times = index.checks().map(|route| (route.id, route.times()));
    let times: TimesByRoute = times.collect();
    let mut counts = Counts::default();
    for CheckTimes { certain, possible } in times.into_values() {
        if certain > 0 {
            counts.certain += 1;
        } else if possible > 0 {
            counts.possible += 1;
        } else {
            counts.never += 1;
        }
    }
    counts
}
