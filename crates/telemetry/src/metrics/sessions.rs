use prometheus::IntCounterVec;

use super::{Metrics, Registrar};

/// Metrics of starts and ends of sessions.
#[derive(Debug)]
pub(super) struct SessionMetrics {
    pub(super) created: IntCounterVec,
    pub(super) ended: IntCounterVec,
    pub(super) webhooks: IntCounterVec,
}

impl SessionMetrics {
    pub(super) fn new(registrar: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            created: registrar.counters(
                "curfew_sessions_created_total",
                "Sessions started.",
                &["policy"],
            )?,
            ended: registrar.counters(
                "curfew_sessions_ended_total",
                "Sessions ended by this replica.",
                &["policy", "reason", "redelivered"],
            )?,
            webhooks: registrar.counters(
                "curfew_webhooks_total",
                "Deliveries of session ends to the webhook, by result.",
                &["result"],
            )?,
        })
    }
}

impl Metrics {
    /// Counts a started session.
    pub fn session_created(&self, policy: &str) {
        self.sessions.created.with_label_values(&[policy]).inc();
    }

    /// Counts a session end. `redelivered` is true if another process may have published the end before.
    pub fn session_ended(&self, policy: &str, reason: &str, redelivered: bool) {
        let redelivered = if redelivered { "true" } else { "false" };
        self.sessions
            .ended
            .with_label_values(&[policy, reason, redelivered])
            .inc();
    }

    /// Counts the delivery of a session end to the webhook. `result` is `sent`, `given_up` or `dropped`.
    pub fn count_webhook_delivery(&self, result: &str) {
        self.sessions.webhooks.with_label_values(&[result]).inc();
    }
}
