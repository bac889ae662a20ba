//! Applies the changes of objects, and puts their limits in force.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use curfew_allocator::return_free_memory;
use curfew_kubernetes::{Compiled, Context, RouteReport, State, audit, compile};
use tokio::sync::{Notify, mpsc, oneshot, watch as latest};
use tokio::time::Instant;

use super::Cluster;
use super::changes::Changes;
use super::status::Missing;
use super::sync::Sync;
use super::watch::Change;
use crate::clock::Stopwatch;
use crate::policy::{RouteIndex, Routes};
use crate::route_reports::ReportRequests;
use crate::session::Timestamp;

/// The label of the diagnostics about the watches.
const WATCH_DIAGNOSTICS: &str = "kubernetes";

/// The label of the diagnostics about policies and annotations.
const POLICY_DIAGNOSTICS: &str = "kubernetes policies";

/// How long Curfew collects changes before it compiles them. The first list of a large cluster brings many at once.
const COLLECT: Duration = Duration::from_millis(20);

/// Between two compilations, Curfew waits this many times as long as the last one took, so that frequent changes of a
/// large cluster use at most a small part of a core.
const REST_FACTOR: f64 = 10.0;

/// The longest such pause. A change is in force within one second.
const MAX_REST: Duration = Duration::from_millis(500);

/// The interval at which Curfew updates the metric of the lag, and looks for a new configuration.
const TICK: Duration = Duration::from_secs(5);

/// A computation has panicked. The log has the message.
#[derive(Debug, thiserror::Error)]
#[error("an internal error, see the log")]
struct Panicked;

/// What Curfew knows about the cluster.
pub(super) struct Follower<'a> {
    cluster: &'a Cluster,
    state: State,
    sync: Sync,
    policies: Changes,
    /// Whether the state has changed since it was compiled, and for how long the oldest change has waited.
    changed: Option<Stopwatch>,
    /// The earliest time of the next compilation.
    next: Instant,
    /// Since when the replicas observe which routes send checks; `None` until the first replica has said so.
    observed_since: Option<Timestamp>,
    /// The domain of the session cookie in the statuses.
    cookie_domain: Arc<Option<String>>,
    statuses: latest::Sender<Missing>,
    /// Notified when the routes are known.
    known: Arc<Notify>,
}

impl<'a> Follower<'a> {
    pub(super) fn new(
        cluster: &'a Cluster,
        statuses: latest::Sender<Missing>,
        known: Arc<Notify>,
    ) -> Self {
        Self {
            cluster,
            state: State::default(),
            sync: Sync::default(),
            policies: Changes::default(),
            changed: None,
            next: Instant::now(),
            observed_since: None,
            cookie_domain: Arc::default(),
            statuses,
            known,
        }
    }

    /// Applies changes and answers requests for reports. Returns when there are no more changes.
    pub(super) async fn run(
        mut self,
        mut changes: mpsc::Receiver<Change>,
        mut requests: ReportRequests,
    ) {
        let mut tick = tokio::time::interval(TICK);
        self.report_watches();
        loop {
            let is_due = self.changed.is_some() && self.sync.is_complete();
            tokio::select! {
                change = changes.recv() => match change {
                    Some(change) => self.apply(change),
                    None => return,
                },
                Some(answer) = requests.recv(), if self.sync.is_complete() => {
                    if self.answer(answer).await.is_none() {
                        return;
                    }
                }
                _ = tick.tick() => {
                    let lag = self.sync.lag(self.cluster.clock.now());
                    self.cluster.metrics.record_cluster_lag(lag);
                    if self.cluster.cookie_domain.current() != self.cookie_domain {
                        self.mark_changed();
                    }
                }
                () = tokio::time::sleep_until(self.next), if is_due => {
                    if self.compile().await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Edit(edit) => {
                edit(&mut self.state);
                self.mark_changed();
            }
            Change::Observed(since) => {
                self.observed_since = Some(since);
                self.mark_changed();
            }
            Change::Synced(kind) => {
                if self.sync.synced(kind) {
                    self.mark_changed();
                }
                self.report_watches();
            }
            Change::Failed(kind, problem) => {
                self.sync.failed(kind, problem, self.cluster.clock.now());
                self.report_watches();
            }
        }
    }

    fn mark_changed(&mut self) {
        if self.changed.is_none() {
            self.changed = Some(Stopwatch::start());
            self.next = self.next.max(Instant::now() + COLLECT);
        }
    }

    /// Compiles the state, and puts the limits in force. `None` if the process stops.
    async fn compile(&mut self) -> Option<()> {
        let stopwatch = Stopwatch::start();
        let since = self.observed_since.unwrap_or_default();
        let domain = self.cluster.cookie_domain.current();
        self.cookie_domain = Arc::clone(&domain);
        let compiling = self.with_state(move |state, before| {
            let context = Context {
                before,
                since,
                cookie_domain: domain.as_deref(),
            };
            compile(state, context)
        });
        let compiled = compiling.await?;
        let changed = self.changed.take();
        match compiled {
            Ok(Ok(compiled)) => self.put_in_force(compiled),
            Ok(Err(error)) => self.keep_policies(&error),
            Err(panicked) => self.keep_policies(&panicked),
        }
        if let Some(arrived) = changed {
            self.cluster
                .metrics
                .observe_cluster_change(arrived.seconds());
        }
        // The earlier index is gone.
        tokio::task::spawn_blocking(return_free_memory);
        let rest = Duration::from_secs_f64(stopwatch.seconds() * REST_FACTOR);
        self.next = Instant::now() + rest.min(MAX_REST);
        Some(())
    }

    /// Reports that the state cannot be compiled.
    fn keep_policies(&self, error: &dyn std::fmt::Display) {
        let line = format!("the last known policies stay in force: {error}");
        let diagnostics = &self.cluster.diagnostics;
        diagnostics.set_recommendations(POLICY_DIAGNOSTICS, vec![line]);
    }

    /// Computes something from the state and the index in force, while checks go on: a large cluster takes a while. `None`
    /// if the process stops.
    async fn with_state<T: Send + 'static>(
        &mut self,
        compute: impl FnOnce(&State, &RouteIndex) -> T + Send + 'static,
    ) -> Option<Result<T, Panicked>> {
        let state = std::mem::take(&mut self.state);
        let routes = self.cluster.routes.current();
        let computing = tokio::task::spawn_blocking(move || {
            let none = RouteIndex::default();
            let index = match &*routes {
                Routes::Known(index) => &**index,
                Routes::Unknown => &none,
            };
            // An object that triggers a bug must not stop all replicas.
            let computing = AssertUnwindSafe(|| compute(&state, index));
            let computed = std::panic::catch_unwind(computing);
            // To compile a large cluster, Curfew needs several times the memory of the result.
            return_free_memory();
            (state, computed.map_err(|_| Panicked))
        });
        let (state, computed) = computing.await.ok()?;
        self.state = state;
        Some(computed)
    }

    /// Answers a request for a report. `None` if the process stops.
    async fn answer(&mut self, answer: oneshot::Sender<RouteReport>) -> Option<()> {
        let since = self.observed_since.unwrap_or(self.cluster.clock.now());
        // The request can have timed out.
        if answer.is_closed() {
            return Some(());
        }
        let Ok(routes) = self.with_state(audit).await? else {
            return Some(());
        };
        let _ = answer.send(RouteReport {
            since: since.to_rfc3339_seconds(),
            routes,
        });
        Some(())
    }

    fn put_in_force(&mut self, compiled: Compiled) {
        let Cluster {
            metrics,
            diagnostics,
            clock,
            routes,
            ..
        } = self.cluster;
        metrics.record_cluster_policies(
            self.state.session_policies.len(),
            self.state.cluster_policies.len(),
            compiled.index.len(),
        );
        let refused = compiled.refusals();
        metrics.record_cluster_mistakes(compiled.mistakes.len(), refused.len());
        let mistakes = compiled.mistakes.iter().map(ToString::to_string);
        diagnostics.set_recommendations(POLICY_DIAGNOSTICS, mistakes.chain(refused).collect());
        let now = clock.now().to_rfc3339_seconds();
        // Until then, the statuses would say that no check has arrived.
        if self.observed_since.is_some() {
            let missing = Missing::of(&self.state, &compiled, &now);
            self.statuses.send_if_modified(|before| {
                let is_new = *before != missing;
                *before = missing;
                is_new
            });
        }
        routes.replace(Routes::Known(Box::new(compiled.index)));
        self.policies.audit(&self.state);
        self.known.notify_one();
    }

    /// Reports which objects are known, and which watches fail.
    fn report_watches(&self) {
        let Cluster {
            metrics,
            diagnostics,
            ..
        } = self.cluster;
        let is_healthy = self.sync.is_complete() && self.sync.failures.is_empty();
        metrics.record_cluster_watch(is_healthy);
        diagnostics.set_information(WATCH_DIAGNOSTICS, self.sync.waiting());
        diagnostics.set_recommendations(WATCH_DIAGNOSTICS, self.sync.problems().collect());
    }
}
