//! The history of data losses and of absolute limits. It is a part of the generation marker (a value in Redis whose
//! absence shows a loss).

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use redis::RedisResult;

use super::connection::Connection;
use super::generation::MissingMarker;
use super::{ConnectError, RedisStore, record};
use crate::session::{SessionId, Timestamp};
use crate::{History, HistoryStore, LimitsBySource, StoreError};

/// The maximum time that a stopping process spends on the extension of the generation marker.
const PLANNED_STOP_TIMEOUT: Duration = Duration::from_millis(500);

#[async_trait]
impl HistoryStore for RedisStore {
    async fn history(&self, id: SessionId) -> Result<History, StoreError> {
        let mut connection = self.managed_connection.acquire(self.budget).await?;
        let (key, cut_offs) = (self.keys.session(id), self.keys.cut_offs());
        let request = async {
            let missing_marker = self.meaning_of_missing_marker(&mut connection).await?;
            let generation = &self.generation;
            generation
                .history(&mut connection, missing_marker, &key, &cut_offs)
                .await
        };
        self.within_budget(request).await
    }

    async fn record_limits(
        &self,
        limits: &LimitsBySource,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut connection = self.managed_connection.acquire(self.budget).await?;
        let record = |history: &mut History| history.record_limits(limits, now);
        let recording = self.generation.change_history(&mut connection, record);
        self.within_budget(recording).await
    }
}

impl RedisStore {
    /// Checks for a loss of data on a new connection.
    pub(super) async fn check_for_data_loss(
        &self,
        mut connection: Connection,
    ) -> Result<(), ConnectError> {
        if !self.answers_checks {
            return Ok(());
        }
        let missing_marker = self.meaning_of_missing_marker(&mut connection).await?;
        match self.generation.check(&mut connection, missing_marker).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_io_error() => Err(error.into()),
            // A server that is full or lacks Redis replicas rejects writes, but can still answer reads. So Curfew
            // continues without this write.
            Err(error) => {
                tracing::warn!(%error, "could not write the generation marker to Redis");
                Ok(())
            }
        }
    }

    /// Checks for a loss of data, and refreshes the marker.
    pub(super) async fn check_generation(&self) -> Result<(), StoreError> {
        let mut connection = self.managed_connection.acquire(self.budget).await?;
        let checking = async {
            let missing_marker = self.meaning_of_missing_marker(&mut connection).await?;
            self.generation.check(&mut connection, missing_marker).await
        };
        self.within_budget(checking).await
    }

    /// Extends the marker, so that a process that starts within the next hour assumes no loss.
    pub(super) async fn mark_planned_stop(&self) {
        if !self.answers_checks {
            return;
        }
        let marking = async {
            let mut connection = self
                .managed_connection
                .acquire(PLANNED_STOP_TIMEOUT)
                .await?;
            self.within_budget(self.generation.mark_planned_stop(&mut connection))
                .await
        };
        if !matches!(
            tokio::time::timeout(PLANNED_STOP_TIMEOUT, marking).await,
            Ok(Ok(()))
        ) {
            tracing::debug!("could not extend the generation marker for the next start");
        }
    }

    /// Extends a fresh generation marker for a command of an operator, so that a process that starts within the next
    /// hour assumes no loss of data. If `is_new` is true, the operator declares that Redis is new, so that Curfew
    /// assumes no loss. Returns whether there is a fresh marker.
    ///
    /// # Errors
    /// [`StoreError`] when Redis could not write the marker.
    pub async fn extend_fresh_marker(&self, is_new: bool) -> Result<bool, StoreError> {
        let mut connection = self.managed_connection.acquire(self.budget).await?;
        let extending = async {
            let missing_marker = match is_new {
                true => MissingMarker::NoLoss,
                false => self.meaning_of_missing_marker(&mut connection).await?,
            };
            self.generation
                .extend_fresh_marker(&mut connection, missing_marker)
                .await
        };
        self.within_budget(extending).await
    }

    /// Returns how many losses of data this process has noticed.
    pub(super) fn losses(&self) -> u64 {
        self.generation.losses()
    }

    /// Returns what a missing marker means. An older schema shows that a version of Curfew without the marker wrote
    /// the records, so no data is lost.
    async fn meaning_of_missing_marker(
        &self,
        connection: &mut Connection,
    ) -> RedisResult<MissingMarker> {
        let mut get = redis::cmd("GET");
        let schema: Option<u64> = get.arg(self.keys.schema()).query_async(connection).await?;
        let is_older = schema.is_some_and(|schema| schema < u64::from(record::VERSION));
        Ok(match is_older {
            true => MissingMarker::NoLoss,
            false => MissingMarker::Loss,
        })
    }

    async fn within_budget<T>(
        &self,
        request: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.budget, request).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(StoreError::Unavailable(
                "no reply from Redis in time".to_owned(),
            )),
        }
    }
}
