use prometheus::{Gauge, HistogramVec, IntCounter, IntCounterVec, IntGauge};

use super::{Metrics, Registrar};

/// Metrics of the session store.
#[derive(Debug)]
pub struct StoreMetrics {
    pub(super) operations: IntCounterVec,
    pub(super) operation_seconds: HistogramVec,
    /// Changes that too few Redis replicas confirmed in time.
    pub unconfirmed: IntCounter,
    /// Session ends that the store had lost, and that Curfew wrote again.
    pub ends_replayed: IntCounter,
    /// Offset of the store's clock from this machine's clock, in seconds.
    pub clock_offset: Gauge,
    /// Offset of the store's clock from decision time (the common time of all replicas), in seconds.
    pub clock_disagreement: Gauge,
    /// Losses of data in the store that this process has seen.
    pub losses: IntCounter,
    /// Touches written to the store.
    pub touches_written: IntCounter,
    /// Touches lost because the store was unavailable for too long.
    pub touches_dropped: IntCounter,
    /// Sessions with a touch that is not written yet.
    pub touches_pending: IntGauge,
    /// Subjects with a cut-off that this replica has read. A cut-off is a time: all sessions of the subject that
    /// started before this time have ended.
    pub cut_offs: IntGauge,
    /// 1 if this replica's copy of the cut-offs is complete and at most two seconds old, otherwise 0.
    pub cut_offs_fresh: IntGauge,
}

impl StoreMetrics {
    pub(super) fn new(registrar: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            operations: registrar.counters(
                "curfew_store_operations_total",
                "Operations on the session store.",
                &["operation", "result"],
            )?,
            operation_seconds: registrar.durations(
                "curfew_store_operation_duration_seconds",
                "Duration of operations on the session store.",
                &["operation"],
            )?,
            unconfirmed: registrar.counter(
                "curfew_unconfirmed_changes_total",
                "Changes that too few Redis replicas confirmed in time.",
            )?,
            ends_replayed: registrar.counter(
                "curfew_ends_replayed_total",
                "Session ends that the session store had lost, and that Curfew wrote again.",
            )?,
            clock_offset: registrar.float_gauge(
                "curfew_clock_offset_seconds",
                "Offset of the session store's clock from this machine's clock.",
            )?,
            clock_disagreement: registrar.float_gauge(
                "curfew_clock_disagreement_seconds",
                "Offset of the session store's clock from decision time (the common time of all replicas).",
            )?,
            losses: registrar.counter(
                "curfew_store_losses_total",
                "Losses of data that this process has detected in the session store.",
            )?,
            touches_written: registrar.counter(
                "curfew_touches_written_total",
                "Touches written to the session store.",
            )?,
            touches_dropped: registrar.counter(
                "curfew_touches_dropped_total",
                "Touches lost because the session store was unavailable for too long.",
            )?,
            touches_pending: registrar.gauge(
                "curfew_touches_pending",
                "Sessions with a touch that is not written to the session store yet.",
            )?,
            cut_offs: registrar.gauge(
                "curfew_cut_offs",
                "Subjects with a cut-off that this replica has read. A cut-off is a time: all earlier sessions of the \
                 subject have ended.",
            )?,
            cut_offs_fresh: registrar.gauge(
                "curfew_cut_offs_fresh",
                "Whether this replica's copy of the cut-offs is complete and at most two seconds old.",
            )?,
        })
    }
}

impl Metrics {
    /// Counts an operation on the store; `result` is `ok` or the kind of error.
    pub fn record_store_operation(&self, operation: &str, result: &str, seconds: f64) {
        self.store
            .operations
            .with_label_values(&[operation, result])
            .inc();
        self.store
            .operation_seconds
            .with_label_values(&[operation])
            .observe(seconds);
    }
}
