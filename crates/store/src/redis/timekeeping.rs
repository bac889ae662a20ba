//! The record of the timeline in Redis, with which replicas agree on decision time (their common time). Each replica
//! reads the record with every health check, and one replica refreshes the record.

use std::sync::Arc;

use redis::RedisResult;

use super::connection::Connection;
use super::keys::Keys;
use super::sealed_value::{SealedValue, StoredValue};
use crate::clock::{AcceptedClock, StoreClock, TimelineAction, TimelineRecord};
use crate::credential::KeyRing;
use crate::live::Live;

/// Keeps the clock of this process in agreement with decision time.
pub(super) struct Timekeeping {
    clock: Arc<StoreClock>,
    record: SealedValue,
}

impl Timekeeping {
    pub(super) fn new(
        clock: Arc<StoreClock>,
        key_ring: Live<KeyRing>,
        keys: &Keys,
        swap: &str,
    ) -> Self {
        Self {
            clock,
            record: SealedValue::new(keys.timeline(), "timeline 1", key_ring, swap),
        }
    }

    pub(super) const fn clock(&self) -> &Arc<StoreClock> {
        &self.clock
    }

    /// Reads the record, and writes it again if the clock of this replica requires a change.
    pub(super) async fn sync(&self, connection: &mut Connection) -> RedisResult<()> {
        let found: StoredValue<TimelineRecord> = self.record.read(connection).await?;
        if let TimelineAction::Write(record) = self.clock.process_record(found.value) {
            // A server that is full or lacks Redis replicas rejects writes, but can still answer reads. So Curfew
            // continues without this write.
            match self.record.replace(connection, &found, &record).await {
                Ok(true) => drop(self.clock.process_record(Some(record))),
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, "could not write the timeline to Redis"),
            }
        }
        Ok(())
    }

    /// Applies an operator's decision about the clocks to all replicas. Returns `false` while the replicas compare
    /// their clocks, or if another replica has changed the record in the meantime.
    pub(super) async fn accept(
        &self,
        connection: &mut Connection,
        accepted: AcceptedClock,
    ) -> RedisResult<bool> {
        let found: StoredValue<TimelineRecord> = self.record.read(connection).await?;
        let Some(record) = self.clock.accept(accepted) else {
            return Ok(false);
        };
        let written = self.record.replace(connection, &found, &record).await?;
        if written {
            drop(self.clock.process_record(Some(record)));
        }
        Ok(written)
    }
}
