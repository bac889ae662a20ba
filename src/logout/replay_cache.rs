use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::front_limit::FrontLimit;
use crate::session::Timestamp;

/// How long a notice is remembered: longer than providers let one live, and than a leeway.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// How many are remembered at the most. Only issuers can make one, so more come from none that works.
const MAX_NOTICES: usize = 100_000;

/// The notices that were taken a moment ago, so that none is taken twice.
///
/// Each process has its own memory. A notice that comes to another once more ends nothing that it did
/// not end before: what it names was over then.
#[derive(Default)]
pub struct ReplayCache {
    notices: Mutex<HashMap<[u8; 32], Timestamp>>,
    /// Bounds the notices of the front channel, which nobody signs.
    pub(super) front: FrontLimit,
}

/// A notice that is being taken. It counts as one that never came, unless it is done.
pub(super) struct Begun<'a> {
    seen: &'a ReplayCache,
    name: [u8; 32],
    done: bool,
}

impl ReplayCache {
    /// Begins to take a notice; `None` for one that came before.
    pub(super) fn begin(&self, issuer: &str, id: &str, now: Timestamp) -> Option<Begun<'_>> {
        let mut hash = Sha256::new();
        hash.update((issuer.len() as u64).to_be_bytes());
        hash.update(issuer);
        hash.update(id);
        let name = hash.finalize().into();
        let mut seen = self.notices.lock();
        if seen.len() >= MAX_NOTICES {
            seen.retain(|_, at| now < at.plus(REMEMBERED));
        }
        let before = seen.get(&name);
        if before.is_some_and(|at| now < at.plus(REMEMBERED)) {
            return None;
        }
        if seen.len() < MAX_NOTICES {
            seen.insert(name, now);
        }
        Some(Begun {
            seen: self,
            name,
            done: false,
        })
    }
}

impl Begun<'_> {
    /// It has been taken.
    pub(super) fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.seen.notices.lock().remove(&self.name);
        }
    }
}
