use std::time::Duration;

use crate::lock::Mutex;
use crate::session::{Session, SessionId, SessionMap, Timestamp};

/// How long the young generation of a [`RecordCache`] accepts records. The cache keeps a record for at most twice this
/// time.
pub(super) const MAX_GENERATION_AGE: Duration = Duration::from_secs(30);
/// The number of shards. Each shard has its own lock, so that threads seldom wait for each other.
const SHARDS: usize = 16;
/// The average size of a record in bytes, for the size limit. If the records are larger, the cache contains fewer of
/// them.
const MEAN_RECORD_BYTES: usize = 1024;
/// The bytes of a record without its strings.
const FIXED_RECORD_BYTES: usize = 320;

/// A cache of records with a size limit. The cache does not record when a session is read, so that a read is cheap.
///
/// There are two generations. The young generation accepts records until it is full or too old. Then it becomes the old
/// generation, and the cache drops the previous old generation. So the cache drops the oldest records first. If the
/// session of such a record is still in use, Curfew loads the record from the store again.
#[derive(Debug)]
pub(super) struct RecordCache {
    shards: Vec<Mutex<Shard>>,
    /// The largest number of records in one generation of a shard.
    max_sessions: usize,
}

#[derive(Debug)]
struct Shard {
    young: Generation,
    old: Generation,
    /// When the young generation began.
    young_since: Timestamp,
}

#[derive(Debug, Default)]
struct Generation {
    sessions: SessionMap<Session>,
    bytes: usize,
}

impl RecordCache {
    /// Creates a cache for about `sessions` records.
    pub(super) fn new(sessions: usize) -> Self {
        let shard = || {
            Mutex::new(Shard {
                young: Generation::default(),
                old: Generation::default(),
                young_since: Timestamp::from_millis(0),
            })
        };
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            max_sessions: sessions.div_ceil(2 * SHARDS),
        }
    }

    fn shard(&self, id: SessionId) -> &Mutex<Shard> {
        &self.shards[usize::from(id.as_bytes()[0]) % SHARDS]
    }

    /// Returns the record if it is in one of the two generations.
    pub(super) fn get(&self, id: SessionId, now: Timestamp) -> Option<Session> {
        let mut shard = self.shard(id).lock();
        shard.expire(now);
        let Shard { young, old, .. } = &*shard;
        young
            .sessions
            .get(&id)
            .or_else(|| old.sessions.get(&id))
            .cloned()
    }

    pub(super) fn put(&self, id: SessionId, session: Session, now: Timestamp) {
        let mut shard = self.shard(id).lock();
        shard.expire(now);
        shard.remove(id);
        let is_full = shard.young.sessions.len() >= self.max_sessions
            || shard.young.bytes >= self.max_sessions * MEAN_RECORD_BYTES;
        if is_full {
            shard.rotate(now);
        }
        shard.young.bytes += estimate_bytes(&session);
        shard.young.sessions.insert(id, session);
    }

    /// Updates the last activity after a touch was written to the store.
    pub(super) fn touch(&self, id: SessionId, at: Timestamp) {
        let mut shard = self.shard(id).lock();
        let Shard { young, old, .. } = &mut *shard;
        let found = young.sessions.get_mut(&id);
        if let Some(session) = found.or_else(|| old.sessions.get_mut(&id)) {
            session.touch(at);
        }
    }

    pub(super) fn remove(&self, id: SessionId) {
        self.shard(id).lock().remove(id);
    }

    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            (shard.young, shard.old) = Default::default();
        }
    }

    /// Returns the number of records, including expired records.
    pub(super) fn len(&self) -> usize {
        let shards = self.shards.iter().map(|shard| {
            let shard = shard.lock();
            shard.young.sessions.len() + shard.old.sessions.len()
        });
        shards.sum()
    }
}

impl Shard {
    /// Drops expired generations.
    fn expire(&mut self, now: Timestamp) {
        if now < self.young_since.plus(MAX_GENERATION_AGE) {
            return;
        }
        if now >= self.young_since.plus(2 * MAX_GENERATION_AGE) {
            self.young = Generation::default();
        }
        self.rotate(now);
    }

    fn rotate(&mut self, now: Timestamp) {
        self.old = std::mem::take(&mut self.young);
        self.young_since = now;
    }

    fn remove(&mut self, id: SessionId) {
        for generation in [&mut self.young, &mut self.old] {
            if let Some(session) = generation.sessions.remove(&id) {
                generation.bytes -= estimate_bytes(&session);
            }
        }
    }
}

/// Returns the approximate size of a record. A touch does not change this size.
fn estimate_bytes(session: &Session) -> usize {
    let strings = session.subject.as_str().len() + session.policy.as_str().len();
    FIXED_RECORD_BYTES + strings + session.attributes.bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Attributes;
    use crate::testing::{START, session_of};

    fn id(number: u32) -> SessionId {
        let mut bytes = [0; SessionId::LEN];
        bytes[0] = number as u8;
        bytes[12..].copy_from_slice(&number.to_be_bytes());
        SessionId::from_bytes(bytes)
    }

    #[test]
    fn a_record_is_cached_for_one_to_two_generation_ages() {
        let session = session_of("alice", START);
        let seconds_cached = |delay: u64| {
            let (cache, put_at) = (
                RecordCache::new(1000),
                START.plus(Duration::from_secs(delay)),
            );
            // This record is in the same shard, so the young generation of the shard begins at `START`.
            cache.put(id(17), session.clone(), START);
            cache.put(id(1), session.clone(), put_at);
            let ages = (0..100).map(Duration::from_secs);
            let found = ages.take_while(|age| cache.get(id(1), put_at.plus(*age)).is_some());
            found.count() as u64
        };
        assert_eq!(
            [seconds_cached(0), seconds_cached(10), seconds_cached(29)],
            [60, 50, 31]
        );
    }

    #[test]
    fn the_cache_is_bounded_in_records_and_in_bytes() {
        let cache = RecordCache::new(320);
        let small = session_of("alice", START);
        for number in 0..5000 {
            cache.put(id(number), small.clone(), START);
        }
        assert!((160..=320).contains(&cache.len()), "{}", cache.len());
        assert!(
            cache.get(id(4999), START).is_some(),
            "the latest record should stay"
        );
        assert!(cache.get(id(0), START).is_none());
        let cache = RecordCache::new(320);
        let value = "x".repeat(1000);
        let large = Session {
            attributes: Attributes::from_sorted([("x", [&*value; 4])]).unwrap(),
            ..small
        };
        for number in 0..5000 {
            cache.put(id(number), large.clone(), START);
        }
        assert!(cache.len() <= 120, "{}", cache.len());
    }

    #[test]
    fn a_removed_record_frees_its_bytes() {
        let cache = RecordCache::new(32);
        let session = session_of("alice", START);
        cache.put(id(0), session.clone(), START);
        cache.put(id(0), session.clone(), START);
        cache.remove(id(0));
        assert_eq!(cache.len(), 0);
        let bytes = cache.shards.iter().map(|shard| {
            let shard = shard.lock();
            shard.young.bytes + shard.old.bytes
        });
        assert_eq!(bytes.sum::<usize>(), 0);
    }
}
