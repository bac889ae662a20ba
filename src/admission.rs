//! Admission: permits for open connections and for requests in flight. Work without a permit is refused at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use prometheus::{IntCounter, IntGauge};

/// The limit on a listener's open connections or requests in flight. Above the limit, Curfew refuses new connections or
/// requests at once, because a refusal costs less than a queue. Each listener has its own limit, so an overload of one
/// listener does not use the permits of another.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    listener: &'static str,
    kind: LimitKind,
    max: usize,
    taken: AtomicUsize,
    /// Gauge of the permits in use.
    open: IntGauge,
    /// Counter of refused connections or requests.
    refused: IntCounter,
    /// Set when the limit is reached, and cleared when fewer than half of the permits are in use. While it is set, a
    /// refusal writes no warning.
    was_full: AtomicBool,
}

/// What a permit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// Open connections.
    Connections,
    /// Requests in flight.
    Requests,
}

/// The right to keep one connection or answer one request. Dropping the permit returns it.
#[derive(Debug)]
pub struct Permit(Arc<Inner>);

impl ConcurrencyLimit {
    /// Creates a limit of `max` for `listener`. `open` shows the permits in use, `refused` counts refusals.
    #[must_use]
    pub fn new(
        listener: &'static str,
        kind: LimitKind,
        max: usize,
        (open, refused): (IntGauge, IntCounter),
    ) -> Self {
        Self(Arc::new(Inner {
            listener,
            kind,
            max,
            taken: AtomicUsize::new(0),
            open,
            refused,
            was_full: AtomicBool::new(false),
        }))
    }

    /// Creates a separate limit for slow requests, with one permit for each `divisor` permits of this limit.
    #[must_use]
    pub fn limit_for_slow_requests(&self, divisor: usize) -> Self {
        let Inner {
            listener,
            kind,
            max,
            open,
            refused,
            ..
        } = &*self.0;
        let permit_metrics = (open.clone(), refused.clone());
        Self::new(listener, *kind, max.div_ceil(divisor), permit_metrics)
    }

    /// Takes a permit; `None` if all are in use.
    #[must_use]
    pub fn take(&self) -> Option<Permit> {
        let Inner {
            listener,
            kind,
            max,
            taken,
            open,
            refused,
            was_full,
        } = &*self.0;
        let before = taken.fetch_add(1, Ordering::Relaxed);
        if before >= *max {
            taken.fetch_sub(1, Ordering::Relaxed);
            refused.inc();
            // Warn once, until fewer than half of the permits are in use again.
            if !was_full.swap(true, Ordering::Relaxed) {
                match kind {
                    LimitKind::Connections => {
                        tracing::warn!(
                            listener,
                            "connection limit reached (listen.max_connections); closing new connections"
                        );
                    }
                    LimitKind::Requests => {
                        tracing::warn!(
                            listener,
                            "request limit reached (listen.max_in_flight); answering new requests with 503"
                        );
                    }
                }
            }
            return None;
        }
        if before * 2 < *max && was_full.load(Ordering::Relaxed) {
            was_full.store(false, Ordering::Relaxed);
        }
        open.inc();
        Some(Permit(Arc::clone(&self.0)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
        self.0.open.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn a_request_over_the_limit_is_refused() {
        let metrics = Metrics::new().unwrap();
        let (open, refused) = metrics.connections("check");
        let limit = ConcurrencyLimit::new(
            "check",
            LimitKind::Connections,
            2,
            (open.clone(), refused.clone()),
        );
        let (one, two) = (limit.take().unwrap(), limit.take().unwrap());
        assert!(limit.take().is_none() && limit.take().is_none());
        assert_eq!((open.get(), refused.get()), (2, 2));
        drop(one);
        assert!(limit.take().is_some());
        drop(two);
        assert_eq!(open.get(), 0);
    }
}
