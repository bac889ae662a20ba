//! Records of an older version are upgraded while checks go on: this program reads both.
//!
//! A step is made record by record, each by one script, and may be made twice; so two processes
//! can be at it at once, and one that was stopped half-way goes on where it was.

use futures_util::future::join_all;

use super::keys::Keys;
use super::scan::{self, Server, Walk};
use super::wire::Wire;
use super::{ConnectError, RedisStore, record};
use crate::policy::Policies;
use crate::session::{SessionId, State};
use crate::store::{DeadlineQueue, StoreError};

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
}

/// The schema in Redis; ours is written where there is none.
///
/// # Errors
/// [`ConnectError::NewerSchema`] for one that is newer than this program.
pub(super) async fn check_schema(keys: &Keys, mut wire: Wire) -> Result<Schema, ConnectError> {
    let known = record::VERSION;
    let mut get = redis::cmd("GET");
    get.arg(keys.schema());
    let found: Option<u64> = get.query_async(&mut wire).await?;
    let found = match found {
        Some(found) => found,
        None => {
            let mut set = redis::cmd("SET");
            set.arg(keys.schema()).arg(known).arg("NX");
            // A server that takes no writes now, because it is full or lacks replicas, still
            // answers checks.
            if let Err(error) = set.exec_async(&mut wire).await {
                tracing::warn!(%error, "the schema could not be written");
            }
            u64::from(known)
        }
    };
    if found > u64::from(known) {
        return Err(ConnectError::NewerSchema { found, known });
    }
    Ok(Schema { found, known })
}

impl RedisStore {
    /// The schema that the records follow.
    ///
    /// # Errors
    /// [`StoreError`] when Redis could not say.
    pub async fn schema(&self) -> Result<Schema, StoreError> {
        let known = record::VERSION;
        let mut get = redis::cmd("GET");
        let found: Option<u64> = self.repeat(get.arg(self.keys.schema())).await?;
        let found = found.unwrap_or(u64::from(known));
        Ok(Schema { found, known })
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
        let this = self.patiently();
        let (mut all, mut resumed) = (Progress::default(), true);
        let mut wire = this.link.wire(this.budget).await?;
        // Until a whole walk finds nothing: an older program may have written meanwhile, and a
        // part of a cluster's keys may have moved under the walk.
        loop {
            let mut found = 0;
            for server in scan::servers(&mut wire).await? {
                let cursor = match (resumed, migration) {
                    (true, Migration::Upgrade) => this.resume(&server).await?,
                    _ => None,
                };
                if cursor.as_deref() == Some(DONE) {
                    continue;
                }
                let mut walk = Walk::new(wire.clone(), &this.keys, &server, cursor);
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
        self.keep_in_index(id, &stored.session).await?;
        let key = self.keys.session(id);
        let mut upgrade = self.scripts.upgrade.key(key);
        upgrade.arg(record::tag(&id));
        self.once(&upgrade).await
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
        let mut note = self.scripts.schema.key(self.keys.schema());
        note.arg(record::VERSION);
        self.once::<()>(&note).await?;
        self.repeat(redis::cmd("DEL").arg(self.progress())).await
    }

    fn progress(&self) -> Vec<u8> {
        self.keys.progress(&format!("record-{}", record::VERSION))
    }
}
