use async_trait::async_trait;
use tokio::sync::mpsc;

use super::StoreError;
use crate::session::{Session, SessionId};

/// All sessions of a store, in no order.
#[async_trait]
pub trait SessionWalk: Send + Sync + 'static {
    /// Sends all records, tombstones included, in batches. A session may come twice, and one that begins meanwhile may
    /// be left out. It stops when nobody receives any more.
    ///
    /// # Errors
    /// [`StoreError`] when the store failed on the way.
    async fn walk(&self, batches: mpsc::Sender<Batch>) -> Result<(), StoreError>;
}

/// Some records of a walk.
#[derive(Debug, Default)]
pub struct Batch {
    /// Those that could be read.
    pub sessions: Vec<(SessionId, Session)>,
    /// How many could not.
    pub unreadable: usize,
}
