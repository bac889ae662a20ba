use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use prometheus::{IntCounter, IntGauge};

/// How many connections a listener has at once, or how many requests it answers at once, at the most. One more is turned
/// away at once: that costs less than to keep it waiting, and the other listeners nothing.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    listener: &'static str,
    what: LimitKind,
    most: usize,
    taken: AtomicUsize,
    /// Shows how many there are.
    open: IntGauge,
    /// Counts those that were too many.
    refused: IntCounter,
    /// Whether it was full, and has not been half empty since.
    was_full: AtomicBool,
}

/// What there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// Connections.
    Connections,
    /// Requests that are being answered.
    Requests,
}

/// The place of one of them, for as long as it lasts.
#[derive(Debug)]
pub struct Permit(Arc<Inner>);

impl ConcurrencyLimit {
    /// On `listener` for so many; `open` shows how many there are, `refused` counts those that were too many.
    #[must_use]
    pub fn new(
        listener: &'static str,
        what: LimitKind,
        most: usize,
        (open, refused): (IntGauge, IntCounter),
    ) -> Self {
        Self(Arc::new(Inner {
            listener,
            what,
            most,
            taken: AtomicUsize::new(0),
            open,
            refused,
            was_full: AtomicBool::new(false),
        }))
    }

    /// Room of its own for what may take long, so that it takes none of this: one place for each `part` of these.
    #[must_use]
    pub fn beside(&self, part: usize) -> Self {
        let Inner {
            listener,
            what,
            most,
            open,
            refused,
            ..
        } = &*self.0;
        let shown = (open.clone(), refused.clone());
        Self::new(listener, *what, most.div_ceil(part), shown)
    }

    /// A place, if there is one.
    #[must_use]
    pub fn take(&self) -> Option<Permit> {
        let Inner {
            listener,
            what,
            most,
            taken,
            open,
            refused,
            was_full,
        } = &*self.0;
        let before = taken.fetch_add(1, Ordering::Relaxed);
        if before >= *most {
            taken.fetch_sub(1, Ordering::Relaxed);
            refused.inc();
            // Said once, however long it lasts.
            if !was_full.swap(true, Ordering::Relaxed) {
                match what {
                    LimitKind::Connections => {
                        tracing::warn!(
                            listener,
                            "there are too many connections: more are closed at once"
                        );
                    }
                    LimitKind::Requests => {
                        tracing::warn!(
                            listener,
                            "there is too much to do: more is answered with 503 at once"
                        );
                    }
                }
            }
            return None;
        }
        if before * 2 < *most && was_full.load(Ordering::Relaxed) {
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
    fn one_more_than_there_is_room_for_is_refused() {
        let metrics = Metrics::new().unwrap();
        let (open, refused) = metrics.connections("check");
        let room = ConcurrencyLimit::new(
            "check",
            LimitKind::Connections,
            2,
            (open.clone(), refused.clone()),
        );
        let (one, two) = (room.take().unwrap(), room.take().unwrap());
        assert!(room.take().is_none() && room.take().is_none());
        assert_eq!((open.get(), refused.get()), (2, 2));
        drop(one);
        assert!(room.take().is_some());
        drop(two);
        assert_eq!(open.get(), 0);
    }
}
