//! Records of an older version are upgraded while checks go on: this program reads both.
//!
//! A step is made record by record, each by one script, and may be made twice; so two processes
//! can be at it at once, and one that was stopped half-way goes on where it was.

use std::time::Duration;

use futures_util::future::join_all;
use redis::RedisResult;

use super::connection::Connection;
use super::scan::{self, Server, Walk};
use super::{ConnectError, RedisStore, record};
use crate::policy::Policies;
use crate::session::{SessionId, State};
use crate::{DeadlineQueue, StoreError};

/// What a server's progress is when all of its records have been looked at.
const DONE: &str = "done";

/// How far a migration has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Records that were looked at.
    pub seen: usize,
    /// Records that are of an older version, and have been upgraded unless nothing is to be
    /// changed.
    pub upgraded: usize,
    /// Records that can't be read, which are left as they are.
    pub unreadable: usize,
}

/// What is to be done to the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migration {
    /// Nothing: only count.
    DryRun,
    /// Upgrade them.
    Upgrade,
}

/// The schema that the records follow, and the one that this program writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schema {
    /// What the records follow.
    pub found: u64,
    /// What this program writes.
    pub known: u8,
    /// Whether an upgrade to it has begun, and has not finished.
    pub is_unfinished: bool,
}

impl Schema {
    /// Whether records of an older version may be left.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.found < u64::from(self.known) || self.is_unfinished
    }
}

/// How long replicas may take to see that an upgrade has begun: they look every second, for at most five. Then all of them
/// write the new version.
const SCHEMA_POLL_TIMEOUT: Duration = Duration::from_secs(6);

impl RedisStore {
    /// Looks at the schema in Redis; ours is written where there is none.
    ///
    /// # Errors
    /// [`ConnectError::NewerSchema`] for one that is newer than this program.
    pub(super) async fn check_schema(
        &self,
        mut connection: Connection,
    ) -> Result<(), ConnectError> {
        let known = record::VERSION;
        let (found, is_unfinished) = self.read_schema(&mut connection).await?;
        if found.is_none() {
            let mut set = redis::cmd("SET");
            set.arg(self.keys.schema()).arg(known).arg("NX");
            // A server that takes no writes now, because it is full or lacks replicas, still
            // answers checks.
            if let Err(error) = set.exec_async(&mut connection).await {
                tracing::warn!(%error, "the schema could not be written");
            }
        }
        let found = found.unwrap_or_else(|| u64::from(known));
        if found > u64::from(known) {
            return Err(ConnectError::NewerSchema { found, known });
        }
        self.follow_schema(found, is_unfinished);
        Ok(())
    }

    /// Looks whether another replica has begun or finished the upgrade.
    pub(super) async fn refresh_schema(&self) -> Result<(), StoreError> {
        let mut connection = self.manager.connection(self.budget).await?;
        let reading = self.read_schema(&mut connection);
        let (found, is_unfinished) = match tokio::time::timeout(self.budget, reading).await {
            Ok(read) => read?,
            Err(_) => return Err(StoreError::Unavailable("no answer".to_owned())),
        };
        if let Some(found) = found {
            self.follow_schema(found, is_unfinished);
        }
        Ok(())
    }

    fn follow_schema(&self, found: u64, is_unfinished: bool) {
        match (found >= u64::from(record::VERSION), is_unfinished) {
            (true, false) => self.upgrade.finish(),
            (true, true) => self.upgrade.begin(),
            (false, _) => {}
        }
    }

    /// The schema, and whether an upgrade to ours is under way.
    async fn read_schema(&self, connection: &mut Connection) -> RedisResult<(Option<u64>, bool)> {
        // In this order: the progress is noted before the schema is raised, and deleted at the end. The other way round, an
        // upgrade that begins in between would look finished.
        let mut get = redis::cmd("GET");
        let found = get.arg(self.keys.schema()).query_async(connection).await?;
        let mut ask = redis::cmd("EXISTS");
        let is_unfinished: bool = ask.arg(self.progress()).query_async(connection).await?;
        Ok((found, is_unfinished))
    }

    /// The schema that the records follow.
    ///
    /// # Errors
    /// [`StoreError`] when Redis could not say.
    pub async fn schema(&self) -> Result<Schema, StoreError> {
        let known = record::VERSION;
        let mut connection = self.manager.connection(self.budget).await?;
        let (found, is_unfinished) = self.read_schema(&mut connection).await?;
        let found = found.unwrap_or(u64::from(known));
        Ok(Schema {
            found,
            known,
            is_unfinished,
        })
    }

    /// Says to all replicas that they write the new version from now on, and waits until they have seen it. No older
    /// program starts from now on.
    async fn begin(&self) -> Result<(), StoreError> {
        let schema = self.schema().await?;
        if !schema.is_outdated() {
            return Ok(());
        }
        if !self.upgrade.accepts_plain() {
            return Err(StoreError::Unavailable(
                "records that are not encrypted are refused, and the schema in Redis says that there are some: unset \
                 store.sealed_only to upgrade them, unless somebody has set the schema back"
                    .to_owned(),
            ));
        }
        self.note_begun().await?;
        let mut note = self.scripts.schema.key(self.keys.schema());
        note.arg(record::VERSION);
        self.once::<()>(&note).await?;
        self.upgrade.begin();
        // Another replica may have begun a moment ago.
        tokio::time::sleep(SCHEMA_POLL_TIMEOUT).await;
        Ok(())
    }

    /// Before the schema says it, so that no replica takes the upgrade for finished.
    async fn note_begun(&self) -> Result<(), StoreError> {
        let mut note = redis::cmd("HSET");
        note.arg(self.progress()).arg("begun").arg(1);
        self.repeat(&note).await
    }

    /// Upgrades all records to the version that this program writes. Sessions go into the deadline
    /// queue by the limits of `policies`; `report` is told how far it is.
    ///
    /// # Errors
    /// [`StoreError`] when Redis failed; what was done is done, and the next call goes on there.
    pub async fn migrate(
        &self,
        migration: Migration,
        policies: &Policies,
        mut report: impl FnMut(Progress),
    ) -> Result<Progress, StoreError> {
        let this = self.background();
        if migration == Migration::Upgrade {
            this.begin().await?;
        }
        let (mut all, mut resumed) = (Progress::default(), true);
        let mut connection = this.manager.connection(this.budget).await?;
        // Until a whole walk finds nothing: an older program may have written meanwhile, and a
        // part of a cluster's keys may have moved under the walk.
        loop {
            let mut found = 0;
            for server in scan::servers(&mut connection).await? {
                let cursor = match (resumed, migration) {
                    (true, Migration::Upgrade) => this.resume(&server).await?,
                    _ => None,
                };
                if cursor.as_deref() == Some(DONE) {
                    continue;
                }
                let mut walk = Walk::new(connection.clone(), &this.keys, &server, cursor);
                while let Some(batch) = walk.next().await? {
                    let steps = batch
                        .sessions
                        .iter()
                        .map(|id| this.step(*id, migration, policies));
                    for step in join_all(steps).await {
                        all.seen += 1;
                        match step {
                            Ok(old) => found += usize::from(old),
                            Err(StoreError::Unreadable(_)) => all.unreadable += 1,
                            Err(error) => return Err(error),
                        }
                    }
                    if migration == Migration::Upgrade {
                        let place = batch.cursor.as_deref().unwrap_or(DONE);
                        this.note_progress(&server, place).await?;
                    }
                    report(Progress {
                        upgraded: all.upgraded + found,
                        ..all
                    });
                }
            }
            all.upgraded += found;
            if migration == Migration::DryRun || (found == 0 && !resumed) {
                break;
            }
            resumed = false;
        }
        if migration == Migration::Upgrade {
            this.finish().await?;
        }
        Ok(all)
    }

    /// Upgrades one record, or only looks at it; says whether it was of an older version.
    async fn step(
        &self,
        id: SessionId,
        migration: Migration,
        policies: &Policies,
    ) -> Result<bool, StoreError> {
        let Some(stored) = self.read(id).await? else {
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
        // Where a check has changed it in between, the next walk finds it.
        self.swap(id, &stored.bytes, &record).await?;
        Ok(true)
    }

    /// Replaces the bytes of a record; the expiry, which holds the last activity, stays. Says whether the record
    /// was still the same.
    pub(super) async fn swap(
        &self,
        id: SessionId,
        expected: &[u8],
        record: &[u8],
    ) -> Result<bool, StoreError> {
        let mut swap = self.scripts.swap.key(self.keys.session(id));
        swap.arg(expected).arg(record);
        self.once(&swap).await
    }

    /// Where a migration stopped on a server, if its process is still the same.
    async fn resume(&self, server: &Server) -> Result<Option<String>, StoreError> {
        let mut ask = redis::cmd("HGET");
        ask.arg(self.progress()).arg(&server.run_id);
        self.repeat(&ask).await
    }

    async fn note_progress(&self, server: &Server, place: &str) -> Result<(), StoreError> {
        let mut note = redis::cmd("HSET");
        note.arg(self.progress()).arg(&server.run_id).arg(place);
        self.repeat(&note).await
    }

    /// Notes that all records are of this version.
    async fn finish(&self) -> Result<(), StoreError> {
        self.repeat::<()>(redis::cmd("DEL").arg(self.progress()))
            .await?;
        self.upgrade.finish();
        Ok(())
    }

    fn progress(&self) -> Vec<u8> {
        self.keys.progress(&format!("record-{}", record::VERSION))
    }
}
