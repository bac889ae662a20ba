use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use super::NearCacheMetrics;
use crate::build;
use crate::escape;
use crate::session::{DenyReason, Verdict};

/// Buckets for durations, in seconds: from an answer out of memory to a store that hangs.
const SECONDS: &[f64] = &[
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 0.5, 1.0, 2.5,
];

/// The label for a check that no policy applied to, because no session was found.
pub const NO_POLICY: &str = "none";

/// Every metric, typed. `docs/configuration.md` lists them.
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
    /// Changes that the wanted number of replicas did not confirm in time.
    pub unconfirmed: IntCounter,
    /// Ended sessions that had come back, and were ended again.
    pub ends_replayed: IntCounter,
    /// How far the store's clock is ahead of this machine's, in seconds.
    pub clock_offset: Gauge,
    /// How far the store's clock is ahead of decision time, in seconds.
    pub clock_disagreement: Gauge,
    /// Losses of data in the store that this process noticed.
    pub store_losses: IntCounter,
    /// Touches that have been written to the store.
    pub touches_written: IntCounter,
    /// Touches that were given up because the store stayed away for too long.
    pub touches_dropped: IntCounter,
    /// Sessions whose last activity has not been written yet.
    pub touches_pending: IntGauge,
    /// Subjects with a cut-off that this replica knows.
    pub cut_offs: IntGauge,
    /// Whether this replica knows all cut-offs of the last two seconds.
    pub cut_offs_fresh: IntGauge,
    /// Requests for a front-channel logout that were refused because there were too many.
    pub front_channel_refused: IntCounter,
    /// What the near cache does.
    pub near_cache: NearCacheMetrics,
}

impl Metrics {
    /// All metrics at zero, and those of the process where the system offers them.
    ///
    /// # Errors
    /// [`prometheus::Error`] when two metrics share a name, which a test rules out.
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
                    "Always 1; the labels say which Curfew it is.",
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
                "Whether the configuration that was read last is in force.",
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
                        .buckets(SECONDS.to_vec()),
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
                        "Time an operation on the session store took.",
                    )
                    .buckets(SECONDS.to_vec()),
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
                        "Checks allowed although the session store could not be asked.",
                    ),
                    &["policy"],
                )?,
            )?,
            config_reloads: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "curfew_config_reloads_total",
                        "How often the configuration was read again.",
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
                        "Connections that were closed at once because there were too many.",
                    ),
                    &["listener"],
                )?,
            )?,
            requests: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new(
                        "curfew_requests_in_flight",
                        "Requests that are being answered.",
                    ),
                    &["listener"],
                )?,
            )?,
            requests_refused: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "curfew_requests_shed_total",
                        "Requests that were answered with 503 at once because there was too much to do.",
                    ),
                    &["listener"],
                )?,
            )?,
            unknown_paths: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "curfew_unknown_paths_total",
                        "Requests for a path that the check listener does not serve.",
                    ),
                    &["class"],
                )?,
            )?,
            credentials_refused: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "curfew_admin_credentials_refused_total",
                        "Credentials that the admin API or the console refused.",
                    ),
                    &["door", "result"],
                )?,
            )?,
            keys_fetched: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "curfew_issuer_keys_fetched_total",
                        "How often the keys of an identity provider were fetched.",
                    ),
                    &["issuer", "result"],
                )?,
            )?,
            logins: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "curfew_logins_total",
                        "Sign-ins by an identity provider that ended, however.",
                    ),
                    &["provider", "result"],
                )?,
            )?,
            revalidations: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "curfew_revalidations_total",
                        "Answers of identity providers about sessions in use, by result.",
                    ),
                    &["provider", "result"],
                )?,
            )?,
            delegate_answers: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "curfew_delegate_answers_total",
                        "What other authorization services answered, or that they did not.",
                    ),
                    &["service", "answer"],
                )?,
            )?,
            delegate_seconds: register(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "curfew_delegate_duration_seconds",
                        "How long other authorization services took to answer.",
                    )
                    .buckets(SECONDS.to_vec()),
                    &["service"],
                )?,
            )?,
            unconfirmed: register(
                &registry,
                IntCounter::new(
                    "curfew_unconfirmed_changes_total",
                    "Changes that the wanted number of the store's replicas did not confirm in time.",
                )?,
            )?,
            ends_replayed: register(
                &registry,
                IntCounter::new(
                    "curfew_ends_replayed_total",
                    "Ended sessions that the session store had lost the end of, ended again.",
                )?,
            )?,
            clock_offset: register(
                &registry,
                Gauge::new(
                    "curfew_clock_offset_seconds",
                    "How far the session store's clock is ahead of this machine's.",
                )?,
            )?,
            clock_disagreement: register(
                &registry,
                Gauge::new(
                    "curfew_clock_disagreement_seconds",
                    "How far the session store's clock is ahead of decision time.",
                )?,
            )?,
            store_losses: register(
                &registry,
                IntCounter::new(
                    "curfew_store_losses_total",
                    "Losses of data in the session store that this process noticed.",
                )?,
            )?,
            touches_written: register(
                &registry,
                IntCounter::new(
                    "curfew_touches_written_total",
                    "Activities written to the session store.",
                )?,
            )?,
            touches_dropped: register(
                &registry,
                IntCounter::new(
                    "curfew_touches_dropped_total",
                    "Activities given up because the session store stayed away for too long.",
                )?,
            )?,
            touches_pending: register(
                &registry,
                IntGauge::new(
                    "curfew_touches_pending",
                    "Sessions whose last activity has not been written to the session store yet.",
                )?,
            )?,
            cut_offs: register(
                &registry,
                IntGauge::new(
                    "curfew_cut_offs",
                    "Subjects with a cut-off that this replica knows.",
                )?,
            )?,
            cut_offs_fresh: register(
                &registry,
                IntGauge::new(
                    "curfew_cut_offs_fresh",
                    "Whether this replica knows all cut-offs of the last two seconds.",
                )?,
            )?,
            front_channel_refused: register(
                &registry,
                IntCounter::new(
                    "curfew_front_channel_refused_total",
                    "Front-channel logouts that were refused because there were too many.",
                )?,
            )?,
            near_cache: NearCacheMetrics::new(&registry)?,
            registry,
        })
    }

    /// Shows the refused credentials of these doors before there are any.
    pub fn begin_credentials(&self, doors: &[&str]) {
        for door in doors {
            for result in ["wrong", "limited"] {
                self.credentials_refused.with_label_values(&[door, result]);
            }
        }
    }

    /// Counts a credential that the admin API (`api`) or the console (`console`) refused: `wrong`, or `limited` where its
    /// address has presented too many.
    pub fn credential_refused(&self, door: &str, result: &str) {
        self.credentials_refused
            .with_label_values(&[door, result])
            .inc();
    }

    /// The connections of a listener: those that are open, and those that were too many.
    #[must_use]
    pub fn connections(&self, listener: &str) -> (IntGauge, IntCounter) {
        (
            self.connections.with_label_values(&[listener]),
            self.connections_refused.with_label_values(&[listener]),
        )
    }

    /// The requests of a listener: those that are being answered, and those that were too many.
    #[must_use]
    pub fn requests(&self, listener: &str) -> (IntGauge, IntCounter) {
        (
            self.requests.with_label_values(&[listener]),
            self.requests_refused.with_label_values(&[listener]),
        )
    }

    /// Counts an answered check.
    pub fn check(&self, contract: &str, policy: &str, verdict: Verdict, seconds: f64) {
        self.checks
            .with_label_values(&[contract, policy, verdict.as_str()])
            .inc();
        self.check_seconds
            .with_label_values(&[contract])
            .observe(seconds);
    }

    /// Shows the counts of these classes as zero.
    pub fn begin_unknown_paths<'a>(&self, classes: impl Iterator<Item = &'a str>) {
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

    /// Counts a session that started.
    pub fn session_created(&self, policy: &str) {
        self.sessions_created.with_label_values(&[policy]).inc();
    }

    /// Counts a session that ended.
    pub fn session_ended(&self, policy: &str, reason: &str, redelivered: bool) {
        let redelivered = if redelivered { "true" } else { "false" };
        self.sessions_ended
            .with_label_values(&[policy, reason, redelivered])
            .inc();
    }

    /// Counts what became of an end for the webhook: `sent`, `given_up` or `dropped`.
    pub fn webhook(&self, result: &str) {
        self.webhooks.with_label_values(&[result]).inc();
    }

    /// Counts a check that was allowed without the store.
    pub fn degraded(&self, policy: &str) {
        self.degraded.with_label_values(&[policy]).inc();
    }

    /// Counts a fetch of an issuer's keys.
    pub fn keys_fetched(&self, issuer: &str, succeeded: bool) {
        let result = if succeeded { "ok" } else { "error" };
        self.keys_fetched.with_label_values(&[issuer, result]).inc();
    }

    /// Shows the count of a provider's sign-ins, none so far.
    pub fn begin_logins(&self, provider: &str) {
        self.logins.with_label_values(&[provider, "ok"]);
    }

    /// Counts a sign-in by an identity provider: `ok`, or why there was none.
    pub fn login(&self, provider: &str, result: &str) {
        self.logins.with_label_values(&[provider, result]).inc();
    }

    /// Shows the counts of a provider's answers about sessions as zero.
    pub fn begin_revalidations(&self, provider: &str) {
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

    /// Counts an answer of a provider about a session, or why there was none.
    pub fn revalidated(&self, provider: &str, result: &str) {
        let labels = [provider, result];
        self.revalidations.with_label_values(&labels).inc();
    }

    /// Counts what another authorization service answered (`allow`, `deny`) or that it did not
    /// (`error`), after so many seconds.
    pub fn delegate_asked(&self, service: &str, answer: &str, seconds: f64) {
        let labels = [service, answer];
        self.delegate_answers.with_label_values(&labels).inc();
        let duration = self.delegate_seconds.with_label_values(&[service]);
        duration.observe(seconds);
    }

    /// Counts a configuration that was read again, and is in force or was refused.
    pub fn config_reload(&self, in_force: bool) {
        let result = if in_force { "ok" } else { "refused" };
        self.config_reloads.with_label_values(&[result]).inc();
        self.config_in_force.set(i64::from(in_force));
    }

    /// Shows the counts of what is seldom as zero until it happens, so that a rule on their growth
    /// sees the first time, too; `contracts` are all of them, and `known` are the policies that allow checks without the store.
    pub fn begin<'a>(
        &self,
        contracts: impl Iterator<Item = &'a str>,
        known: impl Iterator<Item = &'a str>,
    ) {
        // A host that the configuration does not name is a reason for an alert.
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
    /// [`prometheus::Error`] when a metric can't be written.
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
    fn counts_what_it_is_told() {
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
