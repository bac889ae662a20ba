//! Sessions in Redis 7.0 or newer, or Valkey.
//!
//! A check is plain commands: `PEXPIRETIME` and `GET` in one round trip, and `PEXPIREAT … GT` when
//! a touch is written. The last activity lives in the key's own expiry
//! (`last_seen = PEXPIRETIME - retention`), so a touch is monotonic, idempotent and can neither
//! create a key nor revive one. Everything rare goes through the script in `migrations/`.

mod connect;
mod keys;
mod record;
mod script;

use std::time::Duration;

use async_trait::async_trait;
use redis::aio::ConnectionManager;
use redis::{AsyncCommands, FromRedisValue, Pipeline, RedisError};

use super::{Creation, Cursor, EndOutcome, Ending, Page, SessionStore, StoreError, Touch};
use crate::session::{Session, SessionId, State, Subject, Timestamp};

pub use connect::{ConnectError, RedisSettings, Tls};
use keys::Keys;
use script::Replace;

/// How often a change is tried again when the record changed in between.
const ATTEMPTS: usize = 5;

/// Sessions in one Redis server.
pub struct RedisStore {
    connection: ConnectionManager,
    keys: Keys,
    replace: Replace,
    /// The most time that an operation takes, waiting for a connection included.
    budget: Duration,
}

/// A record as it stands in Redis.
struct Stored {
    session: Session,
    bytes: Vec<u8>,
    expiry: Timestamp,
}

impl RedisStore {
    /// A store on the server that `settings` name. The connection is made in the background and
    /// remade whenever it is lost; operations fail until then.
    ///
    /// # Errors
    /// [`ConnectError`] when the settings can't be used at all.
    pub fn new(settings: &RedisSettings) -> Result<Self, ConnectError> {
        Ok(Self {
            connection: connect::manager(settings)?,
            keys: Keys::new(&settings.prefix),
            replace: Replace::new(),
            budget: settings.command_timeout,
        })
    }

    /// Asks the server directly who it is, with an error that tells what is wrong, and refuses a
    /// schema that is newer than this program.
    ///
    /// # Errors
    /// [`ConnectError`] with the server's own words.
    pub async fn probe(&self, settings: &RedisSettings) -> Result<(), ConnectError> {
        connect::probe(settings, &self.keys).await
    }

    /// Runs a pipeline within the budget.
    async fn query<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        let mut connection = self.connection.clone();
        self.within_budget(pipeline.query_async(&mut connection))
            .await
    }

    async fn within_budget<T>(
        &self,
        run: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.budget, run).await {
            Ok(outcome) => outcome.map_err(|error| StoreError::Unavailable(error.to_string())),
            Err(_) => Err(StoreError::Unavailable(format!(
                "no answer within {:?}",
                self.budget
            ))),
        }
    }

    /// Reads a record with its expiry. The expiry is asked for first: if the session ends in
    /// between, the record says so.
    async fn read(&self, id: SessionId) -> Result<Option<Stored>, StoreError> {
        let key = self.keys.session(id);
        let mut pipeline = redis::pipe();
        pipeline.cmd("PEXPIRETIME").arg(&key).get(&key);
        let (expiry, bytes): (i64, Option<Vec<u8>>) = self.query(&pipeline).await?;
        stored(expiry, bytes)
    }

    /// Replaces a record that was read; says whether it was still the same.
    async fn replace(
        &self,
        id: SessionId,
        stored: &Stored,
        even_if_touched: bool,
        session: &Session,
    ) -> Result<bool, StoreError> {
        let expected_expiry = (!even_if_touched).then_some(stored.expiry);
        let mut connection = self.connection.clone();
        self.within_budget(self.replace.invoke(
            &mut connection,
            &self.keys.session(id),
            &stored.bytes,
            expected_expiry,
            &record::encode(session),
            session.expires(),
        ))
        .await
    }

    /// The next part of a subject's index, from a score on; `offset` skips members already seen.
    async fn index_part(
        &self,
        subject: &Subject,
        from: Timestamp,
        offset: isize,
        count: isize,
    ) -> Result<Vec<Cursor>, StoreError> {
        let mut connection = self.connection.clone();
        let part: Vec<(Vec<u8>, u64)> = self
            .within_budget(connection.zrangebyscore_limit_withscores(
                self.keys.subject(subject),
                from.as_millis(),
                "+inf",
                offset,
                count,
            ))
            .await?;
        part.into_iter()
            .map(|(member, score)| {
                let id = member
                    .try_into()
                    .map_err(|_| StoreError::Unreadable("a subject index holds a strange name"))?;
                Ok(Cursor {
                    expires: Timestamp::from_millis(score),
                    id: SessionId::from_bytes(id),
                })
            })
            .collect()
    }

    /// The records of `places`, without those that are gone or belong to someone else.
    async fn read_page(
        &self,
        subject: &Subject,
        places: &[Cursor],
    ) -> Result<Vec<(SessionId, Session)>, StoreError> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        for place in places {
            let key = self.keys.session(place.id);
            pipeline.cmd("PEXPIRETIME").arg(&key).get(&key);
        }
        let answers: Vec<redis::Value> = self.query(&pipeline).await?;
        let mut sessions = Vec::with_capacity(places.len());
        for (place, answer) in places.iter().zip(answers.chunks_exact(2)) {
            let unreadable = |_| StoreError::Unreadable("an answer of another type");
            let expiry = i64::from_redis_value_ref(&answer[0]).map_err(unreadable)?;
            let bytes = Option::<Vec<u8>>::from_redis_value_ref(&answer[1]).map_err(unreadable)?;
            if let Some(stored) = stored(expiry, bytes)?
                && stored.session.subject == *subject
            {
                sessions.push((place.id, stored.session));
            }
        }
        Ok(sessions)
    }
}

/// Puts together what `PEXPIRETIME` and `GET` answered.
fn stored(expiry: i64, bytes: Option<Vec<u8>>) -> Result<Option<Stored>, StoreError> {
    /// What `PEXPIRETIME` says of a key that does not exist.
    const MISSING: i64 = -2;
    let Some(bytes) = bytes else { return Ok(None) };
    if expiry == MISSING {
        // Created between the two commands; it was not there when we asked.
        return Ok(None);
    }
    let expiry = u64::try_from(expiry)
        .map(Timestamp::from_millis)
        .map_err(|_| StoreError::Unreadable("a session has no expiry"))?;
    let session = record::decode(&bytes, expiry)?;
    Ok(Some(Stored {
        session,
        bytes,
        expiry,
    }))
}

#[async_trait]
impl SessionStore for RedisStore {
    async fn load(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        Ok(self.read(id).await?.map(|stored| stored.session))
    }

    async fn create(&self, id: SessionId, session: &Session) -> Result<Creation, StoreError> {
        let (key, index) = (self.keys.session(id), self.keys.subject(&session.subject));
        let forgotten = session.expires_at_latest().as_millis();
        let mut pipeline = redis::pipe();
        // In one transaction, so that no session exists that its subject's index does not know.
        pipeline.atomic();
        pipeline
            .cmd("ZREMRANGEBYSCORE")
            .arg(&index)
            .arg("-inf")
            .arg(session.started.as_millis());
        pipeline.ignore();
        pipeline
            .cmd("ZADD")
            .arg(&index)
            .arg(forgotten)
            .arg(id.as_bytes())
            .ignore();
        pipeline
            .cmd("PEXPIREAT")
            .arg(&index)
            .arg(forgotten)
            .arg("NX")
            .ignore();
        pipeline
            .cmd("PEXPIREAT")
            .arg(&index)
            .arg(forgotten)
            .arg("GT")
            .ignore();
        pipeline.cmd("SET").arg(&key).arg(record::encode(session));
        pipeline
            .arg("NX")
            .arg("PXAT")
            .arg(session.expires().as_millis());
        let (created,): (Option<String>,) = self.query(&pipeline).await?;
        Ok(if created.is_some() {
            Creation::Created
        } else {
            Creation::Exists
        })
    }

    async fn touch(&self, id: SessionId, touch: Touch) -> Result<(), StoreError> {
        let expiry = touch.at.plus(touch.retention).as_millis();
        let mut pipeline = redis::pipe();
        pipeline
            .cmd("PEXPIREAT")
            .arg(self.keys.session(id))
            .arg(expiry)
            .arg("GT")
            .ignore();
        self.query(&pipeline).await
    }

    async fn end(&self, id: SessionId, ending: Ending) -> Result<EndOutcome, StoreError> {
        for _ in 0..ATTEMPTS {
            let Some(stored) = self.read(id).await? else {
                return Ok(EndOutcome::Unknown);
            };
            let mut session = stored.session.clone();
            if session.state != State::Live {
                return Ok(EndOutcome::AlreadyEnded(session));
            }
            if ending
                .unless_touched_since
                .is_some_and(|seen| seen != session.last_seen)
            {
                return Ok(EndOutcome::Touched(session));
            }
            session.end(ending.reason, ending.at);
            let even_if_touched = ending.unless_touched_since.is_none();
            if self.replace(id, &stored, even_if_touched, &session).await? {
                return Ok(EndOutcome::Ended(session));
            }
        }
        Err(StoreError::Contended)
    }

    async fn age(&self, id: SessionId, by: Duration) -> Result<Option<Session>, StoreError> {
        for _ in 0..ATTEMPTS {
            let Some(stored) = self.read(id).await? else {
                return Ok(None);
            };
            let mut session = stored.session.clone();
            session.age(by);
            if self.replace(id, &stored, false, &session).await? {
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
        let from = after.map_or(Timestamp::default(), |cursor| cursor.expires);
        let count = isize::try_from(limit.saturating_add(1)).unwrap_or(isize::MAX);
        let mut places: Vec<Cursor> = Vec::new();
        let mut offset = 0;
        // Sessions of the same millisecond share a score, so a page may begin among them.
        loop {
            let part = self.index_part(subject, from, offset, count).await?;
            let last_part = part.len() <= limit;
            places.extend(
                part.into_iter()
                    .filter(|place| after.is_none_or(|end| *place > end)),
            );
            if last_part || places.len() > limit {
                break;
            }
            offset += count;
        }
        let more = places.len() > limit;
        places.truncate(limit);
        let next = if more { places.last().copied() } else { None };
        Ok(Page {
            sessions: self.read_page(subject, &places).await?,
            next,
        })
    }

    async fn ready(&self) -> Result<(), StoreError> {
        let mut connection = self.connection.clone();
        let pong: Result<String, _> = self
            .within_budget(redis::cmd("PING").query_async(&mut connection))
            .await;
        pong.map(drop)
    }
}
