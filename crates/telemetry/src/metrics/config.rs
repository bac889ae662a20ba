use prometheus::{IntCounterVec, IntGauge};

use super::{Metrics, Registrar};

/// Metrics of the configuration.
#[derive(Debug)]
pub(super) struct ConfigMetrics {
    pub(super) reloads: IntCounterVec,
    pub(super) last_reload_succeeded: IntGauge,
}

impl ConfigMetrics {
    pub(super) fn new(registrar: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        let last_reload_succeeded = registrar.gauge(
            "curfew_config_last_reload_successful",
            "Whether the last configuration reload succeeded.",
        )?;
        last_reload_succeeded.set(1);
        Ok(Self {
            last_reload_succeeded,
            reloads: registrar.counters(
                "curfew_config_reloads_total",
                "Configuration reloads by result.",
                &["result"],
            )?,
        })
    }
}

impl Metrics {
    /// Counts a configuration reload; `is_in_force` is false if the new configuration was rejected.
    pub fn record_config_reload(&self, is_in_force: bool) {
        let result = if is_in_force { "ok" } else { "refused" };
        self.config.reloads.with_label_values(&[result]).inc();
        self.config
            .last_reload_succeeded
            .set(i64::from(is_in_force));
    }
}
