//! Waits until Redis replicas have received a write.
//!
//! `WAIT` blocks its connection, so Curfew uses a separate connection for `WAIT`. `WAIT` waits for the last write of
//! its own connection. So before `WAIT`, Curfew sends a write that changes nothing; since Redis 7.2, a read-only
//! command is not enough.

use super::RedisStore;
use super::connection::Connection;
use crate::redis::connection::Request;
use crate::redis::managed_connection;
use crate::session::SessionId;
use crate::{Replication, StoreError};

/// The reply to a write that found no key. The key is missing because the earlier write went to a server that is no
/// longer the primary. So no Redis replica of the current primary has the earlier write.
const MISSING_KEY: redis::Value = redis::Value::Int(0);

/// The connection for `WAIT`, and the incarnation of the store at the time when the connection was opened. In a later
/// incarnation, this may be a connection to a former primary.
pub(super) struct WaitConnection {
    connection: Connection,
    incarnation: u64,
}

impl RedisStore {
    /// Waits until Redis replicas have all writes for a session, if the operator configured this wait.
    pub(super) async fn wait_for_session_writes(&self, id: SessionId) -> Replication {
        let key = self.keys.session(id);
        let renew = self.scripts.renew.key(&key);
        self.send_and_wait_for_replicas(&renew, &key).await
    }

    /// Sends `write` to the server of `key`, and waits until Redis replicas have `write` and all earlier writes to
    /// this server. The configured timeouts also limit the time for which this operation waits until the connection is
    /// free.
    pub(super) async fn send_and_wait_for_replicas(
        &self,
        write: &impl Request,
        key: &[u8],
    ) -> Replication {
        let settings = self.managed_connection.settings();
        let wanted = settings.wait_replicas;
        if wanted == 0 {
            return Replication::default();
        }
        let total = settings.wait_timeout + settings.command_timeout;
        let waited = tokio::time::timeout(total, self.wait_for_replicas(write, key)).await;
        let confirmed = match waited {
            Ok(Ok(confirmed)) => confirmed,
            Ok(Err(error)) => {
                tracing::debug!(%error, "could not wait for the confirmation of a change by Redis replicas");
                0
            }
            Err(_) => 0,
        };
        Replication { wanted, confirmed }
    }

    async fn wait_for_replicas(&self, write: &impl Request, key: &[u8]) -> Result<u16, StoreError> {
        let settings = self.managed_connection.settings();
        let timeout = settings.wait_timeout;
        let mut slot = self.wait_connection.lock().await;
        let incarnation = *self.managed_connection.incarnation().borrow();
        // Curfew takes the connection out of the slot, so that a cancelled wait drops the connection.
        let wait_connection = match slot.take() {
            Some(wait_connection) if wait_connection.incarnation == incarnation => wait_connection,
            _ => {
                let total = timeout + settings.command_timeout;
                let connection = managed_connection::open_dedicated(settings, total).await;
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
        // In a cluster, `EXISTS` routes `WAIT` to the server that has the key.
        wait.cmd("EXISTS").arg(key).ignore();
        let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        wait.cmd("WAIT").arg(settings.wait_replicas).arg(millis);
        let (confirmed,): (u16,) = wait.query_async(&mut connection).await?;
        *slot = Some(wait_connection);
        Ok(confirmed)
    }
}
