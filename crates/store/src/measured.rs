//! Counts the operations of a store, and measures how long they take.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tracing::Instrument;

use super::{
    Change, ChangeOutcome, CreateOutcome, Cursor, EndOutcome, EndRequest, Page, Replication,
    SessionStore, StoreError, Touch,
};
use crate::LocalStore;
use crate::clock::Stopwatch;
use crate::session::{Session, SessionId, Subject, Timestamp};
use crate::telemetry::{Metrics, traces};

/// A wrapper that records metrics and traces of store operations.
pub struct MeasuredStore<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S> MeasuredStore<S> {
    /// Wraps the store `inner`, and records its operations in `metrics`.
    pub const fn new(inner: S, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }

    async fn measure<T>(
        &self,
        operation: &'static str,
        future: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let stopwatch = Stopwatch::start();
        let span = traces::store_span(operation);
        let outcome = future.instrument(span.clone()).await;
        let result = outcome.as_ref().map_or_else(StoreError::kind, |_| "ok");
        span.record("curfew.result", result);
        self.metrics
            .record_store_operation(operation, result, stopwatch.seconds());
        if let Err(error) = &outcome {
            tracing::debug!(operation, %error, "store operation failed");
        }
        outcome
    }
}

#[async_trait]
impl<S: SessionStore> SessionStore for MeasuredStore<S> {
    async fn load(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        self.measure("load", self.inner.load(id)).await
    }

    async fn create(&self, id: SessionId, session: &Session) -> Result<CreateOutcome, StoreError> {
        self.measure("create", self.inner.create(id, session)).await
    }

    async fn touch(&self, id: SessionId, touch: Touch) -> Result<(), StoreError> {
        self.measure("touch", self.inner.touch(id, touch)).await
    }

    async fn end(&self, id: SessionId, ending: EndRequest) -> Result<EndOutcome, StoreError> {
        self.measure("end", self.inner.end(id, ending)).await
    }

    async fn keep_tombstone(&self, id: SessionId, until: Timestamp) -> Result<(), StoreError> {
        let extension = self.inner.keep_tombstone(id, until);
        self.measure("keep_tombstone", extension).await
    }

    async fn withdraw(&self, id: SessionId, session: &Session) -> Result<bool, StoreError> {
        self.measure("withdraw", self.inner.withdraw(id, session))
            .await
    }

    async fn change(&self, id: SessionId, change: &Change) -> Result<ChangeOutcome, StoreError> {
        self.measure("change", self.inner.change(id, change)).await
    }

    async fn age(&self, id: SessionId, by: Duration) -> Result<Option<Session>, StoreError> {
        self.measure("age", self.inner.age(id, by)).await
    }

    async fn list(
        &self,
        subject: &Subject,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.measure("list", self.inner.list(subject, after, limit))
            .await
    }

    async fn wait_replicated(&self, id: SessionId) -> Result<Replication, StoreError> {
        self.measure("confirm", self.inner.wait_replicated(id))
            .await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.measure("ready", self.inner.ready()).await
    }

    forward!(self => self.inner; incarnation, flush);
}

impl<S: SessionStore> LocalStore for MeasuredStore<S> {
    fn load_cached(&self, id: SessionId) -> Option<Session> {
        self.inner.load_cached(id)
    }

    fn try_buffer_touch(&self, id: SessionId, touch: Touch) -> bool {
        self.inner.try_buffer_touch(id, touch)
    }
}
