//! The marks of a cluster: small values, one in every 64th slot, which show whether a shard has lost its data. A mark
//! moves with its slot.
//!
//! A shard that lost its data has lost its marks too. A mark contains the time of its last write, protected by a MAC.
//! So Curfew recognises a mark that comes from an older copy of the shard. Curfew assumes that each shard owns ranges of at least 64 slots.
//! Then at least one of the two marks around a slot is on the same shard as the slot.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use hmac::{Hmac, KeyInit, Mac};
use redis::RedisResult;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::{REPLICATION_LAG, millis};
use crate::redis::connection::Connection;
use crate::redis::keys::Keys;

/// Number of slots of a Redis Cluster.
const SLOT_COUNT: u16 = 16_384;
/// Number of slots that share one mark.
const SLOTS_PER_MARK: u16 = 64;
const MARK_COUNT: usize = (SLOT_COUNT / SLOTS_PER_MARK) as usize;
/// Bytes of the time in a mark.
const TIME_BYTES: usize = 8;
/// Bytes of the message authentication code in a mark.
const MAC_BYTES: usize = 16;

/// Interval at which Curfew checks all marks, in milliseconds.
const CHECK_INTERVAL_MILLIS: u64 = 5_000;

/// Whether the marks show that a shard has lost its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShardState {
    Intact,
    Lost,
}

/// The marks of all shards.
pub(super) struct ShardMarks {
    keys: Vec<Vec<u8>>,
    /// The latest time that this process has read in each mark.
    latest_times: Vec<AtomicU64>,
    /// When the current interval began, in milliseconds: the last time at which this process checked all marks, or
    /// tried to write them.
    checked_at: AtomicU64,
}

impl ShardMarks {
    pub(super) fn new(keys: &Keys) -> Self {
        Self {
            keys: mark_keys(keys),
            latest_times: (0..MARK_COUNT).map(|_| AtomicU64::new(0)).collect(),
            checked_at: AtomicU64::new(0),
        }
    }

    /// Checks the marks around the slot of a key.
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

    /// Returns whether the current interval has passed, so that Curfew must check all marks, or try to write them. If
    /// so, a new interval starts at the time `now`.
    pub(super) fn start_interval_if_due(&self, now: u64) -> bool {
        let checked_at = self.checked_at.load(Ordering::Relaxed);
        let is_due = now >= checked_at.saturating_add(CHECK_INTERVAL_MILLIS);
        if is_due {
            self.checked_at.store(now, Ordering::Relaxed);
        }
        is_due
    }

    /// Checks all marks if the current interval has passed, or if `force` is set.
    pub(super) async fn check_all(
        &self,
        connection: &Connection,
        secret: &[u8],
        now: u64,
        force: bool,
    ) -> RedisResult<ShardState> {
        if !self.start_interval_if_due(now) && !force {
            return Ok(ShardState::Intact);
        }
        let all: Vec<usize> = (0..MARK_COUNT).collect();
        self.check(connection, secret, &all).await
    }

    /// Checks the marks with these indexes.
    ///
    /// # Errors
    /// The last error if no shard answered.
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
        let (mut has_answer, mut last_error) = (false, None);
        for outcome in join_all(checks).await {
            match outcome {
                Ok(true) => has_answer = true,
                Ok(false) => return Ok(ShardState::Lost),
                Err(error) => last_error = Some(error),
            }
        }
        match last_error {
            Some(error) if !has_answer => Err(error),
            _ => Ok(ShardState::Intact),
        }
    }

    fn is_intact(&self, secret: &[u8], index: usize, bytes: Option<&[u8]>) -> bool {
        let Some(time) = bytes.and_then(|bytes| authenticated_time(secret, index, bytes)) else {
            return false;
        };
        let previous = self.latest_times[index].fetch_max(time, Ordering::Relaxed);
        time.saturating_add(millis(REPLICATION_LAG)) >= previous
    }

    /// Writes all marks. Returns whether all shards accepted them.
    pub(super) async fn write(&self, connection: &Connection, secret: &[u8], now: u64) -> bool {
        self.set_all(connection, secret, now, false).await
    }

    /// Writes the time into the existing marks. Does not create a missing mark, so that Curfew notices that the
    /// mark is missing.
    pub(super) async fn refresh(&self, connection: &Connection, secret: &[u8], now: u64) {
        self.set_all(connection, secret, now, true).await;
    }

    async fn set_all(
        &self,
        connection: &Connection,
        secret: &[u8],
        now: u64,
        only_existing: bool,
    ) -> bool {
        let writes = (0..MARK_COUNT).map(async |index| {
            let (mut connection, mut set) = (connection.clone(), redis::cmd("SET"));
            set.arg(&self.keys[index])
                .arg(encode_mark(secret, index, now));
            if only_existing {
                set.arg("XX");
            }
            let written: RedisResult<Option<String>> = set.query_async(&mut connection).await;
            if let Ok(Some(_)) = &written {
                self.latest_times[index].fetch_max(now, Ordering::Relaxed);
            }
            written.is_ok()
        });
        join_all(writes).await.into_iter().all(|written| written)
    }
}

fn encode_mark(secret: &[u8], index: usize, time: u64) -> Vec<u8> {
    [&time.to_be_bytes()[..], &compute_mac(secret, index, time)].concat()
}

/// Returns the time in a mark, or `None` if the mark was not authenticated with `secret`.
fn authenticated_time(secret: &[u8], index: usize, mark: &[u8]) -> Option<u64> {
    let (time, tag) = mark.split_at_checked(TIME_BYTES)?;
    let time = u64::from_be_bytes(time.try_into().ok()?);
    bool::from(compute_mac(secret, index, time).ct_eq(tag)).then_some(time)
}

fn compute_mac(secret: &[u8], index: usize, time: u64) -> [u8; MAC_BYTES] {
    // This error cannot occur, because HMAC accepts keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
        return [0; MAC_BYTES];
    };
    mac.update(b"curfew shard 1");
    mac.update(&(index as u64).to_be_bytes());
    mac.update(&time.to_be_bytes());
    let digest: [u8; 32] = mac.finalize().into_bytes().into();
    let mut tag = [0; MAC_BYTES];
    tag.copy_from_slice(&digest[..MAC_BYTES]);
    tag
}

/// Computes the slot of a key. If the key has a hash tag in braces, only the tag counts (Redis Cluster specification,
/// "Hash tags").
fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    crc16::State::<crc16::XMODEM>::calculate(tag.unwrap_or(key)) % SLOT_COUNT
}

/// Makes a key for each mark, in the first slot of its range. If the prefix has a hash tag, all keys of Curfew,
/// including the marks, are in one slot.
fn mark_keys(keys: &Keys) -> Vec<Vec<u8>> {
    let mut mark_keys: Vec<Option<Vec<u8>>> = vec![None; MARK_COUNT];
    let mut missing = MARK_COUNT;
    for number in 0_u32.. {
        let tag = number.to_string();
        let slot = crc16::State::<crc16::XMODEM>::calculate(tag.as_bytes()) % SLOT_COUNT;
        if slot.is_multiple_of(SLOTS_PER_MARK) {
            let key = &mut mark_keys[usize::from(slot / SLOTS_PER_MARK)];
            missing -= usize::from(key.is_none());
            key.get_or_insert_with(|| keys.mark(&tag));
        }
        if missing == 0 {
            break;
        }
    }
    mark_keys.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_match_the_redis_cluster_specification() {
        assert_eq!(slot(b"123456789"), 0x31c3);
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"foo{}{bar}"), slot_without_hash_tag(b"foo{}{bar}"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
        assert_eq!(slot(b"foo{bar"), slot_without_hash_tag(b"foo{bar"));
    }

    fn slot_without_hash_tag(key: &[u8]) -> u16 {
        crc16::State::<crc16::XMODEM>::calculate(key) % SLOT_COUNT
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
        let mark = encode_mark(b"secret", 3, 1_000);
        assert_eq!(authenticated_time(b"secret", 3, &mark), Some(1_000));
        assert_eq!(authenticated_time(b"another", 3, &mark), None);
        assert_eq!(authenticated_time(b"secret", 4, &mark), None);
        let mut later = mark.clone();
        later[7] ^= 1;
        assert_eq!(authenticated_time(b"secret", 3, &later), None);
        assert_eq!(authenticated_time(b"secret", 3, &mark[..20]), None);
        assert_eq!(authenticated_time(b"secret", 3, b""), None);
    }
}
