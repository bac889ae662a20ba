use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use super::NearCacheMetrics;
use crate::build;
use crate::escape;
use crate::session::{DenyReason, Verdict};

/// Histogram buckets in seconds: from an answer out of memory to a store that hangs.
const DURATION_BUCKETS_SECONDS: &[f64] = &[
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 0.5, 1.0, 2.5,
];

/// The `policy` label of a check without a policy, because no session was found.
pub const NO_POLICY: &str = "none";

/// All metrics. `docs/configuration.md` lists them.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    checks: IntCounterVec,
    check_seconds: HistogramVec,
    store_operations: IntCounterVec,
    store_seconds: HistogramVec,
    sessions_created: IntCounterVec,
    sessions_ended: IntCounterVec,
    webhooks: IntCounterVec,
    degraded: IntCounterVec,
    config_reloads: IntCounterVec,
    keys_fetched: IntCounterVec,
    logins: IntCounterVec,
    revalidations: IntCounterVec,
    delegate_answers: IntCounterVec,
    delegate_seconds: HistogramVec,
    config_in_force: IntGauge,
    connections: IntGaugeVec,
    connections_refused: IntCounterVec,
    requests: IntGaugeVec,
    requests_refused: IntCounterVec,
    unknown_paths: IntCounterVec,
    credentials_refused: IntCounterVec,
    /// Changes that too few replicas of the store confirmed in time.
    pub unconfirmed: IntCounter,
    /// Session ends that the store had lost, and that were written again.
    pub ends_replayed: IntCounter,
    /// Offset of the store's clock from this machine's clock, in seconds.
    pub clock_offset: Gauge,
    /// Offset of the store's clock from decision time, in seconds.
    pub clock_disagreement: Gauge,
    /// Losses of data in the store that this process has seen.
    pub store_losses: IntCounter,
    /// Touches written to the store.
    pub touches_written: IntCounter,
    /// Touches lost because the store was unavailable for too long.
    pub touches_dropped: IntCounter,
    /// Sessions with a touch that is not written yet.
    pub touches_pending: IntGauge,
    /// Subjects with a cut-off in this replica.
    pub cut_offs: IntGauge,
    /// 1 if this replica has all cut-offs of the last two seconds.
    pub cut_offs_fresh: IntGauge,
    /// Front-channel logouts refused by the rate limit.
    pub front_channel_refused: IntCounter,
    /// Metrics of the near cache.
    pub near_cache: NearCacheMetrics,
}

impl Metrics {
    /// Creates all metrics at zero, and the process metrics if the system has them.
    ///
    /// # Errors
    /// [`prometheus::Error`] if two metrics share a name. A test excludes that.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        let build = register(
            &registry,
            IntGaugeVec::new(
                Opts::new(
                    "curfew_build_info",
                    "Always 1; the labels describe the build.",
                ),
                &["version", "revision"],
            )?,
        )?;
        let labels = [build::VERSION, build::REVISION];
        build.with_label_values(&labels).set(1);
        let config_in_force = register(
            &registry,
            IntGauge::new(
                "curfew_config_last_reload_successful",
                "Whether the last configuration reload succeeded.",
            )?,
        )?;
        config_in_force.set(1);
        Ok(Self {
            checks: register(
                &registry,
                IntCounterVec::new(
                    Opts::new("curfew_checks_total", "Checks answered."),
                    &["contract", "policy", "verdict"],
                )?,
            )?,
            check_seconds: register(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new("curfew_check_duration_seconds", "Time to answer a check.")
                        .buckets(DURATION_BUCKETS_SECONDS.to_vec()),
                    &["contract"],
                )?,
            )?,
            store_operations: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "curfew_store_operations_total",
                        "Operations on the session store.",
                    ),
                    &["operation", "result"],
                )?,
            )?,
            store_seconds: register(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "curfew_store_operation_duration_seconds",
                        "Duration of operations on the session store.",
                    )
                    .buckets(DURATION_BUCKETS_SECONDS.to_vec()),
                    &["operation"],
                )?,
            )?,
            sessions_created: register(
                &registry,
                IntCounterVec::new(
                    Opts::new("curfew_sessions_created_total", "Sessions started."),
                    &["policy"],
                )?,
            )?,
            sessions_ended: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "curfew_sessions_ended_total",
                        "Sessions ended by this replica.",
                    ),
                    &["policy", "reason", "redelivered"],
                )?,
            )?,
            webhooks: register(
                &registry,
                IntCounterVec::new(
                    Opts::new("curfew_webhooks_total", "Ends of sessions for the webhook."),
                    &["result"],
                )?,
            )?,
            degraded: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "curfew_degraded_checks_total",
                        "Checks allowed while the session store was unavailable.",
                    ),
                    &["policy"],
                )?,
            )?,
            config_reloads: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "curfew_config_reloads_total",
                        "Configuration reloads by result.",
                    ),
                    &["result"],
                )?,
            )?,
            config_in_force,
            connections: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new("curfew_connections", "Connections that are open."),
                    &["listener"],
                )?,
            )?,
            connections_refused: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "curfew_connections_refused_total",
                        "Connections closed because of the connection limit.",
                    ),
                    &["listener"],
                )?,
            )?,
            requests: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new("curfew_requests_in_flight", "Requests in flight."),
                    &["listener"],
                )?,
            )?,
            requests_refused: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "curfew_requests_shed_total",
                        "Requests answered with 503 because of the request limit.",
                    ),
                    &["listener"],
                )?,
            )?,
            unknown_paths: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "curfew_unknown_paths_total",
                        "Requests for paths that the check listener does not serve.",
                    ),
                    &["class"],
                )?,
            )?,
            credentials_refused: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "curfew_admin_credentials_refused_total",
                        "Credentials refused by the admin API or the console.",
                    ),
                    &["door", "result"],
                )?,
            )?,
            keys_fetched: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "curfew_issuer_keys_fetched_total",
                        "JWKS fetches by result.",
                    ),
                    &["issuer", "result"],
                )?,
            )?,
            logins: register(
                &registry,
                IntCounterVec::new(
                    Opts::new("curfew_logins_total", "OIDC logins by result."),
                    &["provider", "result"],
                )?,
            )?,
            revalidations: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "curfew_revalidations_total",
                        "Revalidations of sessions with identity providers by result.",
                    ),
                    &["provider", "result"],
                )?,
            )?,
            delegate_answers: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "curfew_delegate_answers_total",
                        "Delegated authorization results.",
                    ),
                    &["service", "answer"],
                )?,
            )?,
            delegate_seconds: register(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "curfew_delegate_duration_seconds",
                        "Duration of delegated authorization requests.",
                    )
                    .buckets(DURATION_BUCKETS_SECONDS.to_vec()),
                    &["service"],
                )?,
            )?,
            unconfirmed: register(
                &registry,
                IntCounter::new(
                    "curfew_unconfirmed_changes_total",
                    "Changes that too few replicas of the session store confirmed in time.",
                )?,
            )?,
            ends_replayed: register(
                &registry,
                IntCounter::new(
                    "curfew_ends_replayed_total",
                    "Session ends that the session store had lost, written again.",
                )?,
            )?,
            clock_offset: register(
                &registry,
                Gauge::new(
                    "curfew_clock_offset_seconds",
                    "Offset of the session store's clock from this machine's clock.",
                )?,
            )?,
            clock_disagreement: register(
                &registry,
                Gauge::new(
                    "curfew_clock_disagreement_seconds",
                    "Offset of the session store's clock from decision time.",
                )?,
            )?,
            store_losses: register(
                &registry,
                IntCounter::new(
                    "curfew_store_losses_total",
                    "Losses of data in the session store that this process has seen.",
                )?,
            )?,
            touches_written: register(
                &registry,
                IntCounter::new(
                    "curfew_touches_written_total",
                    "Touches written to the session store.",
                )?,
            )?,
            touches_dropped: register(
                &registry,
                IntCounter::new(
                    "curfew_touches_dropped_total",
                    "Touches lost because the session store was unavailable for too long.",
                )?,
            )?,
            touches_pending: register(
                &registry,
                IntGauge::new(
                    "curfew_touches_pending",
                    "Sessions with a touch that is not written to the session store yet.",
                )?,
            )?,
            cut_offs: register(
                &registry,
                IntGauge::new(
                    "curfew_cut_offs",
                    "Subjects with a cut-off in this replica.",
                )?,
            )?,
            cut_offs_fresh: register(
                &registry,
                IntGauge::new(
                    "curfew_cut_offs_fresh",
                    "Whether this replica has all cut-offs of the last two seconds.",
                )?,
            )?,
            front_channel_refused: register(
                &registry,
                IntCounter::new(
                    "curfew_front_channel_refused_total",
                    "Front-channel logouts refused by the rate limit.",
                )?,
            )?,
            near_cache: NearCacheMetrics::new(&registry)?,
            registry,
        })
    }

    /// Creates the counters of refused credentials for these interfaces at zero.
    pub fn init_credentials(&self, doors: &[&str]) {
        for door in doors {
            for result in ["wrong", "limited"] {
                self.credentials_refused.with_label_values(&[door, result]);
            }
        }
    }

    /// Counts a credential that the admin API (`api`) or the console (`console`) refused. The result is `wrong`, or
    /// `limited` after too many attempts from one address.
    pub fn credential_refused(&self, door: &str, result: &str) {
        self.credentials_refused
            .with_label_values(&[door, result])
            .inc();
    }

    /// The gauge of open connections of a listener, and the counter of refused ones.
    #[must_use]
    pub fn connections(&self, listener: &str) -> (IntGauge, IntCounter) {
        (
            self.connections.with_label_values(&[listener]),
            self.connections_refused.with_label_values(&[listener]),
        )
    }

    /// The gauge of requests in flight of a listener, and the counter of shed ones.
    #[must_use]
    pub fn requests(&self, listener: &str) -> (IntGauge, IntCounter) {
        (
            self.requests.with_label_values(&[listener]),
            self.requests_refused.with_label_values(&[listener]),
        )
    }

    /// Counts an answered check and its duration.
    pub fn check(&self, contract: &str, policy: &str, verdict: Verdict, seconds: f64) {
        self.checks
            .with_label_values(&[contract, policy, verdict.as_str()])
            .inc();
        self.check_seconds
            .with_label_values(&[contract])
            .observe(seconds);
    }

    /// Creates the counters of these classes at zero.
    pub fn init_unknown_paths<'a>(&self, classes: impl Iterator<Item = &'a str>) {
        for class in classes {
            self.unknown_paths.with_label_values(&[class]);
        }
    }

    /// Counts a request for a path that the `check` listener does not serve.
    pub fn unknown_path(&self, class: &str) {
        self.unknown_paths.with_label_values(&[class]).inc();
    }

    /// Counts an operation on the store; `result` is `ok` or the kind of error.
    pub fn store_operation(&self, operation: &str, result: &str, seconds: f64) {
        self.store_operations
            .with_label_values(&[operation, result])
            .inc();
        self.store_seconds
            .with_label_values(&[operation])
            .observe(seconds);
    }

    /// Counts a started session.
    pub fn session_created(&self, policy: &str) {
        self.sessions_created.with_label_values(&[policy]).inc();
    }

    /// Counts an ended session.
    pub fn session_ended(&self, policy: &str, reason: &str, redelivered: bool) {
        let redelivered = if redelivered { "true" } else { "false" };
        self.sessions_ended
            .with_label_values(&[policy, reason, redelivered])
            .inc();
    }

    /// Counts the delivery of a session end to the webhook: `sent`, `given_up` or `dropped`.
    pub fn webhook(&self, result: &str) {
        self.webhooks.with_label_values(&[result]).inc();
    }

    /// Counts a check that was allowed while the store was unavailable.
    pub fn degraded(&self, policy: &str) {
        self.degraded.with_label_values(&[policy]).inc();
    }

    /// Counts a fetch of an issuer's JWKS.
    pub fn keys_fetched(&self, issuer: &str, succeeded: bool) {
        let result = if succeeded { "ok" } else { "error" };
        self.keys_fetched.with_label_values(&[issuer, result]).inc();
    }

    /// Creates the counter of a provider's logins at zero.
    pub fn init_logins(&self, provider: &str) {
        self.logins.with_label_values(&[provider, "ok"]);
    }

    /// Counts an OIDC login: `ok`, or the reason of its failure.
    pub fn login(&self, provider: &str, result: &str) {
        self.logins.with_label_values(&[provider, result]).inc();
    }

    /// Creates the counters of a provider's revalidations at zero.
    pub fn init_revalidations(&self, provider: &str) {
        for result in [
            "ok",
            "changed",
            "refused",
            "unavailable",
            "no_refresh_token",
        ] {
            self.revalidations.with_label_values(&[provider, result]);
        }
    }

    /// Counts a revalidation: the provider's answer, or the reason of its failure.
    pub fn revalidated(&self, provider: &str, result: &str) {
        let labels = [provider, result];
        self.revalidations.with_label_values(&labels).inc();
    }

    /// Counts the result of another authorization service (`allow`, `deny` or `error`) and its duration.
    pub fn delegate_asked(&self, service: &str, answer: &str, seconds: f64) {
        let labels = [service, answer];
        self.delegate_answers.with_label_values(&labels).inc();
        let duration = self.delegate_seconds.with_label_values(&[service]);
        duration.observe(seconds);
    }

    /// Counts a configuration reload; `in_force` is false if it was rejected.
    pub fn config_reload(&self, in_force: bool) {
        let result = if in_force { "ok" } else { "refused" };
        self.config_reloads.with_label_values(&[result]).inc();
        self.config_in_force.set(i64::from(in_force));
    }

    /// Creates the counters of rare events at zero, so that an alert on their growth sees the first one. `contracts`
    /// are all contracts, and `known` the policies with `on_store_failure: known`.
    pub fn init_checks<'a>(
        &self,
        contracts: impl Iterator<Item = &'a str>,
        known: impl Iterator<Item = &'a str>,
    ) {
        // Operators set an alert on hosts that the configuration does not name.
        for contract in contracts {
            let verdict = DenyReason::UnknownHost.as_str();
            self.checks
                .with_label_values(&[contract, NO_POLICY, verdict]);
        }
        for result in ["sent", "given_up", "dropped"] {
            self.webhooks.with_label_values(&[result]);
        }
        for result in ["ok", "refused"] {
            self.config_reloads.with_label_values(&[result]);
        }
        for policy in known {
            self.degraded.with_label_values(&[policy]);
        }
    }

    /// All metrics in the text exposition format of Prometheus, version 0.0.4.
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

pub(super) fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_rendered() {
        let metrics = Metrics::new().unwrap();
        metrics.check("auth-request", "default", Verdict::Allow, 0.001);
        metrics.check(
            "auth-request",
            NO_POLICY,
            Verdict::Deny(DenyReason::NoCredential),
            0.001,
        );
        metrics.store_operation("load", "ok", 0.001);
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
