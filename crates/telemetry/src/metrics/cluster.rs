use std::time::Duration;

use prometheus::{HistogramVec, IntGauge, IntGaugeVec};

use super::{Metrics, Registrar};

/// What Curfew knows about the checks of a route.
const CHECKS: [&str; 3] = ["seen", "uncertain", "never"];

/// The label values of the mistakes.
const MISTAKES: [&str; 2] = ["annotation", "policy"];

/// Metrics of the policies in a Kubernetes cluster.
#[derive(Debug)]
pub(super) struct ClusterMetrics {
    objects: IntGaugeVec,
    watch_healthy: IntGauge,
    lag: IntGauge,
    change: HistogramVec,
    mistakes: IntGaugeVec,
    routes: IntGaugeVec,
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
            lag: registrar.gauge(
                "curfew_kubernetes_lag_seconds",
                "For how long changes of some Kubernetes objects have not arrived; 0 while all watches work.",
            )?,
            change: registrar.durations(
                "curfew_kubernetes_change_seconds",
                "Time from the arrival of a change of a Kubernetes object until checks use it.",
                &[],
            )?,
            mistakes: registrar.gauges(
                "curfew_kubernetes_mistakes",
                "Unreadable annotations, and policies that do not apply to a target.",
                &["kind"],
            )?,
            routes: registrar.gauges(
                "curfew_kubernetes_routes",
                "Routes of the Kubernetes cluster, each with a host and a path, by whether a check has arrived.",
                &["checks"],
            )?,
        };
        metrics.watch_healthy.set(1);
        // A histogram without samples is shown too.
        let _ = metrics.change.with_label_values(&[""; 0]);
        for kind in ["session_policy", "cluster_session_policy", "route"] {
            metrics.objects.with_label_values(&[kind]).set(0);
        }
        for checks in CHECKS {
            metrics.routes.with_label_values(&[checks]).set(0);
        }
        for kind in MISTAKES {
            metrics.mistakes.with_label_values(&[kind]).set(0);
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

    /// Records the numbers of unreadable annotations, and of policies that are not accepted for a target.
    pub fn record_cluster_mistakes(&self, annotations: usize, policies: usize) {
        for (kind, count) in MISTAKES.into_iter().zip([annotations, policies]) {
            let gauge = self.cluster.mistakes.with_label_values(&[kind]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Records how many routes have sent a check for certain, perhaps, and never.
    pub fn record_route_checks(&self, certain: usize, possible: usize, never: usize) {
        for (checks, count) in CHECKS.into_iter().zip([certain, possible, never]) {
            let gauge = self.cluster.routes.with_label_values(&[checks]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Records for how long changes of some objects have not arrived.
    pub fn record_cluster_lag(&self, lag: Duration) {
        let seconds = i64::try_from(lag.as_secs()).unwrap_or(i64::MAX);
        self.cluster.lag.set(seconds);
    }

    /// Records the time from the arrival of a change until checks use it, in seconds.
    pub fn observe_cluster_change(&self, seconds: f64) {
        let change = self.cluster.change.with_label_values(&[""; 0]);
        change.observe(seconds);
    }

    /// Records whether all watches of the cluster work.
    pub fn record_cluster_watch(&self, is_healthy: bool) {
        self.cluster.watch_healthy.set(i64::from(is_healthy));
    }
}
