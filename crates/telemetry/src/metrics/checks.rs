use prometheus::{HistogramVec, IntCounterVec};

use super::{Metrics, Registrar};
use crate::session::Verdict;

/// Metrics of checks.
#[derive(Debug)]
pub(super) struct CheckMetrics {
    pub(super) answered: IntCounterVec,
    pub(super) seconds: HistogramVec,
    pub(super) degraded: IntCounterVec,
}

impl CheckMetrics {
    pub(super) fn new(registrar: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            answered: registrar.counters(
                "curfew_checks_total",
                "Checks answered.",
                &["contract", "policy", "verdict"],
            )?,
            seconds: registrar.durations(
                "curfew_check_duration_seconds",
                "Time to answer a check.",
                &["contract"],
            )?,
            degraded: registrar.counters(
                "curfew_degraded_checks_total",
                "Checks allowed while the session store was unavailable.",
                &["policy"],
            )?,
        })
    }
}

impl Metrics {
    /// Counts an answered check and its duration.
    pub fn record_check(&self, contract: &str, policy: &str, verdict: Verdict, seconds: f64) {
        self.checks
            .answered
            .with_label_values(&[contract, policy, verdict.as_str()])
            .inc();
        self.checks
            .seconds
            .with_label_values(&[contract])
            .observe(seconds);
    }

    /// Counts a check that was allowed while the store was unavailable.
    pub fn count_degraded_check(&self, policy: &str) {
        self.checks.degraded.with_label_values(&[policy]).inc();
    }
}
