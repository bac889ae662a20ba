use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::front_channel_limiter::FrontChannelLimiter;
use crate::session::Timestamp;

/// How long the ID of a notice stays in the cache. This time is longer than the lifetime of a notice plus the leeway.
const NOTICE_TTL: Duration = Duration::from_secs(3600);
/// The maximum number of notices in the cache. Only issuers can create valid notices, so the cache is rarely full.
const MAX_NOTICES: usize = 100_000;

/// The IDs of recently accepted notices (logout messages of identity providers), so that each notice is accepted once.
///
/// Each process has its own cache. Another process may accept the same notice again, but it ends no further session,
/// because the sessions of the notice have already ended.
#[derive(Default)]
pub struct ReplayCache {
    notices: Mutex<HashMap<[u8; 32], Timestamp>>,
    /// Limits front-channel logouts, which are not signed.
    pub(super) front_channel_limiter: FrontChannelLimiter,
}

/// A notice in progress. If it is dropped without a call of [`PendingNotice::confirm`], the notice is removed from the
/// cache, so that the issuer can send it again after a failure.
pub(super) struct PendingNotice<'a> {
    cache: &'a ReplayCache,
    digest: [u8; 32],
    confirmed: bool,
}

impl ReplayCache {
    /// Adds a notice to the cache. Returns `None` if the cache already contains it.
    pub(super) fn begin(
        &self,
        issuer: &str,
        id: &str,
        now: Timestamp,
    ) -> Option<PendingNotice<'_>> {
        let mut hash = Sha256::new();
        hash.update((issuer.len() as u64).to_be_bytes());
        hash.update(issuer);
        hash.update(id);
        let digest = hash.finalize().into();
        let mut notices = self.notices.lock();
        if notices.len() >= MAX_NOTICES {
            notices.retain(|_, at| now < at.plus(NOTICE_TTL));
        }
        let accepted_at = notices.get(&digest);
        if accepted_at.is_some_and(|at| now < at.plus(NOTICE_TTL)) {
            return None;
        }
        if notices.len() < MAX_NOTICES {
            notices.insert(digest, now);
        }
        Some(PendingNotice {
            cache: self,
            digest,
            confirmed: false,
        })
    }
}

impl PendingNotice<'_> {
    /// Marks the notice as accepted.
    pub(super) fn confirm(mut self) {
        self.confirmed = true;
    }
}

impl Drop for PendingNotice<'_> {
    fn drop(&mut self) {
        if !self.confirmed {
            self.cache.notices.lock().remove(&self.digest);
        }
    }
}
