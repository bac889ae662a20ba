//! Whether replicas have what was written.

use super::{RedisStore, link};
use crate::session::SessionId;
use crate::store::{Replication, StoreError};

impl RedisStore {
    /// Waits until replicas have what was written about a session, where that is wanted.
    pub(super) async fn replication_of(&self, id: SessionId) -> Result<Replication, StoreError> {
        let wanted = self.link.settings().wait_replicas;
        let confirmed = match wanted {
            0 => 0,
            _ => self.wait_for_replicas(id).await?,
        };
        Ok(Replication { wanted, confirmed })
    }

    /// Waits for replicas on a connection of its own.
    async fn wait_for_replicas(&self, id: SessionId) -> Result<u16, StoreError> {
        let settings = self.link.settings();
        let timeout = settings.wait_timeout;
        let patience = timeout + settings.command_timeout;
        let mut kept = self.waiting.lock().await;
        let wire = match &mut *kept {
            Some(wire) => wire,
            None => {
                let made = link::separate(settings, patience).await;
                kept.insert(made.map_err(|error| StoreError::Unavailable(error.to_string()))?)
            }
        };
        let mut pipeline = redis::pipe();
        // Any command on this connection makes WAIT count from here.
        pipeline.cmd("EXISTS").arg(self.keys.session(id)).ignore();
        pipeline
            .cmd("WAIT")
            .arg(settings.wait_replicas)
            .arg(timeout.as_millis() as u64);
        let asked = tokio::time::timeout(patience, pipeline.query_async(wire)).await;
        let answer: Result<(u16,), StoreError> = match asked {
            Ok(answer) => answer.map_err(StoreError::from),
            Err(_) => Err(StoreError::Unavailable(format!(
                "no answer within {patience:?}"
            ))),
        };
        if answer.is_err() {
            *kept = None;
        }
        answer.map(|(confirmed,)| confirmed)
    }
}
