//! Which kinds of objects are known, and which watches fail.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::watch::Kind;
use crate::session::Timestamp;

/// Which kinds of objects are known, and which watches fail.
#[derive(Default)]
pub(super) struct Sync {
    synced: BTreeSet<Kind>,
    /// The last problem of each watch that fails, and since when it fails.
    pub(super) failures: BTreeMap<Kind, (String, Timestamp)>,
}

impl Sync {
    pub(super) fn is_complete(&self) -> bool {
        self.synced.len() == Kind::ALL.len()
    }

    /// Records that all objects of a kind are known. Returns whether they were not known before.
    pub(super) fn synced(&mut self, kind: Kind) -> bool {
        self.failures.remove(&kind);
        self.synced.insert(kind)
    }

    pub(super) fn failed(&mut self, kind: Kind, problem: String, now: Timestamp) {
        let failure = self.failures.entry(kind).or_insert((String::new(), now));
        failure.0 = problem;
    }

    /// For how long the first of the failing watches has failed; zero if all work.
    pub(super) fn lag(&self, now: Timestamp) -> Duration {
        let since = self.failures.values().map(|(_, since)| *since).min();
        since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// Which kinds of objects Curfew has not read yet.
    pub(super) fn waiting(&self) -> Vec<String> {
        let unknown = Kind::ALL.iter().filter(|kind| !self.synced.contains(kind));
        unknown
            .map(|kind| format!("{}: not read yet", kind.plural()))
            .collect()
    }

    pub(super) fn problems(&self) -> impl Iterator<Item = String> {
        self.failures.iter().map(|(kind, (problem, since))| {
            let effect = if self.synced.contains(kind) {
                "the last known objects stay in force"
            } else {
                "checks are denied until they are known, if kubernetes.required"
            };
            let since = since.to_rfc3339_seconds();
            format!("{}: {problem}: {effect}, since {since}", kind.plural())
        })
    }
}
