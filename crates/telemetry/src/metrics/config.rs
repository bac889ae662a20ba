use prometheus::{IntCounterVec, IntGauge};

use super::{Metrics, Registrar};

/// Metrics of the configuration.
#[derive(Debug)]
pub(super) struct ConfigMetrics {
    pub(super) reloads: IntCounterVec,
    pub(super) in_force: IntGauge,
}

impl ConfigMetrics {
    pub(super) fn new(registrar: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        let in_force = registrar.gauge(
            "curfew_config_last_reload_successful",
            "Whether the last configuration reload succeeded.",
        )?;
        in_force.set(1);
        Ok(Self {
            in_force,
            reloads: registrar.counters(
                "curfew_config_reloads_total",
                "Configuration reloads by result.",
                &["result"],
            )?,
        })
    }
}

impl Metrics {
    /// Counts a configuration reload; `in_force` is false if the new configuration was rejected.
    pub fn config_reload(&self, in_force: bool) {
        let result = if in_force { "ok" } else { "refused" };
        self.config.reloads.with_label_values(&[result]).inc();
        self.config.in_force.set(i64::from(in_force));
    }
}
