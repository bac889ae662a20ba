//! What Redis can have forgotten of ends, by the generation marker.

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use redis::RedisResult;

use super::generation::Absence;
use super::wire::Wire;
use super::{ConnectError, RedisStore, record};
use crate::session::{SessionId, Timestamp};
use crate::{History, HistoryStore, LimitsOfSources, StoreError};

/// How long a process that stops waits for Redis to take the last word on the marker.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(500);

#[async_trait]
impl HistoryStore for RedisStore {
    async fn history(&self, id: SessionId) -> Result<History, StoreError> {
        let mut wire = self.link.wire(self.budget).await?;
        let (key, cut_offs) = (self.keys.session(id), self.keys.not_before());
        let asking = async {
            let absence = self.absence(&mut wire).await?;
            let generation = &self.generation;
            generation
                .history(&mut wire, absence, &key, &cut_offs)
                .await
        };
        self.in_time(asking).await
    }

    async fn note_limits(
        &self,
        limits: &LimitsOfSources,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut wire = self.link.wire(self.budget).await?;
        let note = |history: &mut History| history.note_limits(limits, now);
        let noting = self.generation.change_history(&mut wire, note);
        self.in_time(noting).await
    }
}

impl RedisStore {
    /// Looks, on a new connection, whether data was lost.
    pub(super) async fn look_for_loss(&self, mut wire: Wire) -> Result<(), ConnectError> {
        if !self.serves {
            return Ok(());
        }
        let absence = self.absence(&mut wire).await?;
        match self.generation.keep(&mut wire, absence).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_io_error() => Err(error.into()),
            // A server that takes no writes now, because it is full or lacks replicas, still answers checks.
            Err(error) => {
                tracing::warn!(%error, "the generation marker could not be written");
                Ok(())
            }
        }
    }

    /// Looks whether data was lost, and refreshes the marker.
    pub(super) async fn keep_generation(&self) -> Result<(), StoreError> {
        let mut wire = self.link.wire(self.budget).await?;
        let keeping = async {
            let absence = self.absence(&mut wire).await?;
            self.generation.keep(&mut wire, absence).await
        };
        self.in_time(keeping).await
    }

    /// Tells a process that starts later that nothing was lost meanwhile.
    pub(super) async fn leave_whole(&self) {
        if !self.serves {
            return;
        }
        let leaving = async {
            let mut wire = self.link.wire(LEAVE_TIMEOUT).await?;
            self.in_time(self.generation.leave(&mut wire)).await
        };
        if !matches!(
            tokio::time::timeout(LEAVE_TIMEOUT, leaving).await,
            Ok(Ok(()))
        ) {
            tracing::debug!("the generation marker was not left for the next start");
        }
    }

    /// The same for an operator's command. `is_new`: the operator says that Redis is new, and that nothing is lost. Says
    /// whether there is a marker then.
    ///
    /// # Errors
    /// [`StoreError`] when Redis did not take it.
    pub async fn hand_over(&self, is_new: bool) -> Result<bool, StoreError> {
        let mut wire = self.link.wire(self.budget).await?;
        let handing = async {
            let absence = match is_new {
                true => Absence::NoLoss,
                false => self.absence(&mut wire).await?,
            };
            self.generation.hand_over(&mut wire, absence).await
        };
        self.in_time(handing).await
    }

    /// How many losses of data this process has noticed.
    pub(super) fn losses(&self) -> u64 {
        self.generation.losses()
    }

    /// What it means if there is no marker: a program of before the marker has written an older schema.
    async fn absence(&self, wire: &mut Wire) -> RedisResult<Absence> {
        let mut get = redis::cmd("GET");
        let schema: Option<u64> = get.arg(self.keys.schema()).query_async(wire).await?;
        let is_older = schema.is_some_and(|schema| schema < u64::from(record::VERSION));
        Ok(match is_older {
            true => Absence::NoLoss,
            false => Absence::Loss,
        })
    }

    async fn in_time<T>(
        &self,
        asking: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.budget, asking).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(StoreError::Unavailable("no answer".to_owned())),
        }
    }
}
