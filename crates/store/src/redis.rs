//! The store for sessions in Redis 7.0 or newer, or in Valkey.
//!
//! A check sends only simple commands: `PEXPIRETIME` and `GET` in one round trip to read the record, and `PEXPIREAT …
//! GT` to write a touch. The expiry of the key encodes the last activity (`last_seen = PEXPIRETIME - retention`). So a
//! touch is monotonic and idempotent, and it cannot create or revive a key. Rare changes use the scripts in
//! `migrations/`.

mod connection;
mod cut_offs;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod generation;
mod history;
mod index;
mod invalidation;
mod jobs;
mod keys;
mod managed_connection;
mod queue;
mod record;
mod replication;
mod route_checks;
mod scan;
mod script;
mod sealed_value;
mod timekeeping;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::{FromRedisValue, RedisError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Change, ChangeOutcome, CreateOutcome, Cursor, EndOutcome, EndRequest, Page, Replication,
    SessionStore, StoreError, Touch,
};
use crate::LocalStore;
use crate::clock::{AcceptedClock, Clock, StoreClock};
use crate::credential::KeyRing;
use crate::live::Live;
use crate::session::{Session, SessionId, State, Subject, Timestamp};

pub use connection::{Address, ConnectError, Password, RedisSettings, RedisTarget, Tls, Topology};
pub use jobs::{Migration, Progress, Schema, SealCount};
pub use script::ScriptTexts;

use connection::{Connection, Request};
use format::Upgrade;
use generation::Generation;
use invalidation::Message;
use keys::Keys;
use managed_connection::{ConnectionSetup, ManagedConnection};
use script::{Replacement, Scripts};
use timekeeping::Timekeeping;

/// Maximum attempts to change a record, if other writers change the record between the read and the write.
const MAX_ATTEMPTS: usize = 5;
/// The reply of `0001_replace.lua` when the script replaced the record but could not publish the invalidation.
const REPLACED_NOT_PUBLISHED: u8 = 2;
/// Timeout for one background operation.
const BACKGROUND_TIMEOUT: Duration = Duration::from_secs(5);

/// Sessions in Redis: one server, a primary found by sentinels, or a cluster.
pub struct RedisStore {
    managed_connection: Arc<ManagedConnection>,
    /// The connection for `WAIT`. Curfew opens it when it is first needed. `WAIT` blocks a connection, so no other
    /// operation may share this connection.
    wait_connection: Arc<tokio::sync::Mutex<Option<replication::WaitConnection>>>,
    keys: Arc<Keys>,
    key_ring: Live<KeyRing>,
    upgrade: Arc<Upgrade>,
    scripts: Arc<Scripts>,
    cut_offs: Arc<cut_offs::LocalCopy>,
    generation: Arc<Generation>,
    /// Whether this process answers checks. A CLI command answers none.
    answers_checks: bool,
    /// Timeout for one operation, including the wait for a connection.
    budget: Duration,
}

/// A record as it is stored in Redis.
struct StoredRecord {
    session: Session,
    bytes: Vec<u8>,
    expiry: Timestamp,
}

impl RedisStore {
    /// Creates a store for the servers in `settings`. The operations of the store fail until [`RedisStore::run`]
    /// connects. `run` also sets `clock` to decision time, the common time of all replicas. The store encrypts records
    /// with `key_ring`.
    #[must_use]
    pub fn new(settings: RedisSettings, clock: Arc<StoreClock>, key_ring: Live<KeyRing>) -> Self {
        let max_cut_offs = settings.max_cut_offs;
        let keys = Keys::new(&settings.prefix);
        let is_cluster = matches!(settings.topology, Topology::Cluster(_));
        let scripts = settings.scripts;
        let generation = Generation::new(
            Arc::clone(&clock),
            key_ring.clone(),
            &keys,
            is_cluster,
            scripts.swap,
        );
        let timekeeping = Timekeeping::new(clock, key_ring.clone(), &keys, scripts.swap);
        Self {
            generation: Arc::new(generation),
            answers_checks: true,
            keys: Arc::new(keys),
            key_ring,
            upgrade: Arc::new(Upgrade::new(settings.sealed_only)),
            budget: settings.command_timeout,
            managed_connection: Arc::new(ManagedConnection::new(settings, timekeeping)),
            wait_connection: Arc::default(),
            scripts: Arc::new(Scripts::new(&scripts)),
            cut_offs: Arc::new(cut_offs::LocalCopy::new(max_cut_offs)),
        }
    }

    /// Configures the store for a CLI command. A CLI command answers no checks, so the store does not test whether
    /// Redis has lost data.
    #[must_use]
    pub fn for_command(mut self) -> Self {
        self.answers_checks = false;
        self
    }

    /// Returns the same store with a longer timeout, for background work.
    fn with_background_timeout(&self) -> Self {
        Self {
            managed_connection: Arc::clone(&self.managed_connection),
            wait_connection: Arc::clone(&self.wait_connection),
            keys: Arc::clone(&self.keys),
            key_ring: self.key_ring.clone(),
            upgrade: Arc::clone(&self.upgrade),
            scripts: Arc::clone(&self.scripts),
            cut_offs: Arc::clone(&self.cut_offs),
            generation: Arc::clone(&self.generation),
            answers_checks: self.answers_checks,
            budget: self.budget.max(BACKGROUND_TIMEOUT),
        }
    }

    /// Applies an operator's decision about the clocks to all replicas. Returns `false` while the replicas compare
    /// their clocks, which takes a few seconds. Also returns `false` if another replica wrote the timeline (the value
    /// in Redis with which replicas agree on decision time) at the same time.
    ///
    /// # Errors
    /// [`StoreError`] if the store could not save the decision.
    pub async fn accept_clock(&self, accepted: AcceptedClock) -> Result<bool, StoreError> {
        let mut connection = self.managed_connection.acquire(BACKGROUND_TIMEOUT).await?;
        let accepting = self
            .managed_connection
            .timekeeping()
            .accept(&mut connection, accepted);
        match tokio::time::timeout(BACKGROUND_TIMEOUT, accepting).await {
            Ok(accepted) => Ok(accepted?),
            Err(_) => Err(StoreError::Unavailable(
                "no reply from Redis in time".to_owned(),
            )),
        }
    }

    /// Returns the clock that shows decision time.
    #[must_use]
    pub fn clock(&self) -> &Arc<StoreClock> {
        self.managed_connection.clock()
    }

    /// Connects to Redis, and reconnects until `stop` is cancelled.
    ///
    /// # Errors
    /// [`ConnectError::NewerSchema`] when a newer version of Curfew wrote the records. After any other error, this
    /// function retries without end.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), ConnectError> {
        self.managed_connection.run(stop, self).await
    }

    /// Sends a request once, within the operation timeout.
    async fn send_once<T: FromRedisValue>(&self, request: &impl Request) -> Result<T, StoreError> {
        self.managed_connection
            .send_once(self.budget, request)
            .await
    }

    /// Sends an idempotent request, and resends it after a lost connection, within the operation timeout.
    async fn send_with_retry<T: FromRedisValue>(
        &self,
        request: &impl Request,
    ) -> Result<T, StoreError> {
        self.managed_connection
            .send_with_retry(self.budget, request)
            .await
    }

    /// Reads a record and its expiry. Reads the expiry first, because then the record shows a session end that
    /// happens between the two reads.
    async fn read_record(&self, id: SessionId) -> Result<Option<StoredRecord>, StoreError> {
        let key = self.keys.session(id);
        let mut pipeline = redis::pipe();
        pipeline.cmd("PEXPIRETIME").arg(&key).get(&key);
        let (expiry, bytes): (i64, Option<Vec<u8>>) = self.send_with_retry(&pipeline).await?;
        let stored = combine_replies(expiry, bytes, |bytes, expiry| {
            let key_ring = self.key_ring.current();
            record::decode(id, bytes, expiry, self.upgrade.accepts_plain(), &key_ring)
        });
        if matches!(&stored, Err(error) if *error == record::MISPLACED) {
            tracing::error!("Redis replied with the record of another session; reconnecting");
            self.managed_connection.invalidate_connection();
        }
        stored
    }

    /// Replaces a record, unless the record has changed since `stored` was read. A touch counts as a change, unless
    /// `even_if_touched` is `true`. Returns `false` if the record has changed.
    async fn replace_record(
        &self,
        id: SessionId,
        stored: &StoredRecord,
        even_if_touched: bool,
        session: &Session,
    ) -> Result<bool, StoreError> {
        let (key, session) = (self.keys.session(id), self.fit_to_format(session));
        let record = self.encode(id, &session)?;
        let invalidation = Message::Invalidation(id, self.clock().now());
        let replacement = Replacement {
            key: &key,
            expected: &stored.bytes,
            expected_expiry: (!even_if_touched).then_some(stored.expiry),
            record: &record,
            expiry: self.expiry(&session),
            channel: &self.keys.invalidation_channel(),
            message: &invalidation.encode(),
        };
        let reply: u8 = self.send_once(&replacement.call(&self.scripts)).await?;
        if reply == REPLACED_NOT_PUBLISHED {
            tracing::debug!("the ACL of Redis denies PUBLISH on the invalidation channel");
        }
        Ok(reply != 0)
    }
}

impl RedisStore {
    /// Returns the session without the parts that the current record format cannot store.
    fn fit_to_format(&self, session: &Session) -> Session {
        record::fit_to_format(session, self.upgrade.format())
    }

    /// Encodes a session that [`RedisStore::fit_to_format`] returned.
    fn encode(&self, id: SessionId, session: &Session) -> Result<Vec<u8>, StoreError> {
        // The upgrade from plain to sealed records can begin between `fit_to_format` and `encode`. Only the sealed
        // format can store a margin, so a session with a margin is always encoded in the sealed format.
        let format = match session.margin.is_zero() {
            true => self.upgrade.format(),
            false => format::Format::Sealed,
        };
        record::encode(id, session, format, &self.key_ring.current())
    }

    /// Returns the expiry of a record's key. For a live session, the expiry is in decision time (the common time of all
    /// replicas), because it encodes the last activity. For a tombstone, the expiry is in the time of the Redis clock,
    /// because Redis deletes the key with its own clock.
    fn expiry(&self, session: &Session) -> Timestamp {
        match session.state {
            State::Live => session.expiry_with_margin(),
            // A wrong Redis clock must not shorten the life of the tombstone.
            State::Ended(_) => self
                .clock()
                .store_time_of(session.expires())
                .max(session.expires()),
        }
    }
}

impl ConnectionSetup for RedisStore {
    async fn before_join(&self, connection: Connection) -> Result<(), ConnectError> {
        self.check_schema(connection).await
    }

    async fn after_join(&self, connection: Connection) -> Result<(), ConnectError> {
        self.check_for_data_loss(connection).await
    }
}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> Self {
        let text = error.to_string();
        // `into_server_errors` also returns the errors in the replies of a pipeline.
        let is_full = error
            .into_server_errors()
            .is_some_and(|errors| errors.iter().any(|(_, error)| error.code() == "OOM"));
        if is_full {
            Self::OutOfMemory(text)
        } else {
            Self::Unavailable(text)
        }
    }
}

/// Combines the replies of `PEXPIRETIME` and `GET`.
fn combine_replies(
    expiry: i64,
    bytes: Option<Vec<u8>>,
    decode: impl FnOnce(&[u8], Timestamp) -> Result<Session, StoreError>,
) -> Result<Option<StoredRecord>, StoreError> {
    /// The reply of `PEXPIRETIME` for a missing key.
    const MISSING: i64 = -2;
    let Some(bytes) = bytes else { return Ok(None) };
    if expiry == MISSING {
        // Another process created the key after the first command, so there was no record at that time.
        return Ok(None);
    }
    let expiry = u64::try_from(expiry)
        .map(Timestamp::from_millis)
        .map_err(|_| StoreError::Unreadable("the key has no expiry"))?;
    let session = decode(&bytes, expiry)?;
    Ok(Some(StoredRecord {
        session,
        bytes,
        expiry,
    }))
}

#[async_trait]
impl SessionStore for RedisStore {
    async fn load(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        let session = self.read_record(id).await?.map(|stored| stored.session);
        if let Some(session) = &session {
            self.refresh_cut_offs_of(session).await?;
        }
        Ok(session)
    }

    async fn create(&self, id: SessionId, session: &Session) -> Result<CreateOutcome, StoreError> {
        self.refresh_cut_offs_of(session).await?;
        // Curfew writes the index entry before the record, so that the index contains every existing session. If the
        // creation of the record fails, a later listing removes the entry.
        self.add_to_index(id, session).await?;
        let session = self.fit_to_format(session);
        let mut set = redis::cmd("SET");
        set.arg(self.keys.session(id))
            .arg(self.encode(id, &session)?);
        set.arg("NX")
            .arg("PXAT")
            .arg(self.expiry(&session).as_millis());
        let created: Option<String> = self.send_once(&set).await?;
        Ok(if created.is_some() {
            CreateOutcome::Created
        } else {
            CreateOutcome::Exists
        })
    }

    async fn touch(&self, id: SessionId, touch: Touch) -> Result<(), StoreError> {
        let mut extend = redis::cmd("PEXPIREAT");
        extend
            .arg(self.keys.session(id))
            .arg(touch.at.plus(touch.retention).as_millis())
            .arg("GT");
        self.send_with_retry(&extend).await
    }

    async fn end(&self, id: SessionId, ending: EndRequest) -> Result<EndOutcome, StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            let Some(stored) = self.read_record(id).await? else {
                return Ok(EndOutcome::Unknown);
            };
            let mut session = stored.session.clone();
            if session.state != State::Live {
                return Ok(EndOutcome::AlreadyEnded(session));
            }
            if ending
                .unless_touched_since
                .is_some_and(|last_seen| last_seen != session.last_seen)
            {
                return Ok(EndOutcome::Touched(session));
            }
            session.end(ending.reason, ending.at);
            let even_if_touched = ending.unless_touched_since.is_none();
            if self
                .replace_record(id, &stored, even_if_touched, &session)
                .await?
            {
                return Ok(EndOutcome::Ended(session));
            }
        }
        Err(StoreError::Contended)
    }

    async fn keep_tombstone(&self, id: SessionId, until: Timestamp) -> Result<(), StoreError> {
        let Some(stored) = self.read_record(id).await? else {
            return Ok(());
        };
        if stored.session.state == State::Live {
            return Ok(());
        }
        // Like a touch, this command can only move the expiry forward. It cannot create a key or shorten the
        // retention.
        let mut extend = redis::cmd("PEXPIREAT");
        extend
            .arg(self.keys.session(id))
            .arg(self.clock().store_time_of(until).max(until).as_millis())
            .arg("GT");
        self.send_with_retry(&extend).await
    }

    async fn withdraw(&self, id: SessionId, session: &Session) -> Result<bool, StoreError> {
        let Some(stored) = self.read_record(id).await? else {
            return Ok(false);
        };
        if !stored.session.is_same_sign_in(&self.fit_to_format(session)) {
            return Ok(false);
        }
        let mut withdraw = self.scripts.withdraw.key(self.keys.session(id));
        withdraw
            .arg(&stored.bytes)
            .arg(self.keys.invalidation_channel())
            .arg(Message::Invalidation(id, self.clock().now()).encode());
        self.send_once(&withdraw).await
    }

    async fn change(&self, id: SessionId, change: &Change) -> Result<ChangeOutcome, StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            let Some(stored) = self.read_record(id).await? else {
                return Ok(ChangeOutcome::Unknown);
            };
            let changed = match change.apply_to(stored.session.clone()) {
                ChangeOutcome::Changed(changed) => self.fit_to_format(&changed),
                outcome => return Ok(outcome),
            };
            // The script also compares the expiry, so that it does not undo a touch that was written after the read.
            if self.replace_record(id, &stored, false, &changed).await? {
                return Ok(ChangeOutcome::Changed(changed));
            }
        }
        Err(StoreError::Contended)
    }

    async fn age(&self, id: SessionId, by: Duration) -> Result<Option<Session>, StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            let Some(stored) = self.read_record(id).await? else {
                return Ok(None);
            };
            let mut session = stored.session.clone();
            session.age(by);
            if self.replace_record(id, &stored, false, &session).await? {
                return Ok(Some(session));
            }
        }
        Err(StoreError::Contended)
    }

    async fn list(
        &self,
        subject: &Subject,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.list_sessions(subject, after, limit).await
    }

    async fn wait_replicated(&self, id: SessionId) -> Result<Replication, StoreError> {
        Ok(self.wait_for_session_writes(id).await)
    }

    async fn ready(&self) -> Result<(), StoreError> {
        if self.managed_connection.is_cluster() {
            // A cluster with one server down counts as usable, because this process can still serve the sessions on
            // the other servers.
            let connection = self.managed_connection.acquire(self.budget).await?;
            return if self
                .managed_connection
                .any_node_reachable(&connection)
                .await
            {
                Ok(())
            } else {
                let message = "no node of the cluster is reachable".to_owned();
                Err(StoreError::Unavailable(message))
            };
        }
        // A read of any key shows whether Redis answers. This key exists in every Redis that Curfew uses.
        let mut get = redis::cmd("GET");
        get.arg(self.keys.schema());
        self.send_once(&get).await
    }

    fn incarnation(&self) -> Option<watch::Receiver<u64>> {
        Some(self.managed_connection.incarnation())
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.mark_planned_stop().await;
        Ok(())
    }
}

/// This store caches nothing in the process.
impl LocalStore for RedisStore {
    fn load_cached(&self, _: SessionId) -> Option<Session> {
        None
    }

    fn try_buffer_touch(&self, _: SessionId, _: Touch) -> bool {
        false
    }
}
