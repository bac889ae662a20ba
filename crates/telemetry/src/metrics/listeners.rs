use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::{Metrics, Registrar};

/// Metrics of the listeners.
#[derive(Debug)]
pub(super) struct ListenerMetrics {
    pub(super) connections: IntGaugeVec,
    pub(super) connections_refused: IntCounterVec,
    pub(super) requests: IntGaugeVec,
    pub(super) requests_refused: IntCounterVec,
    pub(super) tls_handshake_failures: IntCounterVec,
    pub(super) unknown_paths: IntCounterVec,
    pub(super) credentials_refused: IntCounterVec,
}

impl ListenerMetrics {
    pub(super) fn new(registrar: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            connections: registrar.gauges(
                "curfew_connections",
                "Open connections.",
                &["listener"],
            )?,
            connections_refused: registrar.counters(
                "curfew_connections_refused_total",
                "Connections closed because of the connection limit.",
                &["listener"],
            )?,
            requests: registrar.gauges(
                "curfew_requests_in_flight",
                "Requests that this replica is answering.",
                &["listener"],
            )?,
            requests_refused: registrar.counters(
                "curfew_requests_shed_total",
                "Requests answered with 503 because of the request limit.",
                &["listener"],
            )?,
            tls_handshake_failures: registrar.counters(
                "curfew_tls_handshake_failures_total",
                "Failed TLS handshakes of clients.",
                &["listener"],
            )?,
            unknown_paths: registrar.counters(
                "curfew_unknown_paths_total",
                "Requests for paths that the check listener does not serve.",
                &["class"],
            )?,
            credentials_refused: registrar.counters(
                "curfew_admin_credentials_refused_total",
                "Credentials refused by the admin API or the console.",
                &["interface", "result"],
            )?,
        })
    }
}

impl Metrics {
    /// Creates the counters of refused credentials for these interfaces at zero.
    pub fn init_credentials(&self, interfaces: &[&str]) {
        for interface in interfaces {
            for result in ["wrong", "limited"] {
                self.listeners
                    .credentials_refused
                    .with_label_values(&[interface, result]);
            }
        }
    }

    /// Counts a credential that the admin API (`api`) or the console (`console`) refused. The result is `wrong`, or
    /// `limited` after too many attempts from one address.
    pub fn count_refused_credential(&self, interface: &str, result: &str) {
        self.listeners
            .credentials_refused
            .with_label_values(&[interface, result])
            .inc();
    }

    /// Returns two metrics of a listener: the gauge of open connections, and the counter of refused connections.
    #[must_use]
    pub fn connections(&self, listener: &str) -> (IntGauge, IntCounter) {
        (
            self.listeners.connections.with_label_values(&[listener]),
            self.listeners
                .connections_refused
                .with_label_values(&[listener]),
        )
    }

    /// Returns the counter of a listener's TLS handshakes that failed.
    #[must_use]
    pub fn tls_handshake_failures(&self, listener: &str) -> IntCounter {
        self.listeners
            .tls_handshake_failures
            .with_label_values(&[listener])
    }

    /// Returns two metrics of a listener: the gauge of requests in flight, and the counter of requests that were
    /// shed.
    #[must_use]
    pub fn requests(&self, listener: &str) -> (IntGauge, IntCounter) {
        (
            self.listeners.requests.with_label_values(&[listener]),
            self.listeners
                .requests_refused
                .with_label_values(&[listener]),
        )
    }

    /// Creates the counters of unknown paths at zero, one for each of these classes of paths.
    pub fn init_unknown_paths<'a>(&self, classes: impl Iterator<Item = &'a str>) {
        for class in classes {
            self.listeners.unknown_paths.with_label_values(&[class]);
        }
    }

    /// Counts a request for a path that the `check` listener does not serve.
    pub fn count_unknown_path(&self, class: &str) {
        self.listeners
            .unknown_paths
            .with_label_values(&[class])
            .inc();
    }
}
