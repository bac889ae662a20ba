//! The marks of a cluster: one for every 64 slots, which moves with its slot.
//!
//! A shard that has lost its data has lost its marks. A mark holds the time at which it was written, authenticated, so a mark
//! from an older copy is recognised. A shard has a run of 64 slots and more; so of the two marks around a slot, one at
//! least is on the slot's shard.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use hmac::{Hmac, KeyInit, Mac};
use redis::RedisResult;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::{REPLICATION_LAG, millis};
use crate::redis::connection::Connection;
use crate::redis::keys::Keys;

/// Slots of a cluster.
const SLOTS: u16 = 16_384;
/// Slots for each mark.
const SLOTS_PER_MARK: u16 = 64;
/// Marks.
const MARK_COUNT: usize = (SLOTS / SLOTS_PER_MARK) as usize;
/// Bytes of the time in a mark, and of the code that authenticates it.
const TIME_BYTES: usize = 8;
const MAC_BYTES: usize = 16;

/// How often all marks are checked_at at, in milliseconds.
const CHECK_INTERVAL_MILLIS: u64 = 5_000;

/// What the marks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShardState {
    Intact,
    Lost,
}

/// The marks of all shards.
pub(super) struct Shards {
    keys: Vec<Vec<u8>>,
    /// The latest time that this process has seen in each mark.
    seen: Vec<AtomicU64>,
    /// When all of them were checked_at at last, in milliseconds.
    checked_at: AtomicU64,
}

impl Shards {
    pub(super) fn new(keys: &Keys) -> Self {
        Self {
            keys: mark_keys(keys),
            seen: (0..MARK_COUNT).map(|_| AtomicU64::new(0)).collect(),
            checked_at: AtomicU64::new(0),
        }
    }

    /// Looks at the marks around the slot of a key.
    pub(super) async fn check_key(
        &self,
        connection: &Connection,
        secret: &[u8],
        key: &[u8],
    ) -> RedisResult<ShardState> {
        let index = usize::from(slot(key) / SLOTS_PER_MARK);
        self.check(connection, secret, &[index, (index + 1) % MARK_COUNT])
            .await
    }

    /// Whether the last look at all marks, or the last try to write them, was a while ago. Notes that it is now.
    pub(super) fn is_due(&self, now: u64) -> bool {
        let checked_at = self.checked_at.load(Ordering::Relaxed);
        let is_due = now >= checked_at.saturating_add(CHECK_INTERVAL_MILLIS);
        if is_due {
            self.checked_at.store(now, Ordering::Relaxed);
        }
        is_due
    }

    /// Looks at all marks: in any case, or where the last look was a while ago.
    pub(super) async fn check_all(
        &self,
        connection: &Connection,
        secret: &[u8],
        now: u64,
        force: bool,
    ) -> RedisResult<ShardState> {
        if !self.is_due(now) && !force {
            return Ok(ShardState::Intact);
        }
        let all: Vec<usize> = (0..MARK_COUNT).collect();
        self.check(connection, secret, &all).await
    }

    /// # Errors
    /// Where no shard answers at all.
    async fn check(
        &self,
        connection: &Connection,
        secret: &[u8],
        indexes: &[usize],
    ) -> RedisResult<ShardState> {
        let checks = indexes.iter().map(async |index| {
            let (mut connection, mut get) = (connection.clone(), redis::cmd("GET"));
            let get = get.arg(&self.keys[*index]);
            let bytes: RedisResult<Option<Vec<u8>>> = get.query_async(&mut connection).await;
            bytes.map(|bytes| self.is_intact(secret, *index, bytes.as_deref()))
        });
        let (mut answered, mut failure) = (false, None);
        for outcome in join_all(checks).await {
            match outcome {
                Ok(true) => answered = true,
                Ok(false) => return Ok(ShardState::Lost),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if !answered => Err(error),
            _ => Ok(ShardState::Intact),
        }
    }

    fn is_intact(&self, secret: &[u8], index: usize, bytes: Option<&[u8]>) -> bool {
        let Some(time) = bytes.and_then(|bytes| time_of(secret, index, bytes)) else {
            return false;
        };
        let seen = self.seen[index].fetch_max(time, Ordering::Relaxed);
        time.saturating_add(millis(REPLICATION_LAG)) >= seen
    }

    /// Writes all marks; says whether all shards took theirs.
    pub(super) async fn write(&self, connection: &Connection, secret: &[u8], now: u64) -> bool {
        self.set_all(connection, secret, now, false).await
    }

    /// Writes the time into the marks that there are. One that is missing stays missing, so that it is noticed.
    pub(super) async fn refresh(&self, connection: &Connection, secret: &[u8], now: u64) {
        self.set_all(connection, secret, now, true).await;
    }

    async fn set_all(
        &self,
        connection: &Connection,
        secret: &[u8],
        now: u64,
        only_present: bool,
    ) -> bool {
        let writes = (0..MARK_COUNT).map(async |index| {
            let (mut connection, mut set) = (connection.clone(), redis::cmd("SET"));
            set.arg(&self.keys[index]).arg(mark(secret, index, now));
            if only_present {
                set.arg("XX");
            }
            let written: RedisResult<Option<String>> = set.query_async(&mut connection).await;
            if let Ok(Some(_)) = &written {
                self.seen[index].fetch_max(now, Ordering::Relaxed);
            }
            written.is_ok()
        });
        join_all(writes).await.into_iter().all(|written| written)
    }
}

fn mark(secret: &[u8], index: usize, time: u64) -> Vec<u8> {
    [&time.to_be_bytes()[..], &mac(secret, index, time)].concat()
}

/// The time in a mark; `None` if it was not made with the secret.
fn time_of(secret: &[u8], index: usize, mark: &[u8]) -> Option<u64> {
    let (time, written) = mark.split_at_checked(TIME_BYTES)?;
    let time = u64::from_be_bytes(time.try_into().ok()?);
    bool::from(mac(secret, index, time).ct_eq(written)).then_some(time)
}

fn mac(secret: &[u8], index: usize, time: u64) -> [u8; MAC_BYTES] {
    // A key of any length will do.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
        return [0; MAC_BYTES];
    };
    mac.update(b"curfew shard 1");
    mac.update(&(index as u64).to_be_bytes());
    mac.update(&time.to_be_bytes());
    let full: [u8; 32] = mac.finalize().into_bytes().into();
    let mut tag = [0; MAC_BYTES];
    tag.copy_from_slice(&full[..MAC_BYTES]);
    tag
}

/// The slot of a key, by the part in braces where there is one (Redis Cluster specification, "Hash tags").
fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    crc16::State::<crc16::XMODEM>::calculate(tag.unwrap_or(key)) % SLOTS
}

/// A key for each mark, in the first of its slots. Where the prefix has braces, all keys are in one slot, and so are these.
fn mark_keys(keys: &Keys) -> Vec<Vec<u8>> {
    let mut found: Vec<Option<Vec<u8>>> = vec![None; MARK_COUNT];
    let mut missing = MARK_COUNT;
    for number in 0_u32.. {
        let tag = number.to_string();
        let slot = crc16::State::<crc16::XMODEM>::calculate(tag.as_bytes()) % SLOTS;
        if slot.is_multiple_of(SLOTS_PER_MARK) {
            let key = &mut found[usize::from(slot / SLOTS_PER_MARK)];
            missing -= usize::from(key.is_none());
            key.get_or_insert_with(|| keys.mark(&tag));
        }
        if missing == 0 {
            break;
        }
    }
    found.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_match_the_redis_cluster_specification() {
        assert_eq!(slot(b"123456789"), 0x31c3);
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"foo{}{bar}"), slot_of_all(b"foo{}{bar}"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
        assert_eq!(slot(b"foo{bar"), slot_of_all(b"foo{bar"));
    }

    fn slot_of_all(key: &[u8]) -> u16 {
        crc16::State::<crc16::XMODEM>::calculate(key) % SLOTS
    }

    #[test]
    fn every_mark_is_in_the_first_of_its_slots() {
        let keys = mark_keys(&Keys::new("curfew:"));
        assert_eq!(keys.len(), MARK_COUNT);
        for (index, key) in keys.iter().enumerate() {
            assert_eq!(usize::from(slot(key)), index * usize::from(SLOTS_PER_MARK));
        }
        let pinned = mark_keys(&Keys::new("{curfew}:"));
        assert!(pinned.iter().all(|key| slot(key) == slot(b"curfew")));
    }

    #[test]
    fn rejects_marks_made_without_the_secret() {
        let written = mark(b"secret", 3, 1_000);
        assert_eq!(time_of(b"secret", 3, &written), Some(1_000));
        assert_eq!(time_of(b"another", 3, &written), None);
        assert_eq!(time_of(b"secret", 4, &written), None);
        let mut later = written.clone();
        later[7] ^= 1;
        assert_eq!(time_of(b"secret", 3, &later), None);
        assert_eq!(time_of(b"secret", 3, &written[..20]), None);
        assert_eq!(time_of(b"secret", 3, b""), None);
    }
}
