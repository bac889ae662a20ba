use prometheus::{IntGauge, IntGaugeVec};

use super::{Metrics, Registrar};

/// Metrics of the policies in a Kubernetes cluster.
#[derive(Debug)]
pub(super) struct ClusterMetrics {
    objects: IntGaugeVec,
    watch_healthy: IntGauge,
}

impl ClusterMetrics {
    pub(super) fn new(registrar: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            objects: registrar.gauges(
                "curfew_kubernetes_objects",
                "Objects of the Kubernetes cluster that are in force, by kind.",
                &["kind"],
            )?,
            watch_healthy: registrar.gauge(
                "curfew_kubernetes_watch_healthy",
                "Whether changes of the Kubernetes objects arrive; 1 without kubernetes.policies.",
            )?,
        };
        metrics.watch_healthy.set(1);
        for kind in ["session_policy", "cluster_session_policy", "route"] {
            metrics.objects.with_label_values(&[kind]).set(0);
        }
        Ok(metrics)
    }
}

impl Metrics {
    /// Records the numbers of objects in force: SessionPolicies, ClusterSessionPolicies, and routes with limits.
    pub fn record_cluster_policies(
        &self,
        session_policies: usize,
        cluster_policies: usize,
        routes: usize,
    ) {
        for (kind, count) in [
            ("session_policy", session_policies),
            ("cluster_session_policy", cluster_policies),
            ("route", routes),
        ] {
            let gauge = self.cluster.objects.with_label_values(&[kind]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Records whether all watches of the cluster work.
    pub fn record_cluster_watch(&self, is_healthy: bool) {
        self.cluster.watch_healthy.set(i64::from(is_healthy));
    }
}
