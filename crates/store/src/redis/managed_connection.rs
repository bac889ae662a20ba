mod reconnect;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::{ErrorKind, FromRedisValue, RedisError, RedisResult, ServerErrorKind};
use tokio::sync::{Notify, watch};

use crate::StoreError;
use crate::clock::StoreClock;
use crate::redis::ConnectError;
use crate::redis::connection::{Address, Connection, Connector, RedisSettings, Request, Topology};
use crate::redis::timekeeping::Timekeeping;

pub(in crate::redis) use reconnect::ConnectionSetup;

/// Keeps a connection to Redis open. Reconnects when the connection is lost, and when the connected server is no longer
/// the primary. Curfew does not use the `ConnectionManager` of the `redis` crate, because `ConnectionManager` does not
/// notice that another server has replaced the primary (ADR 5).
pub(in crate::redis) struct ManagedConnection {
    settings: RedisSettings,
    timekeeping: Timekeeping,
    connection: watch::Sender<Option<Connection>>,
    /// Notified when an operation failed with an error that the connection may have caused.
    check_requested: Notify,
    /// Notified when the connection must be dropped, because a reply belonged to another request.
    invalidated: Notify,
    /// A number that grows whenever the last writes may be lost: when the primary changes or restarts.
    incarnation: watch::Sender<u64>,
    /// The `run_id` of every primary. It changes when the server restarts.
    primary_run_ids: Mutex<Vec<String>>,
    /// The primaries of a cluster.
    cluster_primaries: Mutex<Vec<Address>>,
    /// The connected server. `None` for a cluster.
    connected_server: Mutex<Option<Address>>,
    /// The primary that supplies the time of the store.
    time_source: Mutex<Option<Address>>,
    /// Why the last connection failed or was dropped, for error messages.
    last_failure: Mutex<String>,
}

impl ManagedConnection {
    pub(in crate::redis) fn new(settings: RedisSettings, timekeeping: Timekeeping) -> Self {
        Self {
            settings,
            timekeeping,
            connection: watch::Sender::new(None),
            check_requested: Notify::new(),
            invalidated: Notify::new(),
            incarnation: watch::Sender::new(0),
            primary_run_ids: Mutex::default(),
            cluster_primaries: Mutex::default(),
            connected_server: Mutex::default(),
            time_source: Mutex::default(),
            last_failure: Mutex::new("not connected yet".to_owned()),
        }
    }

    pub(in crate::redis) const fn settings(&self) -> &RedisSettings {
        &self.settings
    }

    pub(in crate::redis) const fn clock(&self) -> &Arc<StoreClock> {
        self.timekeeping.clock()
    }

    pub(in crate::redis) const fn timekeeping(&self) -> &Timekeeping {
        &self.timekeeping
    }

    /// Returns a number that grows whenever the last writes may be lost.
    pub(in crate::redis) fn incarnation(&self) -> watch::Receiver<u64> {
        self.incarnation.subscribe()
    }

    /// Returns the `run_id` of every primary, sorted.
    pub(in crate::redis) fn primary_run_ids(&self) -> Vec<String> {
        self.primary_run_ids.lock().clone()
    }

    /// Returns the primaries of a cluster; empty for a single server.
    pub(in crate::redis) fn cluster_primaries(&self) -> Vec<Address> {
        self.cluster_primaries.lock().clone()
    }

    /// Returns a server to subscribe to. In a cluster, each `attempt` selects another node. The caller can use any
    /// node, because each node delivers all messages.
    pub(in crate::redis) fn subscribe_target(&self, attempt: usize) -> Option<Address> {
        let primaries = self.cluster_primaries.lock();
        let node = primaries.get(attempt % primaries.len().max(1));
        node.cloned()
            .or_else(|| self.connected_server.lock().clone())
    }

    /// Waits until there is no connection.
    pub(in crate::redis) async fn wait_until_lost(&self) {
        let mut connections = self.connection.subscribe();
        // An error means that the `ManagedConnection` was dropped; then no task waits here.
        let _ = connections.wait_for(Option::is_none).await;
    }

    /// Returns a connection. Waits at most `budget` for it.
    pub(in crate::redis) async fn acquire(
        &self,
        budget: Duration,
    ) -> Result<Connection, StoreError> {
        self.within_budget(
            budget,
            wait_for_connection(&mut self.connection.subscribe()),
        )
        .await
    }

    /// Sends a request once. `budget` limits the total time, including the wait for a connection.
    pub(in crate::redis) async fn send_once<T: FromRedisValue>(
        &self,
        budget: Duration,
        request: &impl Request,
    ) -> Result<T, StoreError> {
        let attempt = async {
            let mut connection = wait_for_connection(&mut self.connection.subscribe()).await?;
            request.send(&mut connection).await
        };
        let answer = self.within_budget(budget, attempt).await?;
        redis::from_redis_value(answer).map_err(|error| RedisError::from(error).into())
    }

    /// Like [`ManagedConnection::send_once`], but resends the request whenever the connection is lost. The request must
    /// be idempotent.
    pub(in crate::redis) async fn send_with_retry<T: FromRedisValue>(
        &self,
        budget: Duration,
        request: &impl Request,
    ) -> Result<T, StoreError> {
        let attempts = async {
            let mut connections = self.connection.subscribe();
            loop {
                let mut connection = wait_for_connection(&mut connections).await?;
                match request.send(&mut connection).await {
                    // A cluster connection retries by itself.
                    Err(error)
                        if error.is_io_error() && matches!(connection, Connection::Single(_)) =>
                    {
                        self.check_requested.notify_one();
                        connections
                            .changed()
                            .await
                            .map_err(|_| not_maintained_error())?;
                    }
                    outcome => return outcome,
                }
            }
        };
        let answer = self.within_budget(budget, attempts).await?;
        redis::from_redis_value(answer).map_err(|error| RedisError::from(error).into())
    }

    async fn within_budget<T>(
        &self,
        budget: Duration,
        future: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(budget, future).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                if may_be_connection_failure(&error) {
                    self.check_requested.notify_one();
                }
                Err(error.into())
            }
            Err(_) => {
                self.check_requested.notify_one();
                let is_connected = self.connection.borrow().is_some();
                let reason = if is_connected {
                    no_reply_message(budget)
                } else {
                    self.last_failure.lock().clone()
                };
                Err(StoreError::Unavailable(reason))
            }
        }
    }

    /// Drops the connection, because a reply on this connection belonged to another request.
    pub(in crate::redis) fn invalidate_connection(&self) {
        self.connection.send_replace(None);
        self.invalidated.notify_one();
    }

    /// Returns whether the store is a Redis Cluster.
    pub(in crate::redis) const fn is_cluster(&self) -> bool {
        matches!(self.settings.topology, Topology::Cluster(_))
    }
}

/// Waits for a connection.
async fn wait_for_connection(
    connections: &mut watch::Receiver<Option<Connection>>,
) -> RedisResult<Connection> {
    let connection = connections
        .wait_for(Option::is_some)
        .await
        .map_err(|_| not_maintained_error())?;
    connection.clone().ok_or_else(not_maintained_error)
}

fn no_reply_message(within: Duration) -> String {
    format!("no reply from Redis within {within:?}")
}

fn not_maintained_error() -> RedisError {
    (
        ErrorKind::Client,
        "this process has closed the connection to Redis",
    )
        .into()
}

/// Returns whether a broken connection or a wrong server may have caused the error.
fn may_be_connection_failure(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Io | ErrorKind::Parse | ErrorKind::AuthenticationFailed => true,
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown | ServerErrorKind::BusyLoading
        ),
        _ => error.is_unrecoverable_error(),
    }
}

/// Opens a separate connection for slow commands, so that no check waits behind them.
pub(in crate::redis) async fn open_dedicated(
    settings: &RedisSettings,
    timeout: Duration,
) -> Result<Connection, ConnectError> {
    Ok(Connector::new(settings.clone())
        .connect(timeout)
        .await?
        .connection)
}
