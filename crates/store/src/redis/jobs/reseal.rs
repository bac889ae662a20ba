//! Seals (encrypts) records again in the background when the first key of the key ring has changed, so that the
//! operator can remove the former key.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;

use crate::StoreError;
use crate::clock::Stopwatch;
use crate::redis::scan::{self, Walk};
use crate::redis::{RedisStore, record};
use crate::session::{SessionId, Timestamp};
use crate::telemetry::Diagnostics;

/// Interval at which a replica checks whether the keys have changed.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// The time between two walks (reads of all records) if the last walk found records that are sealed with another key
/// than the first. The next walk is necessary because a replica with the old keys may still write such records.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// Interval at which Curfew counts the records of each key again, for `/readyz?verbose`.
const RECOUNT_INTERVAL: Duration = Duration::from_secs(6 * 3600);

/// Maximum number of walks with the same keys, even if each walk finds records that are sealed with other keys.
const MAX_WALKS: u32 = 5;

/// The last walk of this replica over all records.
struct LastWalk {
    /// The names of the keys, joined with commas.
    key_names: String,
    /// How many walks this replica has made with these keys.
    walk_count: u32,
    /// Whether the walk found records that are sealed with another key than the first, so that the next walk must
    /// start soon.
    repeat_soon: bool,
    finished: Stopwatch,
}

impl LastWalk {
    /// Returns whether this walk is recent and used the keys `key_names`. If so, no new walk is due.
    fn is_recent(&self, key_names: &str) -> bool {
        let pause = if self.repeat_soon {
            RETRY_INTERVAL
        } else {
            RECOUNT_INTERVAL
        };
        self.key_names == key_names && self.finished.seconds() < pause.as_secs_f64()
    }
}

/// The note that a replica stores in Redis after a walk: when the next walk with the same keys is due, the names of the
/// keys, and the counts.
struct WalkNote<'a> {
    due: Timestamp,
    key_names: &'a str,
    counts: &'a str,
}

impl<'a> WalkNote<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (due, rest) = text.split_once(' ')?;
        let (key_names, counts) = rest.split_once(' ')?;
        let due = Timestamp::from_millis(due.parse().ok()?);
        Some(Self {
            due,
            key_names,
            counts,
        })
    }
}

/// The number of records that are sealed with each key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SealCount {
    /// The number of records by key name. The entry `not encrypted` is for records of an older version.
    pub by_key: BTreeMap<String, usize>,
    /// The number of records that were sealed with another key than the first when the walk read them.
    pub outdated: usize,
}

impl SealCount {
    /// Returns the counts as text, for example `a1b2c3d4e5f6: 120, 001122334455: 3`, or `no records`.
    #[must_use]
    pub fn summary(&self) -> String {
        if self.by_key.is_empty() {
            return "no records".to_owned();
        }
        let parts = self
            .by_key
            .iter()
            .map(|(key, count)| format!("{key}: {count}"));
        parts.collect::<Vec<_>>().join(", ")
    }
}

impl RedisStore {
    /// Seals records again whenever the keys change, until the caller drops the future. Reports the counts in
    /// `/readyz?verbose`.
    pub(in crate::redis) async fn reseal_when_keys_change(&self, diagnostics: &Diagnostics) {
        let mut last_walk = None;
        loop {
            if let Err(error) = self.reseal_if_due(&mut last_walk, diagnostics).await {
                tracing::debug!(%error, "could not seal the records again with the first key of token.keys; retrying");
            }
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    }

    /// Starts a walk if it is due. While replicas run with different key rings, each replica makes only a few walks, so
    /// that they do not seal each other's records forever.
    async fn reseal_if_due(
        &self,
        last_walk: &mut Option<LastWalk>,
        diagnostics: &Diagnostics,
    ) -> Result<(), StoreError> {
        let ring = self.key_ring.current();
        let key_names = ring.public_ids().collect::<Vec<_>>().join(",");
        let (done_key, lease_key) = (self.keys.progress("sealed"), self.keys.progress("sealing"));
        let note: Option<String> = self
            .send_with_retry(redis::cmd("GET").arg(&done_key))
            .await?;
        let note = note.as_deref().and_then(WalkNote::parse);
        let now = self.clock().store_now();
        if let Some(note) = &note {
            let counts = note.counts;
            diagnostics.set_information("records", vec![format!("under each key: {counts}")]);
            if note.key_names == key_names && now < note.due {
                return Ok(());
            }
        }
        if last_walk
            .as_ref()
            .is_some_and(|last_walk| last_walk.is_recent(&key_names))
        {
            return Ok(());
        }
        if !self.take_lease(&lease_key).await? {
            return Ok(());
        }
        let count = self.seal_all(true).await?;
        let walk_count = last_walk
            .take()
            .filter(|last_walk| last_walk.key_names == key_names);
        let walk_count = walk_count.map_or(0, |last_walk| last_walk.walk_count) + 1;
        let repeat_soon = count.outdated > 0 && walk_count < MAX_WALKS;
        *last_walk = Some(LastWalk {
            key_names: key_names.clone(),
            walk_count,
            repeat_soon,
            finished: Stopwatch::start(),
        });
        let due = now.plus(if repeat_soon {
            RETRY_INTERVAL
        } else {
            RECOUNT_INTERVAL
        });
        let note = format!(
            "{} {key_names} {}, counted {now}",
            due.as_millis(),
            count.summary()
        );
        self.send_with_retry::<()>(redis::cmd("SET").arg(&done_key).arg(note))
            .await?;
        self.send_with_retry::<()>(redis::cmd("DEL").arg(&lease_key))
            .await?;
        if count.outdated > 0 {
            tracing::info!(
                sealed = count.outdated,
                "records sealed again with the first key of token.keys"
            );
        }
        Ok(())
    }

    /// Reads and counts all records. If `reseals` is true, seals each record again that is not sealed with the first
    /// key.
    ///
    /// # Errors
    /// [`StoreError`] if Redis failed. Some records may already be sealed again.
    pub async fn seal_all(&self, reseals: bool) -> Result<SealCount, StoreError> {
        let this = self.with_background_timeout();
        let mut connection = this.managed_connection.acquire(this.budget).await?;
        let mut count = SealCount::default();
        for server in scan::read_servers(&mut connection).await? {
            let mut walk = Walk::new(connection.clone(), &this.keys, &server, None);
            while let Some(batch) = walk.next().await? {
                let sessions = batch.sessions.into_iter();
                for result in join_all(sessions.map(|id| this.reseal_record(id, reseals))).await {
                    let Some((key, outdated)) = result? else {
                        continue;
                    };
                    *count.by_key.entry(key).or_default() += 1;
                    count.outdated += usize::from(outdated);
                }
            }
        }
        Ok(count)
    }

    /// Reads one record. If `reseals` is true and the record is not sealed with the first key, seals the record again.
    /// Returns the name of the key, and whether this key was not the first. Returns `None` if there is no record.
    async fn reseal_record(
        &self,
        id: SessionId,
        reseals: bool,
    ) -> Result<Option<(String, bool)>, StoreError> {
        let mut get = redis::cmd("GET");
        let bytes: Option<Vec<u8>> = self.send_with_retry(get.arg(self.keys.session(id))).await?;
        let Some(bytes) = bytes else { return Ok(None) };
        let ring = self.key_ring.current();
        let key = record::key_name(&bytes, &ring);
        let key = key.unwrap_or_else(|| "not encrypted".to_owned());
        if !record::is_outdated(&bytes, &ring) {
            return Ok(Some((key, false)));
        }
        if reseals {
            let stored = match self.read_record(id).await {
                Ok(Some(stored)) => stored,
                Ok(None) => return Ok(None),
                // The key of the record is no longer in the ring, or somebody changed the record. Curfew leaves such
                // a record as it is.
                Err(StoreError::Unreadable(_)) => return Ok(Some((key, false))),
                Err(error) => return Err(error),
            };
            let record = self.encode(id, &stored.session)?;
            if self.swap_record(id, &stored.bytes, &record).await? {
                let sealed = record::key_name(&record, &ring);
                return Ok(Some((sealed.unwrap_or(key), true)));
            }
        }
        Ok(Some((key, true)))
    }
}
