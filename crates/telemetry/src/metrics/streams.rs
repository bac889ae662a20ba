use prometheus::{IntCounter, IntCounterVec, IntGaugeVec};

use super::Registrar;

/// Metrics of open streams: requests that stay open, such as WebSockets.
#[derive(Debug)]
pub struct StreamMetrics {
    /// Streams that are open, by kind.
    pub open: IntGaugeVec,
    /// Streams that were opened, by kind.
    pub opened: IntCounterVec,
    /// Streams that Curfew cut, by reason.
    pub cut: IntCounterVec,
    /// Streams that were refused, by limit.
    pub refused: IntCounterVec,
    /// Bytes of streams that have ended, by direction.
    pub bytes: IntCounterVec,
    /// Touches because of data from the client.
    pub touches: IntCounter,
    /// Requests that the proxy listener could not forward.
    pub upstream_errors: IntCounter,
    /// Whether an application with a health check is healthy (1) or not (0), by target.
    pub upstream_healthy: IntGaugeVec,
}

impl StreamMetrics {
    /// Creates all metrics at zero.
    ///
    /// # Errors
    /// [`prometheus::Error`] if two metrics have the same name. A test makes sure that this does not happen.
    pub(super) fn new(registrar: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            open: registrar.gauges(
                "curfew_streams_open",
                "Streams that are open, such as WebSockets.",
                &["kind"],
            )?,
            opened: registrar.counters(
                "curfew_streams_opened_total",
                "Streams that were opened.",
                &["kind"],
            )?,
            cut: registrar.counters(
                "curfew_streams_cut_total",
                "Streams that Curfew cut.",
                &["reason"],
            )?,
            refused: registrar.counters(
                "curfew_streams_refused_total",
                "Requests refused because of a limit on open streams.",
                &["limit"],
            )?,
            bytes: registrar.counters(
                "curfew_stream_bytes_total",
                "Bytes of streams that have ended.",
                &["direction"],
            )?,
            touches: registrar.counter(
                "curfew_stream_touches_total",
                "Activity recorded because of data that a client sent inside a stream.",
            )?,
            upstream_errors: registrar.counter(
                "curfew_upstream_errors_total",
                "Requests that the proxy listener could not forward to an application.",
            )?,
            upstream_healthy: registrar.gauges(
                "curfew_upstream_healthy",
                "Whether an application with a health check is healthy (1) or not (0).",
                &["target"],
            )?,
        })
    }
}
