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

use super::{LAG, millis};
use crate::redis::keys::Keys;
use crate::redis::wire::Wire;

/// Slots of a cluster.
const SLOTS: u16 = 16_384;
/// Slots for each mark.
const SPAN: u16 = 64;
/// Marks.
const COUNT: usize = (SLOTS / SPAN) as usize;
/// Bytes of the time in a mark, and of the code that authenticates it.
const TIME: usize = 8;
const CODE: usize = 16;

/// How often all marks are looked at, in milliseconds.
const LOOK_MILLIS: u64 = 5_000;

/// What the marks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    Whole,
    Lost,
}

/// The marks of all shards.
pub(super) struct Shards {
    keys: Vec<Vec<u8>>,
    /// The latest time that this process has seen in each mark.
    seen: Vec<AtomicU64>,
    /// When all of them were looked at last, in milliseconds.
    looked: AtomicU64,
}

impl Shards {
    pub(super) fn new(keys: &Keys) -> Self {
        Self {
            keys: keys_by_slot(keys),
            seen: (0..COUNT).map(|_| AtomicU64::new(0)).collect(),
            looked: AtomicU64::new(0),
        }
    }

    /// Looks at the marks around the slot of a key.
    pub(super) async fn look_at(
        &self,
        wire: &Wire,
        secret: &[u8],
        key: &[u8],
    ) -> RedisResult<Looked> {
        let place = usize::from(slot(key) / SPAN);
        self.look(wire, secret, &[place, (place + 1) % COUNT]).await
    }

    /// Whether the last look at all marks, or the last try to write them, was a while ago. Notes that it is now.
    pub(super) fn is_due(&self, now: u64) -> bool {
        let looked = self.looked.load(Ordering::Relaxed);
        let is_due = now >= looked.saturating_add(LOOK_MILLIS);
        if is_due {
            self.looked.store(now, Ordering::Relaxed);
        }
        is_due
    }

    /// Looks at all marks: in any case, or where the last look was a while ago.
    pub(super) async fn look_at_all(
        &self,
        wire: &Wire,
        secret: &[u8],
        now: u64,
        in_any_case: bool,
    ) -> RedisResult<Looked> {
        if !self.is_due(now) && !in_any_case {
            return Ok(Looked::Whole);
        }
        let all: Vec<usize> = (0..COUNT).collect();
        self.look(wire, secret, &all).await
    }

    /// # Errors
    /// Where no shard answers at all.
    async fn look(&self, wire: &Wire, secret: &[u8], places: &[usize]) -> RedisResult<Looked> {
        let asked = places.iter().map(async |place| {
            let (mut wire, mut get) = (wire.clone(), redis::cmd("GET"));
            let get = get.arg(&self.keys[*place]);
            let bytes: RedisResult<Option<Vec<u8>>> = get.query_async(&mut wire).await;
            bytes.map(|bytes| self.is_whole(secret, *place, bytes.as_deref()))
        });
        let (mut answered, mut failure) = (false, None);
        for looked in join_all(asked).await {
            match looked {
                Ok(true) => answered = true,
                Ok(false) => return Ok(Looked::Lost),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if !answered => Err(error),
            _ => Ok(Looked::Whole),
        }
    }

    fn is_whole(&self, secret: &[u8], place: usize, bytes: Option<&[u8]>) -> bool {
        let Some(time) = bytes.and_then(|bytes| time_of(secret, place, bytes)) else {
            return false;
        };
        let seen = self.seen[place].fetch_max(time, Ordering::Relaxed);
        time.saturating_add(millis(LAG)) >= seen
    }

    /// Writes all marks; says whether all shards took theirs.
    pub(super) async fn write(&self, wire: &Wire, secret: &[u8], now: u64) -> bool {
        self.set_all(wire, secret, now, false).await
    }

    /// Writes the time into the marks that there are. One that is missing stays missing, so that it is noticed.
    pub(super) async fn refresh(&self, wire: &Wire, secret: &[u8], now: u64) {
        self.set_all(wire, secret, now, true).await;
    }

    async fn set_all(&self, wire: &Wire, secret: &[u8], now: u64, only_present: bool) -> bool {
        let writes = (0..COUNT).map(async |place| {
            let (mut wire, mut set) = (wire.clone(), redis::cmd("SET"));
            set.arg(&self.keys[place]).arg(mark(secret, place, now));
            if only_present {
                set.arg("XX");
            }
            let written: RedisResult<Option<String>> = set.query_async(&mut wire).await;
            if let Ok(Some(_)) = &written {
                self.seen[place].fetch_max(now, Ordering::Relaxed);
            }
            written.is_ok()
        });
        join_all(writes).await.into_iter().all(|written| written)
    }
}

fn mark(secret: &[u8], place: usize, time: u64) -> Vec<u8> {
    [&time.to_be_bytes()[..], &code(secret, place, time)].concat()
}

/// The time in a mark; `None` if it was not made with the secret.
fn time_of(secret: &[u8], place: usize, mark: &[u8]) -> Option<u64> {
    let (time, written) = mark.split_at_checked(TIME)?;
    let time = u64::from_be_bytes(time.try_into().ok()?);
    bool::from(code(secret, place, time).ct_eq(written)).then_some(time)
}

fn code(secret: &[u8], place: usize, time: u64) -> [u8; CODE] {
    // A key of any length will do.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
        return [0; CODE];
    };
    mac.update(b"curfew shard 1");
    mac.update(&(place as u64).to_be_bytes());
    mac.update(&time.to_be_bytes());
    let full: [u8; 32] = mac.finalize().into_bytes().into();
    let mut code = [0; CODE];
    code.copy_from_slice(&full[..CODE]);
    code
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
fn keys_by_slot(keys: &Keys) -> Vec<Vec<u8>> {
    let mut found: Vec<Option<Vec<u8>>> = vec![None; COUNT];
    let mut missing = COUNT;
    for number in 0_u32.. {
        let tag = number.to_string();
        let slot = crc16::State::<crc16::XMODEM>::calculate(tag.as_bytes()) % SLOTS;
        if slot.is_multiple_of(SPAN) {
            let place = &mut found[usize::from(slot / SPAN)];
            missing -= usize::from(place.is_none());
            place.get_or_insert_with(|| keys.mark(&tag));
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
    fn slots_are_those_of_the_specification() {
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
        let keys = keys_by_slot(&Keys::new("curfew:"));
        assert_eq!(keys.len(), COUNT);
        for (place, key) in keys.iter().enumerate() {
            assert_eq!(usize::from(slot(key)), place * usize::from(SPAN));
        }
        let pinned = keys_by_slot(&Keys::new("{curfew}:"));
        assert!(pinned.iter().all(|key| slot(key) == slot(b"curfew")));
    }

    #[test]
    fn only_who_knows_the_secret_writes_marks() {
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
