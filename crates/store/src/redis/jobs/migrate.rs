//! Upgrades records of older versions while checks continue. This version of Curfew reads old and new records.
//!
//! One script call upgrades one record, and repeating the call is harmless. So two processes can migrate at the same
//! time, and an interrupted migration can resume.

use std::time::Duration;

use futures_util::future::join_all;
use redis::RedisResult;

use crate::policy::Policies;
use crate::redis::connection::Connection;
use crate::redis::scan::{self, Server, Walk};
use crate::redis::{ConnectError, RedisStore, record};
use crate::session::{SessionId, State};
use crate::{DeadlineQueue, StoreError};

/// The progress that Curfew stores for a server after it has processed all records of this server.
const DONE_CURSOR: &str = "done";

/// The progress of a migration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Records that were examined.
    pub seen: usize,
    /// Records of an older version. An upgrade converts these records to the new version; a dry run only counts them.
    pub upgraded: usize,
    /// Records that Curfew could not read. It does not change these records.
    pub unreadable: usize,
}

/// What a migration does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migration {
    /// Only counts the records.
    DryRun,
    /// Upgrades the records.
    Upgrade,
}

/// The schema version of the records in Redis, and the schema version that this program writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The schema version in Redis.
    pub found: u64,
    /// The schema version that this program writes.
    pub known: u8,
    /// Whether an upgrade to `known` has begun and not finished.
    pub is_unfinished: bool,
}

impl Schema {
    /// Returns whether records of an older version may exist.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.found < u64::from(self.known) || self.is_unfinished
    }
}

/// The longest time until a replica notices that an upgrade has begun. A replica reads the schema every second, with
/// a timeout of five seconds. After that time, all replicas write the new version.
const SCHEMA_POLL_TIMEOUT: Duration = Duration::from_secs(6);

impl RedisStore {
    /// Checks the schema version in Redis. Writes the version of this program if Redis contains no schema version.
    ///
    /// # Errors
    /// [`ConnectError::NewerSchema`] if the schema is newer than this program.
    pub(in crate::redis) async fn check_schema(
        &self,
        mut connection: Connection,
    ) -> Result<(), ConnectError> {
        let known = record::VERSION;
        let (found, is_unfinished) = self.read_schema(&mut connection).await?;
        if found.is_none() {
            let mut set = redis::cmd("SET");
            set.arg(self.keys.schema()).arg(known).arg("NX");
            // A server that is full or lacks Redis replicas rejects writes, but can still answer reads. So Curfew
            // continues without this write.
            if let Err(error) = set.exec_async(&mut connection).await {
                tracing::warn!(%error, "could not write the schema version to Redis");
            }
        }
        let found = found.unwrap_or_else(|| u64::from(known));
        if found > u64::from(known) {
            return Err(ConnectError::NewerSchema { found, known });
        }
        self.apply_schema_state(found, is_unfinished);
        Ok(())
    }

    /// Reads whether another replica has begun or finished the upgrade.
    pub(in crate::redis) async fn refresh_schema(&self) -> Result<(), StoreError> {
        let mut connection = self.managed_connection.acquire(self.budget).await?;
        let reading = self.read_schema(&mut connection);
        let (found, is_unfinished) = match tokio::time::timeout(self.budget, reading).await {
            Ok(read) => read?,
            Err(_) => {
                return Err(StoreError::Unavailable(
                    "no reply from Redis in time".to_owned(),
                ));
            }
        };
        if let Some(found) = found {
            self.apply_schema_state(found, is_unfinished);
        }
        Ok(())
    }

    fn apply_schema_state(&self, found: u64, is_unfinished: bool) {
        match (found >= u64::from(record::VERSION), is_unfinished) {
            (true, false) => self.upgrade.finish(),
            (true, true) => self.upgrade.begin(),
            (false, _) => {}
        }
    }

    /// Reads the schema version, and whether an upgrade is in progress.
    async fn read_schema(&self, connection: &mut Connection) -> RedisResult<(Option<u64>, bool)> {
        // The schema version must be read first. An upgrade writes its progress before it raises the schema version,
        // and deletes the progress at its end. If the progress were read first, an upgrade that begins between the
        // two reads would look finished.
        let mut get = redis::cmd("GET");
        let found = get.arg(self.keys.schema()).query_async(connection).await?;
        let mut exists = redis::cmd("EXISTS");
        exists.arg(self.progress_key());
        let is_unfinished: bool = exists.query_async(connection).await?;
        Ok((found, is_unfinished))
    }

    /// Reads the schema version of the records.
    ///
    /// # Errors
    /// [`StoreError`] when Redis did not answer.
    pub async fn schema(&self) -> Result<Schema, StoreError> {
        let known = record::VERSION;
        let mut connection = self.managed_connection.acquire(self.budget).await?;
        let (found, is_unfinished) = self.read_schema(&mut connection).await?;
        let found = found.unwrap_or(u64::from(known));
        Ok(Schema {
            found,
            known,
            is_unfinished,
        })
    }

    /// Begins the upgrade, and waits until all replicas have noticed it and write the new version. From then on, no
    /// older program can start.
    async fn begin_upgrade(&self) -> Result<(), StoreError> {
        let schema = self.schema().await?;
        if !schema.is_outdated() {
            return Ok(());
        }
        if !self.upgrade.accepts_plain() {
            return Err(StoreError::Unavailable(
                "store.sealed_only rejects plain records, but the schema version in Redis shows that plain records exist. \
                 If nobody has tampered with the schema version, unset store.sealed_only to upgrade these records"
                    .to_owned(),
            ));
        }
        self.record_upgrade_start().await?;
        let mut raise_version = self.scripts.schema.key(self.keys.schema());
        raise_version.arg(record::VERSION);
        self.send_once::<()>(&raise_version).await?;
        self.upgrade.begin();
        // Curfew also waits if another replica has begun the upgrade, because that may have been only a moment ago.
        tokio::time::sleep(SCHEMA_POLL_TIMEOUT).await;
        Ok(())
    }

    /// Writes to Redis that an upgrade has begun. Curfew does this before it raises the schema version. In the opposite
    /// order, replicas would assume for a moment that the upgrade has finished.
    async fn record_upgrade_start(&self) -> Result<(), StoreError> {
        let mut set = redis::cmd("HSET");
        set.arg(self.progress_key()).arg("begun").arg(1);
        self.send_with_retry(&set).await
    }

    /// Upgrades all records to the version that this program writes. Adds sessions to the deadline queue according to
    /// `policies`. Calls `report` with the progress.
    ///
    /// # Errors
    /// [`StoreError`] when Redis failed. The next call resumes where this call stopped.
    pub async fn migrate(
        &self,
        migration: Migration,
        policies: &Policies,
        mut report: impl FnMut(Progress),
    ) -> Result<Progress, StoreError> {
        let this = self.with_background_timeout();
        if migration == Migration::Upgrade {
            this.begin_upgrade().await?;
        }
        let (mut total, mut is_resuming) = (Progress::default(), true);
        let mut connection = this.managed_connection.acquire(this.budget).await?;
        // The loop repeats until a complete walk (a read of all records) finds no older record, because an older
        // program may write records during a walk, and a cluster may move keys.
        loop {
            let mut old_count = 0;
            for server in scan::read_servers(&mut connection).await? {
                let cursor = match (is_resuming, migration) {
                    (true, Migration::Upgrade) => this.saved_cursor(&server).await?,
                    _ => None,
                };
                if cursor.as_deref() == Some(DONE_CURSOR) {
                    continue;
                }
                let mut walk = Walk::new(connection.clone(), &this.keys, &server, cursor);
                while let Some(batch) = walk.next().await? {
                    let migrations = batch
                        .sessions
                        .iter()
                        .map(|id| this.migrate_record(*id, migration, policies));
                    for result in join_all(migrations).await {
                        total.seen += 1;
                        match result {
                            Ok(is_old) => old_count += usize::from(is_old),
                            Err(StoreError::Unreadable(_)) => total.unreadable += 1,
                            Err(error) => return Err(error),
                        }
                    }
                    if migration == Migration::Upgrade {
                        let cursor = batch.cursor.as_deref().unwrap_or(DONE_CURSOR);
                        this.record_progress(&server, cursor).await?;
                    }
                    report(Progress {
                        upgraded: total.upgraded + old_count,
                        ..total
                    });
                }
            }
            total.upgraded += old_count;
            if migration == Migration::DryRun || (old_count == 0 && !is_resuming) {
                break;
            }
            is_resuming = false;
        }
        if migration == Migration::Upgrade {
            this.finish_upgrade().await?;
        }
        Ok(total)
    }

    /// Upgrades one record; a dry run only examines it. Returns whether the record had an older version.
    async fn migrate_record(
        &self,
        id: SessionId,
        migration: Migration,
        policies: &Policies,
    ) -> Result<bool, StoreError> {
        let Some(stored) = self.read_record(id).await? else {
            return Ok(false);
        };
        let is_old =
            record::version(&stored.bytes).is_some_and(|version| version < record::VERSION);
        if !is_old || migration == Migration::DryRun {
            return Ok(is_old);
        }
        if stored.session.state == State::Live {
            self.enqueue(id, policies.deadline(&stored.session)).await?;
        }
        self.ensure_indexed(id, &stored.session).await?;
        let record = self.encode(id, &stored.session)?;
        // If a check changed the record after it was read, the next walk finds the record again.
        self.swap_record(id, &stored.bytes, &record).await?;
        Ok(true)
    }

    /// Replaces the bytes of a record if they still equal `expected`. Does not change the expiry, which encodes the
    /// last activity. Returns whether the record was replaced.
    pub(in crate::redis) async fn swap_record(
        &self,
        id: SessionId,
        expected: &[u8],
        record: &[u8],
    ) -> Result<bool, StoreError> {
        let mut swap = self.scripts.swap.key(self.keys.session(id));
        swap.arg(expected).arg(record);
        self.send_once(&swap).await
    }

    /// Returns the cursor at which an earlier migration of this server stopped. A restarted server has a new `run_id`,
    /// and therefore no saved cursor.
    async fn saved_cursor(&self, server: &Server) -> Result<Option<String>, StoreError> {
        let mut get = redis::cmd("HGET");
        get.arg(self.progress_key()).arg(&server.run_id);
        self.send_with_retry(&get).await
    }

    async fn record_progress(&self, server: &Server, cursor: &str) -> Result<(), StoreError> {
        let mut set = redis::cmd("HSET");
        set.arg(self.progress_key()).arg(&server.run_id).arg(cursor);
        self.send_with_retry(&set).await
    }

    /// Writes to Redis that the upgrade has finished, because all records have the current version.
    async fn finish_upgrade(&self) -> Result<(), StoreError> {
        self.send_with_retry::<()>(redis::cmd("DEL").arg(self.progress_key()))
            .await?;
        self.upgrade.finish();
        Ok(())
    }

    fn progress_key(&self) -> Vec<u8> {
        self.keys.progress(&format!("record-{}", record::VERSION))
    }
}
