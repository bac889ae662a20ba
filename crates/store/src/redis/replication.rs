//! Whether replicas have what was written.
//!
//! `WAIT` counts from the last write of its own connection, and blocks that connection. So it has
//! a connection to itself, and a write that changes nothing comes before it: since Redis 7.2 a
//! command that only reads does not count.

use super::RedisStore;
use super::connection::Connection;
use super::connection_manager;
use super::request::Request;
use crate::session::SessionId;
use crate::{Replication, StoreError};

/// What a write answers where there is nothing to write to: whoever took what was written before is
/// not the primary any more, and no replica can have it.
const MISSING_KEY: redis::Value = redis::Value::Int(0);

/// The connection that waits, and the incarnation of the store that it was made in: later it may
/// lead to a former primary.
pub(super) struct WaitConnection {
    connection: Connection,
    incarnation: u64,
}

impl RedisStore {
    /// Waits until replicas have what was written about a session, where that is wanted.
    pub(super) async fn replication_of(&self, id: SessionId) -> Replication {
        let key = self.keys.session(id);
        let renew = self.scripts.renew.key(&key);
        self.replication_after(&renew, &key).await
    }

    /// Waits until replicas have `write`, which is about `key`, and all that was written to the same
    /// server before; at most as long as is configured, the wait for others that wait included.
    pub(super) async fn replication_after(&self, write: &impl Request, key: &[u8]) -> Replication {
        let settings = self.manager.settings();
        let wanted = settings.wait_replicas;
        if wanted == 0 {
            return Replication::default();
        }
        let total = settings.wait_timeout + settings.command_timeout;
        let waited = tokio::time::timeout(total, self.wait_for_replicas(write, key)).await;
        let confirmed = match waited {
            Ok(Ok(confirmed)) => confirmed,
            Ok(Err(error)) => {
                tracing::debug!(%error, "replicas could not be asked");
                0
            }
            Err(_) => 0,
        };
        Replication { wanted, confirmed }
    }

    async fn wait_for_replicas(&self, write: &impl Request, key: &[u8]) -> Result<u16, StoreError> {
        let settings = self.manager.settings();
        let timeout = settings.wait_timeout;
        let mut slot = self.wait_connection.lock().await;
        let incarnation = *self.manager.incarnation().borrow();
        // Taken out, so that it is not slot where this is given up half-way.
        let wait_connection = match slot.take() {
            Some(wait_connection) if wait_connection.incarnation == incarnation => wait_connection,
            _ => {
                let total = timeout + settings.command_timeout;
                let connection = connection_manager::open_dedicated(settings, total).await;
                WaitConnection {
                    connection: connection
                        .map_err(|error| StoreError::Unavailable(error.to_string()))?,
                    incarnation,
                }
            }
        };
        let mut connection = wait_connection.connection.clone();
        if write.send(&mut connection).await? == MISSING_KEY {
            *slot = Some(wait_connection);
            return Ok(0);
        }
        let mut wait = redis::pipe();
        // In a cluster this sends the other to the server that has the key.
        wait.cmd("EXISTS").arg(key).ignore();
        let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        wait.cmd("WAIT").arg(settings.wait_replicas).arg(millis);
        let (confirmed,): (u16,) = wait.query_async(&mut connection).await?;
        *slot = Some(wait_connection);
        Ok(confirmed)
    }
}
