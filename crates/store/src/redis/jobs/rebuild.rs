//! Rebuilds the subject indexes and the deadline queue, because they may lack the latest sessions after a fail-over.

use futures_util::future::join_all;

use crate::policy::Policies;
use crate::redis::scan::{self, Walk};
use crate::redis::{RedisStore, StoredRecord};
use crate::session::{SessionId, State};
use crate::{DeadlineQueue, StoreError};

impl RedisStore {
    /// Rebuilds the indexes if they were not rebuilt since the last change of primary. Returns whether the indexes
    /// are complete. While another process rebuilds the indexes, the result is `false`.
    ///
    /// # Errors
    /// [`StoreError`] when the rebuild failed. The caller must retry.
    pub(in crate::redis) async fn rebuild_indexes_if_stale(
        &self,
        policies: &Policies,
    ) -> Result<bool, StoreError> {
        let (done_key, lease_key) = (
            self.keys.progress("rebuilt"),
            self.keys.progress("rebuilding"),
        );
        let primaries = self.managed_connection.primary_run_ids().join(",");
        let rebuilt_on: Option<String> = self
            .send_with_retry(redis::cmd("GET").arg(&done_key))
            .await?;
        if rebuilt_on.as_deref() == Some(&primaries) {
            return Ok(true);
        }
        if !self.take_lease(&lease_key).await? {
            return Ok(false);
        }
        let added = self.rebuild_indexes(policies).await?;
        self.send_with_retry::<()>(redis::cmd("SET").arg(&done_key).arg(&primaries))
            .await?;
        self.send_with_retry::<()>(redis::cmd("DEL").arg(&lease_key))
            .await?;
        tracing::info!(
            added,
            "rebuild of the subject indexes and the deadline queue finished"
        );
        Ok(true)
    }

    /// Adds every session that is missing in the deadline queue or in the index of its subject. Returns how many
    /// sessions were missing in the queue.
    async fn rebuild_indexes(&self, policies: &Policies) -> Result<usize, StoreError> {
        let mut connection = self.managed_connection.acquire(self.budget).await?;
        let mut added = 0;
        for server in scan::read_servers(&mut connection).await? {
            let mut walk = Walk::new(connection.clone(), &self.keys, &server, None);
            while let Some(batch) = walk.next().await? {
                let additions = batch
                    .sessions
                    .into_iter()
                    .map(|id| self.add_missing(id, policies));
                for outcome in join_all(additions).await {
                    match outcome {
                        Ok(was_missing) => added += usize::from(was_missing),
                        // An unreadable record does not stop the rebuild.
                        Err(StoreError::Unreadable(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(added)
    }

    /// Adds one session to the queue and the index. Returns whether the session was missing in the queue.
    async fn add_missing(&self, id: SessionId, policies: &Policies) -> Result<bool, StoreError> {
        let Some(StoredRecord { session, .. }) = self.read_record(id).await? else {
            return Ok(false);
        };
        self.ensure_indexed(id, &session).await?;
        if session.state != State::Live {
            return Ok(false);
        }
        let mut get_score = redis::cmd("ZSCORE");
        get_score.arg(self.keys.queue()).arg(id.as_bytes());
        let due_time: Option<u64> = self.send_with_retry(&get_score).await?;
        if due_time.is_none() {
            self.enqueue(id, policies.deadline(&session)).await?;
        }
        Ok(due_time.is_none())
    }
}
