use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use redis::{ErrorKind, FromRedisValue, RedisError, RedisResult, ServerErrorKind};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::connect::{Connected, Connector};
use super::connection::Connection;
use super::open::is_primary;
use super::request::Request;
use super::settings::{Address, Password, RedisSettings, Topology};
use super::timekeeping::Timekeeping;
use super::{ConnectError, info};
use crate::StoreError;
use crate::clock::{Stopwatch, StoreClock};
use crate::secret::Secret;
use crate::session::Timestamp;

/// How often a connection is looked after: whether the server answers, is the primary, and what
/// time it has.
const HEALTH_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How long a heartbeat may take before the connection is given up. Well below the time after
/// which a fail-over begins, so that a server that hung and was replaced meanwhile is asked
/// nothing before the sentinels were.
const HEALTH_CHECK_TIMEOUT: Duration = Duration::from_millis(500);
/// How long nobody in a cluster may answer before it is connected to anew.
const CLUSTER_TIMEOUT_SECONDS: f64 = 2.0;
/// How often a replica that starts asks for the time until it has joined the timeline.
const JOIN_POLL_INTERVAL: Duration = Duration::from_millis(250);
/// After how long it says that it can't.
const JOIN_TIMEOUT: Duration = Duration::from_secs(15);
/// Heartbeats between two looks at the password file.
const PASSWORD_CHECK_EVERY: u32 = 10;
/// Pauses between attempts to connect: the first, and the longest.
const RECONNECT_DELAYS: (Duration, Duration) =
    (Duration::from_millis(20), Duration::from_millis(500));

/// What is done with each new connection before it is used.
pub(super) trait ConnectionSetup: Sync {
    /// Does it.
    fn before_join(
        &self,
        connection: Connection,
    ) -> impl Future<Output = Result<(), ConnectError>> + Send;

    /// Does what needs the time, once that is known.
    fn after_join(
        &self,
        connection: Connection,
    ) -> impl Future<Output = Result<(), ConnectError>> + Send;
}

/// The connection to Redis: made, looked after, and made again whenever it is lost or leads to a
/// server that is not the primary any more.
pub(super) struct ConnectionManager {
    settings: RedisSettings,
    timekeeping: Timekeeping,
    connection: watch::Sender<Option<Connection>>,
    /// Set when an operation failed in a way that may be the connection's fault.
    check_requested: Notify,
    /// Set when an answer belonged to another question.
    invalidated: Notify,
    /// Counts up whenever what was written last may be lost: another primary, or a restarted one.
    incarnation: watch::Sender<u64>,
    /// The run ids of all primaries.
    primaries: Mutex<Vec<String>>,
    /// The primaries of a cluster.
    servers: Mutex<Vec<Address>>,
    /// The server at the other end of a connection to one.
    server: Mutex<Option<Address>>,
    /// The one of them whose time counts.
    timekeeper: Mutex<Option<Address>>,
    /// Why there is no connection.
    last_failure: Mutex<String>,
}

impl ConnectionManager {
    pub(super) fn new(settings: RedisSettings, timekeeping: Timekeeping) -> Self {
        Self {
            settings,
            timekeeping,
            connection: watch::Sender::new(None),
            check_requested: Notify::new(),
            invalidated: Notify::new(),
            incarnation: watch::Sender::new(0),
            primaries: Mutex::default(),
            servers: Mutex::default(),
            server: Mutex::default(),
            timekeeper: Mutex::default(),
            last_failure: Mutex::new("not connected yet".to_owned()),
        }
    }

    pub(super) const fn settings(&self) -> &RedisSettings {
        &self.settings
    }

    pub(super) const fn clock(&self) -> &Arc<StoreClock> {
        self.timekeeping.clock()
    }

    pub(super) const fn timekeeping(&self) -> &Timekeeping {
        &self.timekeeping
    }

    /// Counts up whenever what was written last may be lost.
    pub(super) fn incarnation(&self) -> watch::Receiver<u64> {
        self.incarnation.subscribe()
    }

    /// The run ids of all primaries, in order.
    pub(super) fn primaries(&self) -> Vec<String> {
        self.primaries.lock().clone()
    }

    /// The primaries of a cluster; none where there is one server.
    pub(super) fn servers(&self) -> Vec<Address> {
        self.servers.lock().clone()
    }

    /// A server where all that is last_error can be heard, another one at every `attempt` where there
    /// are node.
    pub(super) fn subscribe_target(&self, attempt: usize) -> Option<Address> {
        let servers = self.servers.lock();
        let node = servers.get(attempt % servers.len().max(1));
        node.cloned().or_else(|| self.server.lock().clone())
    }

    /// Waits until there is no connection.
    pub(super) async fn lost(&self) {
        let mut connections = self.connection.subscribe();
        // Fails when this is manager_stopped, which waits for nobody.
        let _ = connections.wait_for(Option::is_none).await;
    }

    /// A connection, as soon as there is one within `budget`.
    pub(super) async fn connection(&self, budget: Duration) -> Result<Connection, StoreError> {
        self.within_budget(budget, connected(&mut self.connection.subscribe()))
            .await
    }

    /// Sends a request, and is answered within `budget`, the wait for a connection included.
    pub(super) async fn once<T: FromRedisValue>(
        &self,
        budget: Duration,
        request: &impl Request,
    ) -> Result<T, StoreError> {
        let attempt = async {
            let mut connection = connected(&mut self.connection.subscribe()).await?;
            request.send(&mut connection).await
        };
        let answer = self.within_budget(budget, attempt).await?;
        redis::from_redis_value(answer).map_err(|error| RedisError::from(error).into())
    }

    /// The same for a request that may be repeated: it is sent again after every connection that
    /// is lost under it.
    pub(super) async fn repeat<T: FromRedisValue>(
        &self,
        budget: Duration,
        request: &impl Request,
    ) -> Result<T, StoreError> {
        let attempts = async {
            let mut connections = self.connection.subscribe();
            loop {
                let mut connection = connected(&mut connections).await?;
                match request.send(&mut connection).await {
                    // A cluster's connection repeats it by itself.
                    Err(error)
                        if error.is_io_error() && matches!(connection, Connection::Single(_)) =>
                    {
                        self.check_requested.notify_one();
                        connections.changed().await.map_err(|_| manager_stopped())?;
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
        run: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(budget, run).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                if may_be_connection_failure(&error) {
                    self.check_requested.notify_one();
                }
                Err(error.into())
            }
            Err(_) => {
                self.check_requested.notify_one();
                let connected = self.connection.borrow().is_some();
                let reason = if connected {
                    no_answer(budget)
                } else {
                    self.last_failure.lock().clone()
                };
                Err(StoreError::Unavailable(reason))
            }
        }
    }

    /// Gives up the connection: an answer on it belonged to another question.
    pub(super) fn invalidate_connection(&self) {
        self.connection.send_replace(None);
        self.invalidated.notify_one();
    }

    /// Keeps a connection until stopped; `prepare` is run on each before it is used.
    ///
    /// # Errors
    /// [`ConnectError::NewerSchema`], which no later attempt could mend.
    pub(super) async fn run(
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
                    tracing::warn!(%why, "the connection to Redis was given up; connecting again");
                    *self.last_failure.lock() = why;
                }
                Some(Err(error @ ConnectError::NewerSchema { .. })) => return Err(error),
                Some(Err(error)) => {
                    let error = error.to_string();
                    *self.last_failure.lock() = error.clone();
                    if error != last_error {
                        tracing::error!(%error, "Redis can't be used; trying again until it can");
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

    /// Connects, and makes the connection fit for use: the time is known, and `prepare` is done.
    async fn connect(
        &self,
        connector: &mut Connector,
        setup: &impl ConnectionSetup,
    ) -> Result<Connected, ConnectError> {
        let connected = connector.connect(self.settings.command_timeout).await?;
        let mut connection = connected.connection.clone();
        let timeout = self.settings.connect_timeout;
        let preparing = async {
            self.update_primaries(&mut connection, true).await?;
            self.ask_time(&mut connection).await?;
            setup.before_join(connection.clone()).await
        };
        match tokio::time::timeout(timeout, preparing).await {
            Ok(done) => done?,
            Err(_) => return Err(ConnectError::Server(no_answer(timeout))),
        }
        self.join_timeline(&mut connection).await?;
        match tokio::time::timeout(timeout, setup.after_join(connection.clone())).await {
            Ok(begun) => begun?,
            Err(_) => return Err(ConnectError::Server(no_answer(timeout))),
        }
        self.server.lock().clone_from(&connected.server);
        self.connection.send_replace(Some(connection));
        Ok(connected)
    }

    /// Waits until the time is known that the other replicas go by. That takes a moment where the clocks
    /// agree, and a few seconds where they have to be compared.
    async fn join_timeline(&self, connection: &mut Connection) -> Result<(), ConnectError> {
        let joining = async {
            while !self.clock().has_joined() {
                self.timekeeping.sync(connection).await?;
                if !self.clock().has_joined() {
                    tokio::time::sleep(JOIN_POLL_INTERVAL).await;
                    self.ask_time(connection).await?;
                }
            }
            Ok(())
        };
        match tokio::time::timeout(JOIN_TIMEOUT, joining).await {
            Ok(joined) => joined,
            Err(_) => {
                let why =
                    "the clock of Redis jumps: its answers differ from one another".to_owned();
                Err(ConnectError::Server(why))
            }
        }
    }

    /// Looks after a connection until it must be given up; says why.
    async fn monitor_connection(
        &self,
        connector: &mut Connector,
        mut connected: Connected,
        setup: &impl ConnectionSetup,
    ) -> String {
        let mut checks = 0_u32;
        let mut password = self.settings.password.read().ok();
        let mut unreachable: Option<Stopwatch> = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(HEALTH_CHECK_INTERVAL) => {}
                () = self.check_requested.notified() => {}
                () = self.invalidated.notified() => {
                    return "an answer belonged to another question".to_owned();
                }
            }
            checks = checks.wrapping_add(1);
            match (
                self.check_health(&mut connected.connection).await,
                &connected.connection,
            ) {
                (Ok(()), _) => unreachable = None,
                (Err(why), Connection::Single(_)) => return why,
                // One server that does not answer is no reason to leave the others, which go on,
                // and it will be replaced. Only when all have moved away it does not mend itself.
                (Err(why), Connection::Cluster(_))
                    if !self.any_node_reachable(&connected.connection).await =>
                {
                    let unreachable = unreachable.get_or_insert_with(Stopwatch::start);
                    if unreachable.seconds() > CLUSTER_TIMEOUT_SECONDS {
                        return why;
                    }
                    // However many operations fail meanwhile and ask to look at once.
                    tokio::time::sleep(RECONNECT_DELAYS.0).await;
                }
                (Err(_), Connection::Cluster(_)) => unreachable = None,
            }
            if let Some(server) = &connected.server
                && !connector.is_current(server).await
            {
                return format!("{server} is not the primary any more");
            }
            if checks.is_multiple_of(PASSWORD_CHECK_EVERY) && self.has_new_password(&mut password) {
                match self.connect(connector, setup).await {
                    Ok(with_new_password) => {
                        tracing::info!(
                            "the password file has changed: connected to Redis with the new one"
                        );
                        connected = with_new_password;
                    }
                    Err(error) => {
                        tracing::error!(%error, "the password file has changed, and Redis does not take the new one; the connection made with the old one is kept");
                    }
                }
            }
        }
    }

    /// Whether the password file holds something else than before.
    fn has_new_password(&self, before: &mut Option<Option<Secret<String>>>) -> bool {
        if !matches!(self.settings.password, Password::File(_)) {
            return false;
        }
        let now = self.settings.password.read().ok();
        let changed = now.is_some() && now != *before;
        if changed {
            *before = now;
        }
        changed
    }

    /// Whether the connection is good; says why not.
    async fn check_health(&self, connection: &mut Connection) -> Result<(), String> {
        let check = async {
            let time = self.sync_time(connection).await;
            match connection {
                Connection::Single(connection) => {
                    time?;
                    if !is_primary(connection, HEALTH_CHECK_TIMEOUT).await? {
                        let demoted = "the server is not a primary any more".to_owned();
                        return Err(ConnectError::Server(demoted));
                    }
                    Ok(())
                }
                Connection::Cluster(_) => self.update_primaries(connection, false).await.and(time),
            }
        };
        match tokio::time::timeout(HEALTH_CHECK_TIMEOUT, check).await {
            Ok(checked) => checked.map_err(|error| error.to_string()),
            Err(_) => Err(no_answer(HEALTH_CHECK_TIMEOUT)),
        }
    }

    /// Whether any primary of a cluster answers.
    pub(super) async fn any_node_reachable(&self, connection: &Connection) -> bool {
        let servers = self.servers.lock().clone();
        let asked = servers.iter().map(async |server| {
            let (mut connection, command) = (connection.clone(), redis::cmd("TIME"));
            let answer = connection.ask(Some(server), &command);
            matches!(
                tokio::time::timeout(HEALTH_CHECK_TIMEOUT, answer).await,
                Ok(Ok(_))
            )
        });
        join_all(asked).await.contains(&true)
    }

    async fn sync_time(&self, connection: &mut Connection) -> Result<(), ConnectError> {
        self.ask_time(connection).await?;
        Ok(self.timekeeping.sync(connection).await?)
    }

    /// Asks for the store's time. In a cluster one server keeps it, and no other is asked in its
    /// place: another one's clock may be another.
    async fn ask_time(&self, connection: &mut Connection) -> Result<(), ConnectError> {
        let timekeeper = self.timekeeper.lock().clone();
        let sent = self.clock().boot();
        let answer = connection
            .ask(timekeeper.as_ref(), &redis::cmd("TIME"))
            .await?;
        let received = self.clock().boot();
        let (seconds, micros): (u64, u64) =
            redis::from_redis_value(answer).map_err(RedisError::from)?;
        let millis = seconds.saturating_mul(1000).saturating_add(micros / 1000);
        self.clock()
            .sample(sent, Timestamp::from_millis(millis), received);
        Ok(())
    }

    /// Notes which processes the primaries are, and counts an incarnation where they are others
    /// than before, or where the connection is `new`: a primary may have come back with less.
    async fn update_primaries(
        &self,
        connection: &mut Connection,
        new: bool,
    ) -> Result<(), ConnectError> {
        let mut command = redis::cmd("INFO");
        command.arg("server");
        let (mut found, mut addresses) = (Vec::new(), Vec::new());
        for (address, answer) in connection.ask_every_primary(&command).await? {
            let text: String = redis::from_redis_value(answer).map_err(RedisError::from)?;
            found.extend(info::field(&text, "run_id").map(str::to_owned));
            addresses.extend(address);
        }
        found.sort_unstable();
        let mut timekeeper = self.timekeeper.lock();
        if !timekeeper
            .as_ref()
            .is_some_and(|keeper| addresses.contains(keeper))
        {
            // The same one in every process.
            *timekeeper = addresses.iter().min().cloned();
        }
        drop(timekeeper);
        *self.servers.lock() = addresses;
        let mut primaries = self.primaries.lock();
        let others = *primaries != found;
        *primaries = found;
        drop(primaries);
        if new || others {
            self.incarnation.send_modify(|number| *number += 1);
        }
        Ok(())
    }

    /// Whether sessions are spread over node servers.
    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self.settings.topology, Topology::Cluster(_))
    }
}

/// Waits for a connection.
async fn connected(
    connections: &mut watch::Receiver<Option<Connection>>,
) -> RedisResult<Connection> {
    let connection = connections
        .wait_for(Option::is_some)
        .await
        .map_err(|_| manager_stopped())?;
    connection.clone().ok_or_else(manager_stopped)
}

fn no_answer(within: Duration) -> String {
    format!("no answer within {within:?}")
}

fn manager_stopped() -> RedisError {
    (
        ErrorKind::Client,
        "the connection to Redis is not kept any more",
    )
        .into()
}

/// Whether an error may mean that the connection leads nowhere, or to the wrong server.
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

/// A connection of its own for what takes longer, so that no check waits behind it.
pub(super) async fn open_dedicated(
    settings: &RedisSettings,
    timeout: Duration,
) -> Result<Connection, ConnectError> {
    Ok(Connector::new(settings.clone())
        .connect(timeout)
        .await?
        .connection)
}
