use std::time::Duration;

use crate::lock::Mutex;
use crate::session::{Session, SessionId, SessionMap, Timestamp};

/// How long a generation takes in sessions; a session is kept for twice as long at the most.
pub(super) const GENERATION: Duration = Duration::from_secs(30);
/// In how many parts the sessions are, so that the threads seldom wait for each other.
const SHARDS: usize = 16;
/// The most bytes that sessions have in the mean: where they are larger, fewer are kept.
const MEAN_BYTES: usize = 1024;
/// What a session takes besides its texts.
const BARE_BYTES: usize = 320;

/// Records that the store has shown, each for a while.
///
/// Nothing is noted when a record is read. There are two generations of them: the younger takes new
/// ones in until it is full or its time is over, then it becomes the older, whose records are given
/// up. So the oldest go first, and a session in use is looked up in the store again from time to
/// time.
#[derive(Debug)]
pub(super) struct RecordCache {
    shards: Vec<Mutex<Shard>>,
    /// The most sessions in one generation of a shard.
    room: usize,
}

#[derive(Debug)]
struct Shard {
    young: Generation,
    old: Generation,
    /// When the younger one began.
    began: Timestamp,
}

#[derive(Debug, Default)]
struct Generation {
    sessions: SessionMap<Session>,
    bytes: usize,
}

impl RecordCache {
    /// Room for about `sessions`.
    pub(super) fn new(sessions: usize) -> Self {
        let shard = || {
            Mutex::new(Shard {
                young: Generation::default(),
                old: Generation::default(),
                began: Timestamp::from_millis(0),
            })
        };
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            room: sessions.div_ceil(2 * SHARDS),
        }
    }

    fn shard(&self, id: SessionId) -> &Mutex<Shard> {
        &self.shards[usize::from(id.as_bytes()[0]) % SHARDS]
    }

    /// The record, where it was put here less than two generations ago.
    pub(super) fn get(&self, id: SessionId, now: Timestamp) -> Option<Session> {
        let mut shard = self.shard(id).lock();
        shard.age(now);
        let Shard { young, old, .. } = &*shard;
        young
            .sessions
            .get(&id)
            .or_else(|| old.sessions.get(&id))
            .cloned()
    }

    pub(super) fn put(&self, id: SessionId, session: Session, now: Timestamp) {
        let mut shard = self.shard(id).lock();
        shard.age(now);
        shard.remove(id);
        let full =
            shard.young.sessions.len() >= self.room || shard.young.bytes >= self.room * MEAN_BYTES;
        if full {
            shard.turn(now);
        }
        shard.young.bytes += bytes(&session);
        shard.young.sessions.insert(id, session);
    }

    /// Notes activity that the store knows of.
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

    /// How many sessions there are, those whose time is over included.
    pub(super) fn len(&self) -> usize {
        let shards = self.shards.iter().map(|shard| {
            let shard = shard.lock();
            shard.young.sessions.len() + shard.old.sessions.len()
        });
        shards.sum()
    }
}

impl Shard {
    /// Ends the generations whose time is over.
    fn age(&mut self, now: Timestamp) {
        if now < self.began.plus(GENERATION) {
            return;
        }
        if now >= self.began.plus(2 * GENERATION) {
            self.young = Generation::default();
        }
        self.turn(now);
    }

    fn turn(&mut self, now: Timestamp) {
        self.old = std::mem::take(&mut self.young);
        self.began = now;
    }

    fn remove(&mut self, id: SessionId) {
        for generation in [&mut self.young, &mut self.old] {
            if let Some(session) = generation.sessions.remove(&id) {
                generation.bytes -= bytes(&session);
            }
        }
    }
}

/// About how many bytes a record takes. What is noted of it later doesn't change that.
fn bytes(session: &Session) -> usize {
    let texts = session.subject.as_str().len() + session.policy.as_str().len();
    BARE_BYTES + texts + session.attributes.bytes()
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
    fn a_record_is_kept_for_one_generation_at_least_and_two_at_most() {
        let session = session_of("alice", START);
        let kept = |late: u64| {
            let (near, put) = (
                RecordCache::new(1000),
                START.plus(Duration::from_secs(late)),
            );
            // In the same shard.
            near.put(id(17), session.clone(), START);
            near.put(id(1), session.clone(), put);
            let ages = (0..100).map(Duration::from_secs);
            let found = ages.take_while(|age| near.get(id(1), put.plus(*age)).is_some());
            found.count() as u64
        };
        assert_eq!([kept(0), kept(10), kept(29)], [60, 50, 31]);
    }

    #[test]
    fn it_is_bounded_in_number_and_in_bytes() {
        let near = RecordCache::new(320);
        let small = session_of("alice", START);
        for number in 0..5000 {
            near.put(id(number), small.clone(), START);
        }
        assert!((160..=320).contains(&near.len()), "{}", near.len());
        assert!(near.get(id(4999), START).is_some(), "the youngest stays");
        assert!(near.get(id(0), START).is_none());
        let near = RecordCache::new(320);
        let value = "x".repeat(1000);
        let large = Session {
            attributes: Attributes::sorted([("x", [&*value; 4])]).unwrap(),
            ..small
        };
        for number in 0..5000 {
            near.put(id(number), large.clone(), START);
        }
        assert!(near.len() <= 120, "{}", near.len());
    }

    #[test]
    fn what_is_removed_takes_no_room() {
        let near = RecordCache::new(32);
        let session = session_of("alice", START);
        near.put(id(0), session.clone(), START);
        near.put(id(0), session.clone(), START);
        near.remove(id(0));
        assert_eq!(near.len(), 0);
        let bytes = near.shards.iter().map(|shard| {
            let shard = shard.lock();
            shard.young.bytes + shard.old.bytes
        });
        assert_eq!(bytes.sum::<usize>(), 0);
    }
}
