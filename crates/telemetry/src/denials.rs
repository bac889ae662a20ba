use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::audit::{self, DeniedRequest};
use crate::session::{DenyReason, Timestamp};

/// Maximum number of denials with an event of their own, for each second and reason. This limit applies to requests
/// without a genuine credential. It is low, because any client can send such requests.
const MAX_ANONYMOUS_PER_WINDOW: u64 = 10;
/// The same limit for requests with a genuine credential.
const MAX_GENUINE_PER_WINDOW: u64 = 100;
/// The period for which denials are counted. Each period starts with counts of zero.
const WINDOW: Duration = Duration::from_secs(1);

/// Writes denials to the audit log, up to a limit for each second and reason. For the denials above the limit, this
/// type writes one event with their count, and with the first of these denials as an example. Without the limit, a
/// client with forged credentials could fill the log.
#[derive(Debug, Default)]
pub struct DenialLog(Mutex<HashMap<(DenyReason, bool), DenialWindow>>);

/// The denials of the current second for one reason, either with or without a genuine credential.
#[derive(Debug, Default)]
struct DenialWindow {
    written: u64,
    aggregated: Option<AggregatedDenials>,
}

/// The denials of one second without an event of their own.
#[derive(Clone, Debug)]
pub(super) struct AggregatedDenials {
    pub(super) count: u64,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) contract: &'static str,
    pub(super) host: Option<String>,
    pub(super) peer: Option<IpAddr>,
}

impl DenialLog {
    /// Logs a denial. Above the limit, only counts the denial.
    pub fn record(&self, denied: &DeniedRequest<'_>, reason: DenyReason, now: Timestamp) {
        let is_genuine = denied.session.is_some();
        let max_written = if is_genuine {
            MAX_GENUINE_PER_WINDOW
        } else {
            MAX_ANONYMOUS_PER_WINDOW
        };
        let mut windows = self.0.lock();
        let window = windows.entry((reason, is_genuine)).or_default();
        if window.written < max_written {
            window.written += 1;
            drop(windows);
            audit::session_denied(denied, reason);
            return;
        }
        let aggregated = window.aggregated.get_or_insert_with(|| AggregatedDenials {
            count: 0,
            first: now,
            last: now,
            contract: denied.contract,
            host: denied.host.map(str::to_owned),
            peer: denied.peer,
        });
        aggregated.count += 1;
        aggregated.last = now;
    }

    /// Logs the counts, and then sets them to zero.
    pub fn flush(&self) {
        let windows = std::mem::take(&mut *self.0.lock());
        for ((reason, is_genuine), window) in windows {
            if let Some(aggregated) = window.aggregated {
                audit::denials_aggregated(&aggregated, reason, is_genuine);
            }
        }
    }

    /// Calls [`flush`](Self::flush) every second until `stop` is cancelled, and then once more.
    pub async fn run(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(WINDOW);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.flush();
        }
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::START;

    fn denied() -> DeniedRequest<'static> {
        DeniedRequest {
            contract: "auth-request",
            session: None,
            subject: None,
            address: None,
            host: Some("app.example.com"),
            path: Some(b"/orders"),
            method: Some("GET"),
            rule: None,
            peer: None,
            detail: None,
        }
    }

    #[test]
    fn denials_above_the_limit_are_counted() {
        let log = DenialLog::default();
        for second in 0..3 {
            for _ in 0..1000 {
                let now = START.plus(Duration::from_secs(second));
                log.record(&denied(), DenyReason::InvalidCredential, now);
            }
            log.record(&denied(), DenyReason::MalformedRequest, START);
            let windows = log.0.lock();
            let window = &windows[&(DenyReason::InvalidCredential, false)];
            let aggregated = window.aggregated.as_ref().unwrap();
            assert_eq!(
                (window.written, aggregated.count),
                (MAX_ANONYMOUS_PER_WINDOW, 990)
            );
            assert_eq!(aggregated.host.as_deref(), Some("app.example.com"));
            let other = &windows[&(DenyReason::MalformedRequest, false)];
            assert!(other.aggregated.is_none());
            drop(windows);
            log.flush();
            assert!(log.0.lock().is_empty());
        }
    }
}
