//! Starts the watch of the Kubernetes cluster.

use std::sync::Arc;

use super::StartupError;
use super::background::Background;
use crate::clock::Clock;
#[cfg(feature = "kubernetes")]
use crate::cluster::Cluster;
use crate::config::Config;
use crate::live::Live;
use crate::policy::Routes;
use crate::route_reports::RouteReports;
use crate::store::RouteCheckStore;
use crate::telemetry::{Diagnostics, Metrics};

/// The cluster, as the rest of the process sees it.
pub(super) struct WatchedCluster {
    /// The routes, which the watch replaces.
    pub(super) routes: Live<Routes>,
    /// Asks the watch for reports; `None` without a watch.
    pub(super) reports: Option<RouteReports>,
    /// The domain of the session cookie, which the watch writes into statuses.
    pub(super) cookie_domain: Live<Option<String>>,
}

/// Watches the cluster, if the configuration says so.
#[cfg_attr(
    not(feature = "kubernetes"),
    expect(unused_variables, reason = "there is no watch")
)]
pub(super) fn watch_cluster(
    config: &Config,
    diagnostics: &Arc<Diagnostics>,
    metrics: &Arc<Metrics>,
    clock: &Arc<dyn Clock>,
    route_checks: &Arc<dyn RouteCheckStore>,
    background: &mut Background,
) -> Result<WatchedCluster, StartupError> {
    let routes = Live::new(Routes::default());
    #[cfg_attr(
        not(feature = "kubernetes"),
        expect(unused_mut, reason = "there is no watch")
    )]
    let mut reports = None;
    let cookie_domain = Live::new(config.cookie.domain.clone());
    #[cfg(feature = "kubernetes")]
    if let Some(settings) = &config.cluster {
        let cluster = Cluster::new(
            settings,
            routes.clone(),
            Arc::clone(diagnostics),
            Arc::clone(metrics),
            Arc::clone(clock),
            Arc::clone(route_checks),
            cookie_domain.clone(),
        )?;
        let (asking, requests) = RouteReports::channel();
        reports = Some(asking);
        background.spawn(async move |stop| cluster.run(requests, stop).await);
    }
    Ok(WatchedCluster {
        routes,
        reports,
        cookie_domain,
    })
}
