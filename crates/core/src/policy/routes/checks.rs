//! When checks have arrived for the routes of a cluster, so that a report can name the routes without checks.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::session::Timestamp;

/// When the last checks arrived for a rule of a route and one of its hosts. All entries of the rule share one value, and
/// checks change it without a lock.
#[derive(Debug)]
pub struct RouteChecks {
    /// Stands for the route, the host, the path and the method. All replicas use the same numbers.
    pub id: u64,
    certain: AtomicU32,
    possible: AtomicU32,
}

/// When the last checks arrived, in minutes since 1970. 0 means never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckTimes {
    /// The last check that can only be for this route.
    pub certain: u32,
    /// The last check that can be for this route or for another one.
    pub possible: u32,
}

impl CheckTimes {
    /// The minute of a time.
    #[must_use]
    pub fn minute(at: Timestamp) -> u32 {
        u32::try_from(at.as_millis() / 60_000).unwrap_or(u32::MAX)
    }

    /// The time of a minute.
    #[must_use]
    pub fn time(minute: u32) -> Timestamp {
        Timestamp::from_millis(u64::from(minute) * 60_000)
    }

    /// The later times of both.
    #[must_use]
    pub fn latest(self, other: Self) -> Self {
        Self {
            certain: self.certain.max(other.certain),
            possible: self.possible.max(other.possible),
        }
    }

    /// Whether no check has arrived.
    #[must_use]
    pub fn is_never(self) -> bool {
        self == Self::default()
    }
}

impl RouteChecks {
    /// No check has arrived yet.
    #[must_use]
    pub const fn new(id: u64) -> Self {
        Self {
            id,
            certain: AtomicU32::new(0),
            possible: AtomicU32::new(0),
        }
    }

    /// The times of the last checks.
    #[must_use]
    pub fn times(&self) -> CheckTimes {
        CheckTimes {
            certain: self.certain.load(Ordering::Relaxed),
            possible: self.possible.load(Ordering::Relaxed),
        }
    }

    /// Records times that can be later than the known ones. Writes at most once a minute, because many cores share the
    /// memory.
    pub fn record(&self, times: CheckTimes) {
        for (known, new) in [
            (&self.certain, times.certain),
            (&self.possible, times.possible),
        ] {
            if known.load(Ordering::Relaxed) < new {
                known.fetch_max(new, Ordering::Relaxed);
            }
        }
    }
}

/// The routes that a request can belong to.
#[derive(Default)]
pub(super) struct Candidates<'a> {
    first: Option<(&'a RouteChecks, bool)>,
    others: Vec<&'a RouteChecks>,
}

impl<'a> Candidates<'a> {
    /// Adds a route. `is_certain` says whether its proxy chooses it for certain.
    pub(super) fn add(&mut self, route: &'a RouteChecks, is_certain: bool) {
        match &mut self.first {
            None => self.first = Some((route, is_certain)),
            Some((first, first_is_certain)) if std::ptr::eq(*first, route) => {
                *first_is_certain |= is_certain;
            }
            Some(_) => self.others.push(route),
        }
    }

    /// Records a check. It is certain if there is only one route.
    pub(super) fn record(self, minute: u32) {
        let certain = CheckTimes {
            certain: minute,
            possible: 0,
        };
        let possible = CheckTimes {
            certain: 0,
            possible: minute,
        };
        match self.first {
            Some((route, true)) if self.others.is_empty() => route.record(certain),
            Some((route, _)) => route.record(possible),
            None => {}
        }
        for route in self.others {
            route.record(possible);
        }
    }
}
