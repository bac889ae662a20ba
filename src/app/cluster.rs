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
use crate::telemetry::{Diagnostics, Metrics};

/// Watches the cluster, if the configuration says so. Returns the routes, which the watch replaces.
#[cfg_attr(
    not(feature = "kubernetes"),
    expect(unused_variables, reason = "there is no watch")
)]
pub(super) fn watch_cluster(
    config: &Config,
    diagnostics: &Arc<Diagnostics>,
    metrics: &Arc<Metrics>,
    clock: &Arc<dyn Clock>,
    background: &mut Background,
) -> Result<Live<Routes>, StartupError> {
    let routes = Live::new(Routes::default());
    #[cfg(feature = "kubernetes")]
    if let Some(settings) = &config.cluster {
        let cluster = Cluster::new(
            settings,
            routes.clone(),
            Arc::clone(diagnostics),
            Arc::clone(metrics),
            Arc::clone(clock),
        )?;
        background.spawn(async move |stop| cluster.run(stop).await);
    }
    Ok(routes)
}
