//! The policies of the Kubernetes cluster: watches the objects, and puts their limits in force.
//!
//! Every replica watches, so that each decides by itself. While the API server does not answer, the last known objects
//! stay in force.

mod changes;
mod events;
mod follower;
mod lease;
mod observation;
mod status;
mod sync;
mod watch;
mod watched;

use std::sync::Arc;

use tokio::sync::{Notify, mpsc, watch as latest};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::kubernetes::{Client, ClientError, ClusterSettings};
use crate::live::Live;
use crate::policy::Routes;
use crate::route_reports::ReportRequests;
use crate::store::RouteCheckStore;
use crate::telemetry::{Diagnostics, Metrics};
use events::Announcer;
use follower::Follower;
use lease::Lease;
use observation::Observer;
use status::{Missing, Writer};

/// The number of changes that can wait.
const QUEUE: usize = 1024;

/// The watched cluster.
pub struct Cluster {
    client: kube::Client,
    namespace: String,
    routes: Live<Routes>,
    diagnostics: Arc<Diagnostics>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    route_checks: Arc<dyn RouteCheckStore>,
    /// The domain of the session cookie, which a reload can change.
    cookie_domain: Live<Option<String>>,
}

impl Cluster {
    /// Creates the client. Until all objects are known, `routes` are unknown if the settings require them.
    ///
    /// # Errors
    /// [`ClientError`] if the client could not be created.
    pub fn new(
        settings: &ClusterSettings,
        routes: Live<Routes>,
        diagnostics: Arc<Diagnostics>,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
        route_checks: Arc<dyn RouteCheckStore>,
        cookie_domain: Live<Option<String>>,
    ) -> Result<Self, ClientError> {
        if settings.required {
            routes.replace(Routes::Unknown);
        }
        let client = Client::new(
            &settings.url,
            settings.token_file.as_deref(),
            settings.ca_file.as_deref(),
        )?;
        Ok(Self {
            client: client.0,
            namespace: settings.namespace.clone(),
            routes,
            diagnostics,
            metrics,
            clock,
            route_checks,
            cookie_domain,
        })
    }

    /// Watches the objects, and answers requests for reports, until `stop` is cancelled.
    pub async fn run(self, requests: ReportRequests, stop: CancellationToken) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let known = Arc::new(Notify::new());
        let observer = Observer {
            known: Arc::clone(&known),
            store: Arc::clone(&self.route_checks),
            clock: Arc::clone(&self.clock),
            routes: self.routes.clone(),
            metrics: Arc::clone(&self.metrics),
        };
        let observer = observer.run(sender.clone());
        let watches = watch::watch_all(&self.client, sender);
        let (statuses, missing) = latest::channel(Missing::default());
        let follower = Follower::new(&self, statuses, known);
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
            () = follower.run(receiver, requests) => {}
            () = watches => {}
            () = observer => {}
            () = writer.run() => {}
        }
        writer.stop().await;
    }
}

/// Returns a name for the lease that no other replica has.
fn replica_name() -> String {
    let host = gethostname::gethostname();
    let random = getrandom::u32().unwrap_or_default();
    format!("{}-{random:08x}", host.to_string_lossy())
}
