use prometheus::{HistogramVec, IntCounter, IntCounterVec};

use super::{Metrics, Registrar};

/// Metrics of identity providers and other authorization services.
#[derive(Debug)]
pub struct SourceMetrics {
    pub(super) keys_fetched: IntCounterVec,
    pub(super) logins: IntCounterVec,
    pub(super) revalidations: IntCounterVec,
    pub(super) delegate_answers: IntCounterVec,
    pub(super) delegate_seconds: HistogramVec,
    /// Front-channel logouts refused by the rate limit.
    pub front_channel_refused: IntCounter,
}

impl SourceMetrics {
    pub(super) fn new(registrar: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            keys_fetched: registrar.counters(
                "curfew_issuer_keys_fetched_total",
                "Fetches of the keys of an issuer (JWKS) by result.",
                &["issuer", "result"],
            )?,
            logins: registrar.counters(
                "curfew_logins_total",
                "Sign-ins with identity providers (OIDC), by result.",
                &["provider", "result"],
            )?,
            revalidations: registrar.counters(
                "curfew_revalidations_total",
                "Revalidations of sessions with identity providers by result.",
                &["provider", "result"],
            )?,
            delegate_answers: registrar.counters(
                "curfew_delegate_answers_total",
                "Answers of other authorization services by result.",
                &["service", "answer"],
            )?,
            delegate_seconds: registrar.durations(
                "curfew_delegate_duration_seconds",
                "Duration of requests to other authorization services.",
                &["service"],
            )?,
            front_channel_refused: registrar.counter(
                "curfew_front_channel_refused_total",
                "Front-channel logouts refused by the rate limit.",
            )?,
        })
    }
}

impl Metrics {
    /// Counts a fetch of an issuer's JWKS.
    pub fn count_keys_fetch(&self, issuer: &str, succeeded: bool) {
        let result = if succeeded { "ok" } else { "error" };
        self.sources
            .keys_fetched
            .with_label_values(&[issuer, result])
            .inc();
    }

    /// Creates the counter of a provider's successful logins at zero.
    pub fn init_logins(&self, provider: &str) {
        self.sources.logins.with_label_values(&[provider, "ok"]);
    }

    /// Counts an OIDC login. `result` is `ok`, or the reason of the failure.
    pub fn count_login(&self, provider: &str, result: &str) {
        self.sources
            .logins
            .with_label_values(&[provider, result])
            .inc();
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
            self.sources
                .revalidations
                .with_label_values(&[provider, result]);
        }
    }

    /// Counts a revalidation. `result` is the answer of the provider, or the reason of the failure.
    pub fn count_revalidation(&self, provider: &str, result: &str) {
        let labels = [provider, result];
        self.sources.revalidations.with_label_values(&labels).inc();
    }

    /// Counts a request to another authorization service, with its result (`allow`, `deny` or `error`) and its
    /// duration.
    pub fn record_delegate_answer(&self, service: &str, answer: &str, seconds: f64) {
        let labels = [service, answer];
        self.sources
            .delegate_answers
            .with_label_values(&labels)
            .inc();
        let duration = self.sources.delegate_seconds.with_label_values(&[service]);
        duration.observe(seconds);
    }
}
