use async_trait::async_trait;
use tokio::sync::mpsc;

use super::StoreError;
use crate::session::{Session, SessionId};

/// Reads all sessions of a store, in any order.
#[async_trait]
pub trait SessionWalk: Send + Sync + 'static {
    /// Sends all records in batches, including tombstones. A session may occur twice, and a session that starts
    /// during the walk may be missing. The walk stops when the receiver is dropped.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed before the end.
    async fn walk(&self, batches: mpsc::Sender<Batch>) -> Result<(), StoreError>;
}

/// A batch of records from a walk.
#[derive(Debug, Default)]
pub struct Batch {
    /// The records.
    pub sessions: Vec<(SessionId, Session)>,
    /// The number of records that could not be read.
    pub unreadable: usize,
}
