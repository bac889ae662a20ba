//! The record of the timeline in Redis: read with every heartbeat, and kept fresh by one of the replicas.

use std::sync::Arc;

use redis::{RedisResult, Script};

use super::keys::Keys;
use super::wire::Wire;
use crate::clock::{Accepted, Action, StoreClock, TimelineRecord};
use crate::credential::KeyRing;
use crate::live::Live;

/// What the record is encrypted for, with its version.
const PURPOSE: &str = "timeline 1";

/// Keeps the clock of this process at the time that all replicas agree on.
pub(super) struct Timekeeping {
    clock: Arc<StoreClock>,
    key_ring: Live<KeyRing>,
    key: Vec<u8>,
    swap: Script,
}

impl Timekeeping {
    pub(super) fn new(clock: Arc<StoreClock>, key_ring: Live<KeyRing>, keys: &Keys) -> Self {
        Self {
            clock,
            key_ring,
            key: keys.timeline(),
            swap: Script::new(include_str!("../../../migrations/0012_swap.lua")),
        }
    }

    pub(super) const fn clock(&self) -> &Arc<StoreClock> {
        &self.clock
    }

    /// Reads the record, and writes it where this replica has to.
    pub(super) async fn sync(&self, wire: &mut Wire) -> RedisResult<()> {
        let (bytes, record) = self.read(wire).await?;
        if let Action::Write(record) = self.clock.read(record) {
            // A server that takes no writes now, because it is full or lacks replicas, still answers checks.
            match self.write(wire, &bytes, record).await {
                Ok(true) => drop(self.clock.read(Some(record))),
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, "could not write the timeline"),
            }
        }
        Ok(())
    }

    /// Applies an operator's word for all replicas; `false` while the clocks are being compared, or where
    /// another replica was faster.
    pub(super) async fn accept(&self, wire: &mut Wire, accepted: Accepted) -> RedisResult<bool> {
        let (bytes, _) = self.read(wire).await?;
        let Some(record) = self.clock.accept(accepted) else {
            return Ok(false);
        };
        let written = self.write(wire, &bytes, record).await?;
        if written {
            drop(self.clock.read(Some(record)));
        }
        Ok(written)
    }

    async fn read(&self, wire: &mut Wire) -> RedisResult<(Vec<u8>, Option<TimelineRecord>)> {
        let mut get = redis::cmd("GET");
        let bytes: Option<Vec<u8>> = get.arg(&self.key).query_async(wire).await?;
        let record = bytes.as_ref().and_then(|bytes| self.decode(bytes));
        Ok((bytes.unwrap_or_default(), record))
    }

    async fn write(
        &self,
        wire: &mut Wire,
        expected: &[u8],
        record: TimelineRecord,
    ) -> RedisResult<bool> {
        let Some(bytes) = self.encode(record) else {
            return Ok(false);
        };
        let mut swap = self.swap.key(&self.key);
        swap.arg(expected).arg(bytes).invoke_async(wire).await
    }

    fn encode(&self, record: TimelineRecord) -> Option<Vec<u8>> {
        let plain = postcard::to_stdvec(&record).ok()?;
        let text = self.key_ring.current().encrypt_text(PURPOSE, &plain).ok()?;
        Some(text.into_bytes())
    }

    /// The record; `None` where nobody with a key of the ring wrote it, which is as if there were none.
    fn decode(&self, bytes: &[u8]) -> Option<TimelineRecord> {
        let text = std::str::from_utf8(bytes).ok()?;
        let Ok(plain) = self.key_ring.current().decrypt_text(PURPOSE, text) else {
            tracing::warn!("the timeline in Redis could not be decrypted, and is written anew");
            return None;
        };
        postcard::from_bytes(&plain).ok()
    }
}
