//! The policies of the Kubernetes cluster: watches the objects, and puts their limits in force.
//!
//! Every replica watches, so that each decides by itself. While the API server does not answer, the last known objects
//! stay in force.

mod changes;
mod convert;
mod events;
mod lease;
mod status;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use curfew_kubernetes::{Compiled, State, compile};
use tokio::sync::{mpsc, watch as latest};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Stopwatch};
use crate::kubernetes::ClusterSettings;
use crate::live::Live;
use crate::policy::Routes;
use crate::session::Timestamp;
use crate::telemetry::{Diagnostics, Metrics};
use changes::Changes;
use events::Announcer;
use lease::Lease;
use status::{Missing, Writer};
use watch::{Change, Kind};

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

/// The interval at which the metric of the lag is updated.
const LAG_INTERVAL: Duration = Duration::from_secs(5);

/// The longest silence of the API server. A watch gets a bookmark about once a minute, and ends after five minutes.
const READ_TIMEOUT: Duration = Duration::from_secs(330);

/// The number of changes that can wait.
const QUEUE: usize = 1024;

/// The client of the API server could not be created.
#[derive(Debug, thiserror::Error)]
#[error("kubernetes: could not create the client of the API server: {0}")]
pub struct ClusterError(String);

/// The watched cluster.
pub struct Cluster {
    client: kube::Client,
    namespace: String,
    routes: Live<Routes>,
    diagnostics: Arc<Diagnostics>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

impl Cluster {
    /// Creates the client. Until all objects are known, `routes` are unknown if the settings require them.
    ///
    /// # Errors
    /// [`ClusterError`] if the client could not be created.
    pub fn new(
        settings: &ClusterSettings,
        routes: Live<Routes>,
        diagnostics: Arc<Diagnostics>,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ClusterError> {
        if settings.required {
            routes.replace(Routes::Unknown);
        }
        let client = create_client(settings).map_err(|error| ClusterError(error.to_string()))?;
        Ok(Self {
            client,
            namespace: settings.namespace.clone(),
            routes,
            diagnostics,
            metrics,
            clock,
        })
    }

    /// Watches the objects until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let watches = watch::watch_all(&self.client, sender);
        let (statuses, missing) = latest::channel(Missing::default());
        let replica = replica_name();
        let mut writer = Writer {
            announcer: Announcer::new(self.client.clone(), replica.clone()),
            lease: Lease::new(&self.client, &self.namespace, replica),
            client: self.client.clone(),
            clock: Arc::clone(&self.clock),
            missing,
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow(receiver, statuses) => {}
            () = watches => {}
            () = writer.run() => {}
        }
        writer.stop().await;
    }

    /// Applies the changes to the state, and compiles the state when it has changed.
    async fn follow(&self, mut changes: mpsc::Receiver<Change>, statuses: latest::Sender<Missing>) {
        let mut state = State::default();
        let mut sync = Sync::default();
        let mut policies = Changes::default();
        let mut is_changed = false;
        // For how long the oldest change has waited.
        let mut arrived = Stopwatch::start();
        let mut lag = tokio::time::interval(LAG_INTERVAL);
        let mut next = tokio::time::Instant::now();
        self.report(&sync);
        loop {
            let is_due = is_changed && sync.is_complete();
            let change = tokio::select! {
                change = changes.recv() => change,
                _ = lag.tick() => {
                    self.metrics.record_cluster_lag(sync.lag(self.clock.now()));
                    continue;
                }
                () = tokio::time::sleep_until(next), if is_due => {
                    let stopwatch = Stopwatch::start();
                    // A large cluster takes a while, and checks go on meanwhile.
                    let compiling = tokio::task::spawn_blocking(move || {
                        let compiled = compile(&state);
                        (state, compiled)
                    });
                    let Ok((same_state, compiled)) = compiling.await else {
                        return;
                    };
                    state = same_state;
                    is_changed = false;
                    match compiled {
                        Ok(compiled) => {
                            let missing = self.put_in_force(&state, compiled);
                            self.metrics.observe_cluster_change(arrived.seconds());
                            statuses.send_if_modified(|before| {
                                let is_new = *before != missing;
                                *before = missing;
                                is_new
                            });
                            policies.audit(&state);
                        }
                        Err(error) => {
                            let line = format!("the last known policies stay in force: {error}");
                            self.diagnostics
                                .set_recommendations(POLICY_DIAGNOSTICS, vec![line]);
                        }
                    }
                    let rest = Duration::from_secs_f64(stopwatch.seconds() * REST_FACTOR);
                    next = tokio::time::Instant::now() + rest.min(MAX_REST);
                    continue;
                }
            };
            let Some(change) = change else {
                return;
            };
            match change {
                Change::Edit(edit) => {
                    edit(&mut state);
                    if !is_changed {
                        arrived = Stopwatch::start();
                        next = next.max(tokio::time::Instant::now() + COLLECT);
                    }
                    is_changed = true;
                }
                Change::Synced(kind) => {
                    is_changed |= sync.synced(kind);
                    self.report(&sync);
                }
                Change::Failed(kind, problem) => {
                    sync.failed(kind, problem, self.clock.now());
                    self.report(&sync);
                }
            }
        }
    }

    /// Puts the limits of the state in force. Returns the statuses that the API server lacks.
    fn put_in_force(&self, state: &State, compiled: Compiled) -> Missing {
        self.metrics.record_cluster_policies(
            state.session_policies.len(),
            state.cluster_policies.len(),
            compiled.index.len(),
        );
        let refused = refused_policies(&compiled);
        self.metrics
            .record_cluster_mistakes(compiled.mistakes.len(), refused.len());
        let mistakes = compiled.mistakes.iter().map(ToString::to_string);
        self.diagnostics
            .set_recommendations(POLICY_DIAGNOSTICS, mistakes.chain(refused).collect());
        let now = status::seconds(self.clock.now());
        let missing = Missing::of(state, &compiled, &now);
        self.routes.replace(Routes::Known(Box::new(compiled.index)));
        missing
    }

    fn report(&self, sync: &Sync) {
        let is_healthy = sync.is_complete() && sync.failures.is_empty();
        self.metrics.record_cluster_watch(is_healthy);
        self.diagnostics
            .set_information(WATCH_DIAGNOSTICS, sync.waiting());
        self.diagnostics
            .set_recommendations(WATCH_DIAGNOSTICS, sync.problems().collect());
    }
}

/// The policies that are not accepted, with the reason.
fn refused_policies(compiled: &Compiled) -> Vec<String> {
    let session = compiled.session_policies.iter().flat_map(|(key, status)| {
        let conditions = status.ancestors.iter().flat_map(|it| &it.conditions);
        let refused = conditions.filter(|condition| !condition.status);
        refused.map(move |it| format!("SessionPolicy {key}: {}: {}", it.reason, it.message))
    });
    let cluster = compiled.cluster_policies.iter().flat_map(|(name, status)| {
        let refused = status
            .conditions
            .iter()
            .filter(|condition| !condition.status);
        refused.map(move |it| format!("ClusterSessionPolicy {name}: {}: {}", it.reason, it.message))
    });
    session.chain(cluster).collect()
}

/// Which kinds of objects are known, and which watches fail.
#[derive(Default)]
struct Sync {
    synced: BTreeSet<Kind>,
    /// The last problem of each watch that fails, and since when it fails.
    failures: BTreeMap<Kind, (String, Timestamp)>,
}

impl Sync {
    fn is_complete(&self) -> bool {
        self.synced.len() == Kind::ALL.len()
    }

    /// Records that all objects of a kind are known. Returns whether they were not known before.
    fn synced(&mut self, kind: Kind) -> bool {
        self.failures.remove(&kind);
        self.synced.insert(kind)
    }

    fn failed(&mut self, kind: Kind, problem: String, now: Timestamp) {
        let failure = self.failures.entry(kind).or_insert((String::new(), now));
        failure.0 = problem;
    }

    /// For how long the first of the failing watches has failed; zero if all work.
    fn lag(&self, now: Timestamp) -> Duration {
        let since = self.failures.values().map(|(_, since)| *since).min();
        since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// Which kinds of objects Curfew has not read yet.
    fn waiting(&self) -> Vec<String> {
        let unknown = Kind::ALL.iter().filter(|kind| !self.synced.contains(kind));
        unknown
            .map(|kind| format!("{}: not read yet", kind.plural()))
            .collect()
    }

    fn problems(&self) -> impl Iterator<Item = String> {
        self.failures.iter().map(|(kind, (problem, since))| {
            let effect = if self.synced.contains(kind) {
                "the last known objects stay in force"
            } else {
                "checks are denied until they are known, if kubernetes.required"
            };
            let since = status::seconds(*since);
            format!("{}: {problem}: {effect}, since {since}", kind.plural())
        })
    }
}

/// Returns a name for the lease that no other replica has.
fn replica_name() -> String {
    let host = gethostname::gethostname();
    let random = getrandom::u32().unwrap_or_default();
    format!("{}-{random:08x}", host.to_string_lossy())
}

fn create_client(settings: &ClusterSettings) -> Result<kube::Client, Box<dyn std::error::Error>> {
    let url = settings.url.as_str().parse()?;
    let mut config = kube::Config::new(url);
    let file = |path: &std::path::Path| path.to_string_lossy().into_owned();
    config.auth_info.token_file = settings.token_file.as_deref().map(file);
    config.root_cert_file.clone_from(&settings.ca_file);
    // The watch itself tries again, and reports each failure.
    config.default_retry = false;
    config.read_timeout = Some(READ_TIMEOUT);
    Ok(kube::Client::try_from(config)?)
}
