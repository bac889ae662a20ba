//! The times before which subjects' sessions have ended: a sorted set, of which every process has
//! a copy that is looked after every second. It is small: only subjects that were revoked are in it.

use std::collections::HashMap;

use async_trait::async_trait;
use parking_lot::RwLock;
use redis::RedisResult;

use super::RedisStore;
use super::keys::{Keys, subject_name};
use super::wire::Wire;
use crate::clock::Clock;
use crate::session::{Subject, Timestamp};
use crate::store::{NotBefore, Replication, StoreError};

/// A copy of the times.
#[derive(Default)]
pub(super) struct LocalCopy {
    table: RwLock<Table>,
}

#[derive(Default)]
struct Table {
    /// The number of changes when it was read.
    changes: Option<u64>,
    times: HashMap<[u8; 16], Timestamp>,
}

impl Table {
    /// What is known stays known, even where a fail-over has lost it.
    fn note(&mut self, name: [u8; 16], at: Timestamp) {
        let known = self.times.entry(name).or_insert(at);
        *known = at.max(*known);
    }
}

impl LocalCopy {
    /// Reads the times, if they have changed.
    pub(super) async fn refresh(&self, keys: &Keys, mut wire: Wire) -> RedisResult<()> {
        let mut ask = redis::cmd("ZSCORE");
        ask.arg(keys.not_before()).arg("");
        let changes: Option<u64> = ask.query_async(&mut wire).await?;
        if changes == self.table.read().changes {
            return Ok(());
        }
        let mut read = redis::cmd("ZRANGE");
        read.arg(keys.not_before()).arg(0).arg(-1).arg("WITHSCORES");
        let all: Vec<(Vec<u8>, u64)> = read.query_async(&mut wire).await?;
        let mut table = self.table.write();
        table.changes = changes;
        for (name, at) in all {
            if let Ok(name) = name.try_into() {
                table.note(name, Timestamp::from_millis(at));
            }
        }
        Ok(())
    }

    fn note(&self, subject: &Subject, at: Timestamp) {
        let mut table = self.table.write();
        table.note(subject_name(subject), at);
        // Another process may have changed something else meanwhile.
        table.changes = None;
    }

    fn get(&self, subject: &Subject) -> Option<Timestamp> {
        let table = self.table.read();
        if table.times.is_empty() {
            return None;
        }
        table.times.get(&subject_name(subject)).copied()
    }
}

#[async_trait]
impl NotBefore for RedisStore {
    async fn set_not_before(
        &self,
        subject: &Subject,
        at: Timestamp,
        forget: Timestamp,
    ) -> Result<Replication, StoreError> {
        let key = self.keys.not_before();
        let mut note = self.scripts.not_before.key(&key);
        note.arg(&subject_name(subject)[..])
            .arg(at.as_millis())
            .arg(forget.as_millis())
            .arg(self.link.clock().now().as_millis());
        self.once::<()>(&note).await?;
        self.not_before.note(subject, at);
        // Noting it again makes the connection that waits one that has written.
        Ok(self.replication_after(&note, &key).await)
    }

    async fn not_before(&self, subject: &Subject) -> Result<Option<Timestamp>, StoreError> {
        let mut ask = redis::cmd("ZSCORE");
        ask.arg(self.keys.not_before())
            .arg(&subject_name(subject)[..]);
        let at: Option<u64> = self.repeat(&ask).await?;
        Ok(at.map(Timestamp::from_millis))
    }

    fn known_not_before(&self, subject: &Subject) -> Option<Timestamp> {
        self.not_before.get(subject)
    }
}
