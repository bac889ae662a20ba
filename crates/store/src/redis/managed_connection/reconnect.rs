//! Connects, monitors the connection, and reconnects.

use std::time::Duration;

use futures_util::future::join_all;
use redis::RedisError;
use tokio_util::sync::CancellationToken;

use super::{ManagedConnection, no_reply_message};
use crate::clock::Stopwatch;
use crate::redis::ConnectError;
use crate::redis::connection::{Connection, Connector, NewConnection, Password, info, is_primary};
use crate::secret::Secret;
use crate::session::Timestamp;

/// Interval of health checks. A health check asks the server for its role and its time.
const HEALTH_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Timeout of a health check. This timeout is well below the time after which a fail-over begins. So before a fail-over
/// begins, Curfew has dropped the connection, and asks the sentinels for the primary before it connects again.
const HEALTH_CHECK_TIMEOUT: Duration = Duration::from_millis(500);
/// How long all nodes of a cluster may be unreachable before Curfew reconnects.
const CLUSTER_TIMEOUT_SECONDS: f64 = 2.0;
/// Interval at which a replica that starts reads the time, until it has joined the timeline (until it has determined
/// the common time of the replicas).
const JOIN_POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How long a replica that starts tries to join the timeline before it reports an error.
const JOIN_TIMEOUT: Duration = Duration::from_secs(15);
/// Number of health checks between two reads of the password file.
const HEALTH_CHECKS_PER_PASSWORD_CHECK: u32 = 10;
/// The delay between connection attempts: the initial delay and the maximum.
const RECONNECT_DELAYS: (Duration, Duration) =
    (Duration::from_millis(20), Duration::from_millis(500));

/// Steps that run on each new connection before any operation uses it.
pub(in crate::redis) trait ConnectionSetup: Sync {
    /// Runs before the replica joins the timeline.
    fn before_join(
        &self,
        connection: Connection,
    ) -> impl Future<Output = Result<(), ConnectError>> + Send;

    /// Runs after the replica has joined the timeline, when decision time is known.
    fn after_join(
        &self,
        connection: Connection,
    ) -> impl Future<Output = Result<(), ConnectError>> + Send;
}

impl ManagedConnection {
    /// Keeps a connection to Redis open until `stop`. `setup` runs on each new connection before any operation uses
    /// it.
    ///
    /// # Errors
    /// [`ConnectError::NewerSchema`] if a newer program wrote the records, because a retry cannot succeed.
    pub(in crate::redis) async fn run(
        &self,
        stop: CancellationToken,
        setup: &impl ConnectionSetup,
    ) -> Result<(), ConnectError> {
        let mut connector = Connector::new(self.settings.clone());
        let (mut pause, mut last_error) = (RECONNECT_DELAYS.0, String::new());
        loop {
            let connecting = self.connect(&mut connector, setup);
            match stop.run_until_cancelled(connecting).await {
                None => return Ok(()),
                Some(Ok(connected)) => {
                    tracing::info!(
                        server = connected.server.as_ref().map(tracing::field::display),
                        "connected to Redis"
                    );
                    (pause, last_error) = (RECONNECT_DELAYS.0, String::new());
                    let monitoring = self.monitor_connection(&mut connector, connected, setup);
                    let lost = stop.run_until_cancelled(monitoring).await;
                    self.connection.send_replace(None);
                    let Some(why) = lost else { return Ok(()) };
                    tracing::warn!(%why, "connection to Redis lost; reconnecting");
                    *self.last_failure.lock() = why;
                }
                Some(Err(error @ ConnectError::NewerSchema { .. })) => return Err(error),
                Some(Err(error)) => {
                    let error = error.to_string();
                    *self.last_failure.lock() = error.clone();
                    if error != last_error {
                        tracing::error!(%error, "could not connect to Redis; retrying");
                        last_error = error;
                    }
                    stop.run_until_cancelled(tokio::time::sleep(pause)).await;
                    pause = (2 * pause).min(RECONNECT_DELAYS.1);
                    continue;
                }
            }
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    /// Connects, runs `setup`, and joins the timeline.
    async fn connect(
        &self,
        connector: &mut Connector,
        setup: &impl ConnectionSetup,
    ) -> Result<NewConnection, ConnectError> {
        let connected = connector.connect(self.settings.command_timeout).await?;
        let mut connection = connected.connection.clone();
        let timeout = self.settings.connect_timeout;
        let preparing = async {
            self.update_primaries(&mut connection, true).await?;
            self.read_time(&mut connection).await?;
            setup.before_join(connection.clone()).await
        };
        match tokio::time::timeout(timeout, preparing).await {
            Ok(done) => done?,
            Err(_) => return Err(ConnectError::Server(no_reply_message(timeout))),
        }
        self.join_timeline(&mut connection).await?;
        match tokio::time::timeout(timeout, setup.after_join(connection.clone())).await {
            Ok(begun) => begun?,
            Err(_) => return Err(ConnectError::Server(no_reply_message(timeout))),
        }
        self.connected_server.lock().clone_from(&connected.server);
        self.connection.send_replace(Some(connection));
        Ok(connected)
    }

    /// Waits until this replica has determined decision time. The wait is short if the clocks agree, but takes a few
    /// seconds if the replicas must compare their clocks.
    async fn join_timeline(&self, connection: &mut Connection) -> Result<(), ConnectError> {
        let joining = async {
            while !self.clock().has_joined() {
                self.timekeeping.sync(connection).await?;
                if !self.clock().has_joined() {
                    tokio::time::sleep(JOIN_POLL_INTERVAL).await;
                    self.read_time(connection).await?;
                }
            }
            Ok(())
        };
        match tokio::time::timeout(JOIN_TIMEOUT, joining).await {
            Ok(joined) => joined,
            Err(_) => {
                let why = format!(
                    "could not determine decision time within {JOIN_TIMEOUT:?}: the clock of Redis jumps"
                );
                Err(ConnectError::Server(why))
            }
        }
    }

    /// Checks the connection until Curfew must drop it. Returns the cause.
    async fn monitor_connection(
        &self,
        connector: &mut Connector,
        mut connected: NewConnection,
        setup: &impl ConnectionSetup,
    ) -> String {
        let mut check_count = 0_u32;
        let mut password = self.settings.password.read().ok();
        let mut unreachable_since: Option<Stopwatch> = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(HEALTH_CHECK_INTERVAL) => {}
                () = self.check_requested.notified() => {}
                () = self.invalidated.notified() => {
                    return "a reply belonged to another request".to_owned();
                }
            }
            check_count = check_count.wrapping_add(1);
            match (
                self.check_health(&mut connected.connection).await,
                &connected.connection,
            ) {
                (Ok(()), _) => unreachable_since = None,
                (Err(why), Connection::Single(_)) => return why,
                // If one node does not answer, Curfew keeps the connections to the others, because a fail-over
                // replaces the node. If no node answers, all of them may have moved, and only a new connection finds
                // them.
                (Err(why), Connection::Cluster(_))
                    if !self.any_node_reachable(&connected.connection).await =>
                {
                    let unreachable_since = unreachable_since.get_or_insert_with(Stopwatch::start);
                    if unreachable_since.seconds() > CLUSTER_TIMEOUT_SECONDS {
                        return why;
                    }
                    // Limits the rate of health checks while many operations fail.
                    tokio::time::sleep(RECONNECT_DELAYS.0).await;
                }
                (Err(_), Connection::Cluster(_)) => unreachable_since = None,
            }
            if let Some(server) = &connected.server
                && !connector.is_still_primary(server).await
            {
                return format!("{server} is no longer the primary");
            }
            if check_count.is_multiple_of(HEALTH_CHECKS_PER_PASSWORD_CHECK)
                && self.has_new_password(&mut password)
            {
                match self.connect(connector, setup).await {
                    Ok(with_new_password) => {
                        tracing::info!(
                            "reconnected to Redis with the new password from the password file"
                        );
                        connected = with_new_password;
                    }
                    Err(error) => {
                        tracing::error!(%error, "could not connect to Redis with the new password from the password file; the old connection stays in use");
                    }
                }
            }
        }
    }

    /// Returns whether the password in the file differs from `before`. If so, writes the new password to `before`.
    fn has_new_password(&self, before: &mut Option<Option<Secret<String>>>) -> bool {
        if !matches!(self.settings.password, Password::File(_)) {
            return false;
        }
        let now = self.settings.password.read().ok();
        let has_changed = now.is_some() && now != *before;
        if has_changed {
            *before = now;
        }
        has_changed
    }

    /// Checks that the connection works. If it does not work, returns the cause.
    async fn check_health(&self, connection: &mut Connection) -> Result<(), String> {
        let check = async {
            let time = self.sync_time(connection).await;
            match connection {
                Connection::Single(connection) => {
                    time?;
                    if !is_primary(connection, HEALTH_CHECK_TIMEOUT).await? {
                        let demoted = "the server is no longer a primary".to_owned();
                        return Err(ConnectError::Server(demoted));
                    }
                    Ok(())
                }
                Connection::Cluster(_) => self.update_primaries(connection, false).await.and(time),
            }
        };
        match tokio::time::timeout(HEALTH_CHECK_TIMEOUT, check).await {
            Ok(checked) => checked.map_err(|error| error.to_string()),
            Err(_) => Err(no_reply_message(HEALTH_CHECK_TIMEOUT)),
        }
    }

    /// Returns whether any primary of a cluster answers.
    pub(in crate::redis) async fn any_node_reachable(&self, connection: &Connection) -> bool {
        let primaries = self.cluster_primaries.lock().clone();
        let pings = primaries.iter().map(async |server| {
            let (mut connection, command) = (connection.clone(), redis::cmd("TIME"));
            let answer = connection.ask_server(Some(server), &command);
            matches!(
                tokio::time::timeout(HEALTH_CHECK_TIMEOUT, answer).await,
                Ok(Ok(_))
            )
        });
        join_all(pings).await.contains(&true)
    }

    async fn sync_time(&self, connection: &mut Connection) -> Result<(), ConnectError> {
        self.read_time(connection).await?;
        Ok(self.timekeeping.sync(connection).await?)
    }

    /// Reads the time of the store. In a cluster, one server supplies the time, because the clocks of the servers can
    /// differ.
    async fn read_time(&self, connection: &mut Connection) -> Result<(), ConnectError> {
        let time_source = self.time_source.lock().clone();
        let sent = self.clock().boot_time();
        let answer = connection
            .ask_server(time_source.as_ref(), &redis::cmd("TIME"))
            .await?;
        let received = self.clock().boot_time();
        let (seconds, micros): (u64, u64) =
            redis::from_redis_value(answer).map_err(RedisError::from)?;
        let millis = seconds.saturating_mul(1000).saturating_add(micros / 1000);
        self.clock()
            .add_sample(sent, Timestamp::from_millis(millis), received);
        Ok(())
    }

    /// Records the primaries. Increments the incarnation if the primaries have changed. Also increments the incarnation
    /// if the connection `is_new`, because a primary may have restarted and lost data.
    async fn update_primaries(
        &self,
        connection: &mut Connection,
        is_new: bool,
    ) -> Result<(), ConnectError> {
        let mut command = redis::cmd("INFO");
        command.arg("server");
        let (mut run_ids, mut addresses) = (Vec::new(), Vec::new());
        for (address, answer) in connection.ask_every_primary(&command).await? {
            let text: String = redis::from_redis_value(answer).map_err(RedisError::from)?;
            run_ids.extend(info::field(&text, "run_id").map(str::to_owned));
            addresses.extend(address);
        }
        run_ids.sort_unstable();
        let mut time_source = self.time_source.lock();
        if !time_source
            .as_ref()
            .is_some_and(|source| addresses.contains(source))
        {
            // Every process selects the same server: the server with the lowest address.
            *time_source = addresses.iter().min().cloned();
        }
        drop(time_source);
        *self.cluster_primaries.lock() = addresses;
        let mut primaries = self.primary_run_ids.lock();
        let have_changed = *primaries != run_ids;
        *primaries = run_ids;
        drop(primaries);
        if is_new || have_changed {
            self.incarnation.send_modify(|number| *number += 1);
        }
        Ok(())
    }
}
