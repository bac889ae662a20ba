use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use redis::{ErrorKind, FromRedisValue, RedisError, RedisResult, ServerErrorKind};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::connect::{Connected, Connector};
use super::open::is_primary;
use super::request::Request;
use super::settings::{Address, Password, RedisSettings, Topology};
use super::timekeeping::Timekeeping;
use super::wire::Wire;
use super::{ConnectError, info};
use crate::StoreError;
use crate::clock::{Stopwatch, StoreClock};
use crate::secret::Secret;
use crate::session::Timestamp;

/// How often a connection is looked after: whether the server answers, is the primary, and what
/// time it has.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// How long a heartbeat may take before the connection is given up. Well below the time after
/// which a fail-over begins, so that a server that hung and was replaced meanwhile is asked
/// nothing before the sentinels were.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long nobody in a cluster may answer before it is connected to anew.
const CLUSTER_HEARTBEAT_TIMEOUT: f64 = 2.0;
/// How often a replica that starts asks for the time until it has joined the timeline.
const JOIN_POLL: Duration = Duration::from_millis(250);
/// After how long it says that it can't.
const JOIN_TIMEOUT: Duration = Duration::from_secs(15);
/// Heartbeats between two looks at the password file.
const PASSWORD_BEATS: u32 = 10;
/// Pauses between attempts to connect: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// What is done with each new connection before it is used.
pub(super) trait Prepare: Sync {
    /// Does it.
    fn prepare(&self, wire: Wire) -> impl Future<Output = Result<(), ConnectError>> + Send;

    /// Does what needs the time, once that is known.
    fn begin(&self, wire: Wire) -> impl Future<Output = Result<(), ConnectError>> + Send;
}

/// The connection to Redis: made, looked after, and made again whenever it is lost or leads to a
/// server that is not the primary any more.
pub(super) struct ManagedConnection {
    settings: RedisSettings,
    timekeeping: Timekeeping,
    wire: watch::Sender<Option<Wire>>,
    /// Set when an operation failed in a way that may be the connection's fault.
    suspicion: Notify,
    /// Set when an answer belonged to another question.
    distrusted: Notify,
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
    trouble: Mutex<String>,
}

impl ManagedConnection {
    pub(super) fn new(settings: RedisSettings, timekeeping: Timekeeping) -> Self {
        Self {
            settings,
            timekeeping,
            wire: watch::Sender::new(None),
            suspicion: Notify::new(),
            distrusted: Notify::new(),
            incarnation: watch::Sender::new(0),
            primaries: Mutex::default(),
            servers: Mutex::default(),
            server: Mutex::default(),
            timekeeper: Mutex::default(),
            trouble: Mutex::new("not connected yet".to_owned()),
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

    /// A server where all that is told can be heard, another one at every `attempt` where there
    /// are several.
    pub(super) fn subscribe_target(&self, attempt: usize) -> Option<Address> {
        let servers = self.servers.lock();
        let several = servers.get(attempt % servers.len().max(1));
        several.cloned().or_else(|| self.server.lock().clone())
    }

    /// Waits until there is no connection.
    pub(super) async fn lost(&self) {
        let mut wires = self.wire.subscribe();
        // Fails when this is gone, which waits for nobody.
        let _ = wires.wait_for(Option::is_none).await;
    }

    /// A connection, as soon as there is one within `budget`.
    pub(super) async fn wire(&self, budget: Duration) -> Result<Wire, StoreError> {
        self.bounded(budget, connected(&mut self.wire.subscribe()))
            .await
    }

    /// Sends a request, and is answered within `budget`, the wait for a connection included.
    pub(super) async fn once<T: FromRedisValue>(
        &self,
        budget: Duration,
        request: &impl Request,
    ) -> Result<T, StoreError> {
        let attempt = async {
            let mut wire = connected(&mut self.wire.subscribe()).await?;
            request.send(&mut wire).await
        };
        let answer = self.bounded(budget, attempt).await?;
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
            let mut wires = self.wire.subscribe();
            loop {
                let mut wire = connected(&mut wires).await?;
                match request.send(&mut wire).await {
                    // A cluster's connection repeats it by itself.
                    Err(error) if error.is_io_error() && matches!(wire, Wire::Single(_)) => {
                        self.suspicion.notify_one();
                        wires.changed().await.map_err(|_| gone())?;
                    }
                    outcome => return outcome,
                }
            }
        };
        let answer = self.bounded(budget, attempts).await?;
        redis::from_redis_value(answer).map_err(|error| RedisError::from(error).into())
    }

    async fn bounded<T>(
        &self,
        budget: Duration,
        run: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(budget, run).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                if is_lost(&error) {
                    self.suspicion.notify_one();
                }
                Err(error.into())
            }
            Err(_) => {
                self.suspicion.notify_one();
                let connected = self.wire.borrow().is_some();
                let reason = if connected {
                    no_answer(budget)
                } else {
                    self.trouble.lock().clone()
                };
                Err(StoreError::Unavailable(reason))
            }
        }
    }

    /// Gives up the connection: an answer on it belonged to another question.
    pub(super) fn invalidate_connection(&self) {
        self.wire.send_replace(None);
        self.distrusted.notify_one();
    }

    /// Keeps a connection until stopped; `prepare` is run on each before it is used.
    ///
    /// # Errors
    /// [`ConnectError::NewerSchema`], which no later attempt could mend.
    pub(super) async fn run(
        &self,
        stop: CancellationToken,
        prepare: &impl Prepare,
    ) -> Result<(), ConnectError> {
        let mut connector = Connector::new(self.settings.clone());
        let (mut pause, mut told) = (PAUSES.0, String::new());
        loop {
            let connecting = self.connect(&mut connector, prepare);
            match stop.run_until_cancelled(connecting).await {
                None => return Ok(()),
                Some(Ok(connected)) => {
                    tracing::info!(
                        server = connected.server.as_ref().map(tracing::field::display),
                        "connected to Redis"
                    );
                    (pause, told) = (PAUSES.0, String::new());
                    let caring = self.monitor_connection(&mut connector, connected, prepare);
                    let lost = stop.run_until_cancelled(caring).await;
                    self.wire.send_replace(None);
                    let Some(why) = lost else { return Ok(()) };
                    tracing::warn!(%why, "the connection to Redis was given up; connecting again");
                    *self.trouble.lock() = why;
                }
                Some(Err(error @ ConnectError::NewerSchema { .. })) => return Err(error),
                Some(Err(error)) => {
                    let error = error.to_string();
                    *self.trouble.lock() = error.clone();
                    if error != told {
                        tracing::error!(%error, "Redis can't be used; trying again until it can");
                        told = error;
                    }
                    stop.run_until_cancelled(tokio::time::sleep(pause)).await;
                    pause = (2 * pause).min(PAUSES.1);
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
        prepare: &impl Prepare,
    ) -> Result<Connected, ConnectError> {
        let connected = connector.connect(self.settings.command_timeout).await?;
        let mut wire = connected.wire.clone();
        let patience = self.settings.connect_timeout;
        let preparing = async {
            self.note_primaries(&mut wire, true).await?;
            self.ask_time(&mut wire).await?;
            prepare.prepare(wire.clone()).await
        };
        match tokio::time::timeout(patience, preparing).await {
            Ok(done) => done?,
            Err(_) => return Err(ConnectError::Server(no_answer(patience))),
        }
        self.join_timeline(&mut wire).await?;
        match tokio::time::timeout(patience, prepare.begin(wire.clone())).await {
            Ok(begun) => begun?,
            Err(_) => return Err(ConnectError::Server(no_answer(patience))),
        }
        self.server.lock().clone_from(&connected.server);
        self.wire.send_replace(Some(wire));
        Ok(connected)
    }

    /// Waits until the time is known that the other replicas go by. That takes a moment where the clocks
    /// agree, and a few seconds where they have to be compared.
    async fn join_timeline(&self, wire: &mut Wire) -> Result<(), ConnectError> {
        let joining = async {
            while !self.clock().has_joined() {
                self.timekeeping.sync(wire).await?;
                if !self.clock().has_joined() {
                    tokio::time::sleep(JOIN_POLL).await;
                    self.ask_time(wire).await?;
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
        prepare: &impl Prepare,
    ) -> String {
        let mut beats = 0_u32;
        let mut password = self.settings.password.read().ok();
        let mut silent: Option<Stopwatch> = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(HEARTBEAT) => {}
                () = self.suspicion.notified() => {}
                () = self.distrusted.notified() => {
                    return "an answer belonged to another question".to_owned();
                }
            }
            beats = beats.wrapping_add(1);
            match (self.beat(&mut connected.wire).await, &connected.wire) {
                (Ok(()), _) => silent = None,
                (Err(why), Wire::Single(_)) => return why,
                // One server that does not answer is no reason to leave the others, which go on,
                // and it will be replaced. Only when all have moved away it does not mend itself.
                (Err(why), Wire::Cluster(_)) if !self.any_node_reachable(&connected.wire).await => {
                    let silent = silent.get_or_insert_with(Stopwatch::start);
                    if silent.seconds() > CLUSTER_HEARTBEAT_TIMEOUT {
                        return why;
                    }
                    // However many operations fail meanwhile and ask to look at once.
                    tokio::time::sleep(PAUSES.0).await;
                }
                (Err(_), Wire::Cluster(_)) => silent = None,
            }
            if let Some(server) = &connected.server
                && !connector.is_current(server).await
            {
                return format!("{server} is not the primary any more");
            }
            if beats.is_multiple_of(PASSWORD_BEATS) && self.has_new_password(&mut password) {
                match self.connect(connector, prepare).await {
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
    async fn beat(&self, wire: &mut Wire) -> Result<(), String> {
        let beat = async {
            let time = self.keep_time(wire).await;
            match wire {
                Wire::Single(connection) => {
                    time?;
                    if !is_primary(connection, HEARTBEAT_TIMEOUT).await? {
                        let demoted = "the server is not a primary any more".to_owned();
                        return Err(ConnectError::Server(demoted));
                    }
                    Ok(())
                }
                Wire::Cluster(_) => self.note_primaries(wire, false).await.and(time),
            }
        };
        match tokio::time::timeout(HEARTBEAT_TIMEOUT, beat).await {
            Ok(beat) => beat.map_err(|error| error.to_string()),
            Err(_) => Err(no_answer(HEARTBEAT_TIMEOUT)),
        }
    }

    /// Whether any primary of a cluster answers.
    pub(super) async fn any_node_reachable(&self, wire: &Wire) -> bool {
        let servers = self.servers.lock().clone();
        let asked = servers.iter().map(async |server| {
            let (mut wire, command) = (wire.clone(), redis::cmd("TIME"));
            let answer = wire.ask(Some(server), &command);
            matches!(
                tokio::time::timeout(HEARTBEAT_TIMEOUT, answer).await,
                Ok(Ok(_))
            )
        });
        join_all(asked).await.contains(&true)
    }

    async fn keep_time(&self, wire: &mut Wire) -> Result<(), ConnectError> {
        self.ask_time(wire).await?;
        Ok(self.timekeeping.sync(wire).await?)
    }

    /// Asks for the store's time. In a cluster one server keeps it, and no other is asked in its
    /// place: another one's clock may be another.
    async fn ask_time(&self, wire: &mut Wire) -> Result<(), ConnectError> {
        let timekeeper = self.timekeeper.lock().clone();
        let sent = self.clock().boot();
        let answer = wire.ask(timekeeper.as_ref(), &redis::cmd("TIME")).await?;
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
    async fn note_primaries(&self, wire: &mut Wire, new: bool) -> Result<(), ConnectError> {
        let mut command = redis::cmd("INFO");
        command.arg("server");
        let (mut found, mut addresses) = (Vec::new(), Vec::new());
        for (address, answer) in wire.ask_every_primary(&command).await? {
            let text: String = redis::from_redis_value(answer).map_err(RedisError::from)?;
            found.extend(info::fact(&text, "run_id").map(str::to_owned));
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

    /// Whether sessions are spread over several servers.
    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self.settings.topology, Topology::Cluster(_))
    }
}

/// Waits for a connection.
async fn connected(wires: &mut watch::Receiver<Option<Wire>>) -> RedisResult<Wire> {
    let wire = wires.wait_for(Option::is_some).await.map_err(|_| gone())?;
    wire.clone().ok_or_else(gone)
}

fn no_answer(within: Duration) -> String {
    format!("no answer within {within:?}")
}

fn gone() -> RedisError {
    (
        ErrorKind::Client,
        "the connection to Redis is not kept any more",
    )
        .into()
}

/// Whether an error may mean that the connection leads nowhere, or to the wrong server.
fn is_lost(error: &RedisError) -> bool {
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
pub(super) async fn separate(
    settings: &RedisSettings,
    patience: Duration,
) -> Result<Wire, ConnectError> {
    Ok(Connector::new(settings.clone())
        .connect(patience)
        .await?
        .wire)
}
