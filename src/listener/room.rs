use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus::{IntCounter, IntGauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many connections a listener has at once, at the most. One more is closed at once: it costs less than to keep it
/// waiting, and the other listeners nothing.
#[derive(Debug)]
pub struct Room {
    places: Arc<Semaphore>,
    open: IntGauge,
    refused: IntCounter,
    is_full: AtomicBool,
}

/// The place of one connection, for as long as it lasts.
#[derive(Debug)]
pub(super) struct Place {
    _place: OwnedSemaphorePermit,
    open: IntGauge,
}

impl Room {
    /// For so many; `open` shows how many there are, `refused` counts those that were too many.
    #[must_use]
    pub fn new(most: usize, open: IntGauge, refused: IntCounter) -> Self {
        Self {
            places: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            open,
            refused,
            is_full: AtomicBool::new(false),
        }
    }

    /// A place, if there is one.
    pub(super) fn take(&self, listener: &str) -> Option<Place> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.refused.inc();
            if !self.is_full.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    listener,
                    "there are too many connections: more are closed at once"
                );
            }
            return None;
        };
        self.is_full.store(false, Ordering::Relaxed);
        self.open.inc();
        Some(Place {
            _place: place,
            open: self.open.clone(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
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
        let room = Room::new(2, open.clone(), refused.clone());
        let (one, two) = (room.take("check").unwrap(), room.take("check").unwrap());
        assert!(room.take("check").is_none() && room.take("check").is_none());
        assert_eq!((open.get(), refused.get()), (2, 2));
        drop(one);
        assert!(room.take("check").is_some());
        drop(two);
        assert_eq!(open.get(), 0);
    }
}
