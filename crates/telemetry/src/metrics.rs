//! Metrics, by subsystem.

mod checks;
mod cluster;
mod config;
mod listeners;
mod near_cache;
mod sessions;
mod sources;
mod store;
mod streams;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use crate::build;
use crate::escape;
use crate::session::DenyReason;

pub use near_cache::NearCacheMetrics;
pub use sources::SourceMetrics;
pub use store::StoreMetrics;
pub use streams::StreamMetrics;

/// Histogram buckets in seconds. The lowest buckets are for answers from memory, and the highest are for a store that
/// does not respond.
const DURATION_BUCKETS_SECONDS: &[f64] = &[
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 0.5, 1.0, 2.5,
];

/// The value of the label `policy` for a check without a session, and therefore without a policy.
pub const NO_POLICY: &str = "none";

/// All metrics. `docs/configuration.md` lists them.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    checks: checks::CheckMetrics,
    sessions: sessions::SessionMetrics,
    listeners: listeners::ListenerMetrics,
    cluster: cluster::ClusterMetrics,
    config: config::ConfigMetrics,
    /// Metrics of identity providers and other authorization services.
    pub sources: SourceMetrics,
    /// Metrics of the session store.
    pub store: StoreMetrics,
    /// Metrics of the near cache.
    pub near_cache: NearCacheMetrics,
    /// Metrics of open streams.
    pub streams: StreamMetrics,
}

impl Metrics {
    /// Creates all metrics at zero, and the process metrics if the system has them.
    ///
    /// # Errors
    /// [`prometheus::Error`] if two metrics have the same name. A test makes sure that this does not happen.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let registrar = Registrar(&registry);
        #[cfg(target_os = "linux")]
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        let build = registrar.gauges(
            "curfew_build_info",
            "Always 1; the labels describe the build.",
            &["version", "revision"],
        )?;
        let labels = [build::VERSION, build::REVISION];
        build.with_label_values(&labels).set(1);
        Ok(Self {
            checks: checks::CheckMetrics::new(&registrar)?,
            sessions: sessions::SessionMetrics::new(&registrar)?,
            listeners: listeners::ListenerMetrics::new(&registrar)?,
            cluster: cluster::ClusterMetrics::new(&registrar)?,
            config: config::ConfigMetrics::new(&registrar)?,
            sources: SourceMetrics::new(&registrar)?,
            store: StoreMetrics::new(&registrar)?,
            near_cache: NearCacheMetrics::new(&registrar)?,
            streams: StreamMetrics::new(&registrar)?,
            registry,
        })
    }

    /// Creates the counters of rare events at zero, so that an alert on their growth notices the first event.
    /// `contracts` contains all contracts, and `known` contains the policies with `on_store_failure: known`.
    pub fn init_checks<'a>(
        &self,
        contracts: impl Iterator<Item = &'a str>,
        known: impl Iterator<Item = &'a str>,
    ) {
        // Operators watch the number of denials with `unknown_host`, as `docs/rules.md` describes.
        for contract in contracts {
            let verdict = DenyReason::UnknownHost.as_str();
            self.checks
                .answered
                .with_label_values(&[contract, NO_POLICY, verdict]);
        }
        for result in ["sent", "given_up", "dropped"] {
            self.sessions.webhooks.with_label_values(&[result]);
        }
        for result in ["ok", "refused"] {
            self.config.reloads.with_label_values(&[result]);
        }
        for policy in known {
            self.checks.degraded.with_label_values(&[policy]);
        }
    }

    /// Returns all metrics in the text exposition format of Prometheus, version 0.0.4.
    ///
    /// # Errors
    /// [`prometheus::Error`] if a metric cannot be written.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        let text = String::from_utf8(text);
        let text = text.map_err(|error| prometheus::Error::Msg(error.to_string()))?;
        Ok(escape::metrics(&text).into_owned())
    }
}

/// Creates metrics and registers them. Each method fails if another metric has the same name.
struct Registrar<'a>(&'a Registry);

impl Registrar<'_> {
    fn register<C: Collector + Clone + 'static>(&self, metric: C) -> Result<C, prometheus::Error> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.register(IntCounter::new(name, help)?)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.register(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.register(IntGauge::new(name, help)?)
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn float_gauge(&self, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
        self.register(Gauge::new(name, help)?)
    }

    /// Creates a histogram of durations in seconds.
    fn durations(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(DURATION_BUCKETS_SECONDS.to_vec());
        self.register(HistogramVec::new(options, labels)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Verdict;

    #[test]
    fn counters_are_rendered() {
        let metrics = Metrics::new().unwrap();
        metrics.record_check("auth-request", "default", Verdict::Allow, 0.001);
        metrics.record_check(
            "auth-request",
            NO_POLICY,
            Verdict::Deny(DenyReason::NoCredential),
            0.001,
        );
        metrics.record_store_operation("load", "ok", 0.001);
        metrics.session_created("default");
        metrics.session_ended("default", "idle_timeout", false);
        let text = metrics.render().unwrap();
        for line in [
            r#"curfew_checks_total{contract="auth-request",policy="default",verdict="allow"} 1"#,
            r#"curfew_checks_total{contract="auth-request",policy="none",verdict="no_credential"} 1"#,
            r#"curfew_check_duration_seconds_count{contract="auth-request"} 2"#,
            r#"curfew_store_operations_total{operation="load",result="ok"} 1"#,
            r#"curfew_sessions_created_total{policy="default"} 1"#,
            r#"curfew_sessions_ended_total{policy="default",reason="idle_timeout",redelivered="false"} 1"#,
            "curfew_build_info",
            "process_resident_memory_bytes",
        ] {
            assert!(text.contains(line), "{line}\nis not in\n{text}");
        }
    }
}
