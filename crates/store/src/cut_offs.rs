//! The table of cut-offs in the memory of a replica. The cut-off of a subject is a time: all sessions of the subject
//! that started before this time have ended. A million cut-offs take about 24 MB.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::RwLock;
use sha2::{Digest, Sha256};

use crate::session::{Subject, Timestamp};

/// The largest number of cut-offs in Redis and in each replica, without the general cut-off.
pub const MAX_CUT_OFFS: usize = 2_000_000;
/// The number of sorted lists. The first bits of a key choose its list. Keys are hashes, so all lists have about the
/// same length.
const SHARDS: usize = 1 << SHARD_BITS;
/// The number of leading bits of a key that choose its list.
const SHARD_BITS: u32 = 12;
/// How many entries the first step of a search moves away from the expected position.
const FIRST_STEP: usize = 2;
/// When the table is full, it evicts the oldest `1 / EVICTION_DIVISOR` of its entries.
const EVICTION_DIVISOR: usize = 64;
/// A full list grows by `1 / GROWTH_DIVISOR` of its length, so that little reserved memory stays unused.
const GROWTH_DIVISOR: usize = 8;

/// The key of a subject, from [`subject_key`].
pub(super) type SubjectKey = [u8; 16];

/// Returns the key of a subject: 16 bytes of a hash, so that the keys contain no personal data.
pub(super) fn subject_key(subject: &Subject) -> SubjectKey {
    let mut hash = Sha256::new();
    hash.update(b"curfew subject 1\0");
    hash.update(subject.as_str());
    let digest: [u8; 32] = hash.finalize().into();
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    key
}

/// The cut-off of each subject: sessions that started before this time have ended. A cut-off only moves forward.
///
/// The table is bounded. When it is full, one general cut-off replaces the oldest entries. The general cut-off ends the
/// older sessions of every subject, so no revocation is lost. But some sessions end although nobody revoked them. All
/// of them started before the oldest remaining cut-off.
pub(super) struct CutOffs {
    max: usize,
    shards: Box<[RwLock<Vec<Entry>>]>,
    len: AtomicUsize,
    /// The cut-off that applies to every subject, in milliseconds; 0 if there is none.
    general_cut_off: AtomicU64,
}

#[derive(Clone, Copy)]
struct Entry {
    key: SubjectKey,
    at: Timestamp,
}

impl CutOffs {
    /// Creates an empty table with a limit of `max` entries.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            len: AtomicUsize::new(0),
            general_cut_off: AtomicU64::new(0),
        }
    }

    fn shard(&self, key: &SubjectKey) -> &RwLock<Vec<Entry>> {
        let (shard, _) = split_key(key);
        &self.shards[shard]
    }

    /// Returns the cut-off that applies to a subject. While the table is empty, the function computes no hash and
    /// takes no lock.
    pub(super) fn for_subject(&self, subject: &Subject) -> Option<Timestamp> {
        let own = (self.len() > 0)
            .then(|| self.get(&subject_key(subject)))
            .flatten();
        own.max(self.general_cut_off())
    }

    fn get(&self, key: &SubjectKey) -> Option<Timestamp> {
        let shard = self.shard(key).read();
        find_position(&shard, key)
            .ok()
            .map(|position| shard[position].at)
    }

    /// Moves the cut-off of a key forward to the time `at`. Does nothing if this cut-off or the general cut-off is
    /// already later.
    pub(super) fn raise(&self, key: SubjectKey, at: Timestamp) {
        if self.general_cut_off() >= Some(at) {
            return;
        }
        let mut shard = self.shard(&key).write();
        match find_position(&shard, &key) {
            Ok(position) => {
                let cut_off = &mut shard[position].at;
                *cut_off = at.max(*cut_off);
                return;
            }
            Err(position) => {
                if shard.len() == shard.capacity() {
                    let additional = (shard.len() / GROWTH_DIVISOR).max(1);
                    shard.reserve_exact(additional);
                }
                shard.insert(position, Entry { key, at });
            }
        }
        drop(shard);
        if self.len.fetch_add(1, Ordering::Relaxed) >= self.max {
            self.evict_oldest();
        }
    }

    /// Returns the cut-off that applies to every subject.
    pub(super) fn general_cut_off(&self) -> Option<Timestamp> {
        let millis = self.general_cut_off.load(Ordering::Acquire);
        (millis > 0).then_some(Timestamp::from_millis(millis))
    }

    /// Moves the general cut-off forward to the time `at`. Does nothing if the general cut-off is already later.
    pub(super) fn raise_general_cut_off(&self, at: Timestamp) {
        self.general_cut_off
            .fetch_max(at.as_millis(), Ordering::Release);
    }

    /// Removes the entries that are not later than the time `until`. Returns how many entries it removed.
    pub(super) fn forget(&self, until: Timestamp) -> usize {
        let mut removed_count = 0;
        for shard in &self.shards {
            let mut shard = shard.write();
            let before = shard.len();
            shard.retain(|entry| entry.at > until);
            if shard.len() < before {
                shard.shrink_to_fit();
            }
            removed_count += before - shard.len();
        }
        self.len.fetch_sub(removed_count, Ordering::Relaxed);
        removed_count
    }

    /// Evicts the oldest entries, and moves the general cut-off forward so that it covers these entries.
    fn evict_oldest(&self) {
        let mut times = Vec::with_capacity(self.len());
        for shard in &self.shards {
            times.extend(shard.read().iter().map(|entry| entry.at));
        }
        let evicted_count = (times.len() / EVICTION_DIVISOR).max(1);
        if times.is_empty() {
            return;
        }
        let (_, until, _) = times.select_nth_unstable(evicted_count - 1);
        // The general cut-off moves first, so that a concurrent check finds either the entry or the general cut-off.
        self.raise_general_cut_off(*until);
        self.forget(*until);
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(super) const fn max(&self) -> usize {
        self.max
    }

    /// Returns how many bytes of memory the table uses, including reserved capacity.
    pub(super) fn bytes(&self) -> usize {
        let capacities = self.shards.iter().map(|shard| shard.read().capacity());
        SHARDS * size_of::<RwLock<Vec<Entry>>>() + capacities.sum::<usize>() * size_of::<Entry>()
    }
}

/// Returns the shard of a key, and the bits of the key that determine its position in the shard.
fn split_key(key: &SubjectKey) -> (usize, u64) {
    let [a, b, c, d, e, f, g, h, ..] = *key;
    let bits = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    ((bits >> (64 - SHARD_BITS)) as usize, bits << SHARD_BITS)
}

/// Searches a sorted shard for a key (interpolation search). Returns its index, or as an error the index where the
/// key belongs.
///
/// Keys are hashes, so their bits predict their position. A search in a large shard reads two or three cache lines; a
/// binary search would read eight. Each step is twice as long as the step before. So even with keys that an attacker
/// chose, a search takes at most twice as many steps as a binary search.
fn find_position(shard: &[Entry], key: &SubjectKey) -> Result<usize, usize> {
    let (_, bits) = split_key(key);
    let guess = ((u128::from(bits) * shard.len() as u128) >> 64) as usize;
    let (mut low, mut high) = (0, shard.len());
    let mut step = FIRST_STEP;
    if shard.get(guess).is_some_and(|entry| entry.key < *key) {
        low = guess + 1;
        while let Some(entry) = shard.get(low + step) {
            if entry.key >= *key {
                high = low + step + 1;
                break;
            }
            low += step + 1;
            step *= 2;
        }
    } else {
        high = guess.saturating_add(1).min(high);
        while let Some(index) = high.checked_sub(step + 1) {
            if shard[index].key < *key {
                low = index + 1;
                break;
            }
            high = index + 1;
            step *= 2;
        }
    }
    let result = shard[low..high].binary_search_by(|entry| entry.key.cmp(key));
    result.map(|index| low + index).map_err(|index| low + index)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// Makes a key whose bits are spread like those of a hash.
    fn key(number: u32) -> SubjectKey {
        let mut key = [0; 16];
        key[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_be_bytes());
        key[12..].copy_from_slice(&number.to_be_bytes());
        key
    }

    proptest! {
        /// After any sequence of calls of `raise` and `forget`, the table has the same entries as a simple map.
        #[test]
        fn the_table_keeps_the_latest_time_of_each_key(steps in proptest::collection::vec((0_u32..50, 1_u64..100, 0_u8..10), 0..200)) {
            let (table, mut model) = (CutOffs::new(1000), BTreeMap::new());
            for (number, millis, kind) in steps {
                if kind == 0 {
                    let before = model.len();
                    model.retain(|_, time| *time > millis);
                    prop_assert_eq!(table.forget(at(millis)), before - model.len());
                } else {
                    table.raise(key(number), at(millis));
                    let known = model.entry(number).or_insert(millis);
                    *known = millis.max(*known);
                }
            }
            prop_assert_eq!(table.len(), model.len());
            for number in 0..50 {
                prop_assert_eq!(table.get(&key(number)), model.get(&number).map(|millis| at(*millis)));
            }
            prop_assert_eq!(table.general_cut_off(), None);
        }

        /// The table never exceeds its limit. Each cut-off stays in force, as an entry or through the general
        /// cut-off.
        #[test]
        fn a_full_table_loses_no_cut_off(times in proptest::collection::vec(1_u64..10_000, 0..400)) {
            let table = CutOffs::new(100);
            for (number, millis) in (0..).zip(&times) {
                table.raise(key(number), at(*millis));
                prop_assert!(table.len() <= 100);
            }
            for (number, millis) in (0..).zip(&times) {
                let known = table.get(&key(number)).max(table.general_cut_off());
                prop_assert!(known >= Some(at(*millis)), "{number}: {known:?}");
            }
            // The general cut-off is older than every remaining entry.
            let oldest = (0..).zip(&times).filter_map(|(number, _)| table.get(&key(number))).min();
            prop_assert!(oldest.is_none() || table.general_cut_off() < oldest);
        }
    }

    proptest! {
        /// The interpolation search and a binary search return the same position, for evenly
        /// distributed keys and for clustered keys.
        #[test]
        fn the_interpolation_search_equals_a_binary_search(
            keys in proptest::collection::btree_set(prop_oneof![any::<SubjectKey>(), clustered_key()], 0..200),
            searched_keys in proptest::collection::vec(prop_oneof![any::<SubjectKey>(), clustered_key()], 0..50),
        ) {
            let shard: Vec<_> = keys.into_iter().map(|key| Entry { key, at: at(1) }).collect();
            for key in shard.iter().map(|entry| entry.key).chain(searched_keys) {
                let expected = shard.binary_search_by(|entry| entry.key.cmp(&key));
                prop_assert_eq!(find_position(&shard, &key), expected);
            }
        }
    }

    /// Generates keys that are close together, so that the predicted position is wrong.
    fn clustered_key() -> impl Strategy<Value = SubjectKey> {
        (any::<bool>(), any::<u8>()).prop_map(|(first, last)| {
            let mut key = [if first { 0 } else { 0xff }; 16];
            key[15] = last;
            key
        })
    }

    #[test]
    fn an_entry_takes_less_than_32_bytes() {
        const ENTRY_COUNT: u32 = 200_000;
        let table = CutOffs::new(MAX_CUT_OFFS);
        let empty_bytes = table.bytes();
        for number in 0..ENTRY_COUNT {
            table.raise(key(number), at(u64::from(number)));
        }
        let bytes_per_entry = (table.bytes() - empty_bytes) as f64 / f64::from(ENTRY_COUNT);
        assert!((24.0..32.0).contains(&bytes_per_entry), "{bytes_per_entry}");
        assert_eq!(table.len(), ENTRY_COUNT as usize);
    }
}
