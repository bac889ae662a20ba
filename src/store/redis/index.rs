//! The index of a subject's sessions: a sorted set by the time from which each is forgotten.

use std::time::Duration;

use futures_util::future::join_all;
use redis::Cmd;

use super::RedisStore;
use crate::session::{Session, SessionId, Subject, Timestamp};
use crate::store::{Cursor, Page, StoreError};

/// How long after it was put into an index a session that is not there never comes any more: who
/// made it has been told that it failed.
const NEVER_COMES: Duration = Duration::from_secs(5);

impl RedisStore {
    /// Gives a new session its place, and takes away those of sessions that are long forgotten.
    pub(super) async fn put_into_index(
        &self,
        id: SessionId,
        session: &Session,
    ) -> Result<(), StoreError> {
        let index = self.keys.subject(&session.subject);
        let mut indexing = redis::pipe();
        indexing
            .cmd("ZREMRANGEBYSCORE")
            .arg(&index)
            .arg("-inf")
            .arg(session.started.as_millis());
        indexing.cmd("ZADD").arg(&index);
        indexing
            .arg(session.expires_at_latest().as_millis())
            .arg(id.as_bytes());
        expire_with(&mut indexing, &index, session);
        self.once(&indexing).await
    }

    /// Gives a session its place, if it has none.
    pub(super) async fn keep_in_index(
        &self,
        id: SessionId,
        session: &Session,
    ) -> Result<(), StoreError> {
        let index = self.keys.subject(&session.subject);
        let mut indexing = redis::pipe();
        indexing.cmd("ZADD").arg(&index).arg("NX");
        indexing
            .arg(session.expires_at_latest().as_millis())
            .arg(id.as_bytes());
        expire_with(&mut indexing, &index, session);
        self.once(&indexing).await
    }

    /// A page of a subject's sessions.
    pub(super) async fn page_of(
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

    /// The next part of a subject's index, from a score on; `offset` skips members already seen.
    async fn index_part(
        &self,
        subject: &Subject,
        from: Timestamp,
        offset: isize,
        count: isize,
    ) -> Result<Vec<Cursor>, StoreError> {
        let index = self.keys.subject(subject);
        let from = from.as_millis();
        let command = Cmd::zrangebyscore_limit_withscores(index, from, "+inf", offset, count);
        let part: Vec<(Vec<u8>, u64)> = self.repeat(&command).await?;
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

    /// The records of `places`, without those that are gone or belong to someone else; their
    /// places are given up in a while, unless they are filled by then.
    async fn read_page(
        &self,
        subject: &Subject,
        places: &[Cursor],
    ) -> Result<Vec<(SessionId, Session)>, StoreError> {
        // On one connection these are one pipeline.
        let records = join_all(places.iter().map(|place| self.read(place.id))).await;
        let (mut sessions, mut missing) = (Vec::with_capacity(places.len()), Vec::new());
        for (place, stored) in places.iter().zip(records) {
            match stored? {
                Some(stored) if stored.session.subject == *subject => {
                    sessions.push((place.id, stored.session));
                }
                _ => missing.push(place.id),
            }
        }
        if !missing.is_empty() {
            let (this, subject) = (self.patiently(), subject.clone());
            tokio::spawn(async move {
                tokio::time::sleep(NEVER_COMES).await;
                if let Err(error) = this.forget_missing(&subject, &missing).await {
                    tracing::debug!(%error, "a subject's index was not tidied up");
                }
            });
        }
        Ok(sessions)
    }

    /// Gives up the places of sessions in a subject's index that are still not there.
    async fn forget_missing(
        &self,
        subject: &Subject,
        missing: &[SessionId],
    ) -> Result<(), StoreError> {
        for id in missing {
            let mut exists = redis::cmd("EXISTS");
            exists.arg(self.keys.session(*id));
            if !self.repeat::<bool>(&exists).await? {
                let mut forget = redis::cmd("ZREM");
                forget.arg(self.keys.subject(subject)).arg(id.as_bytes());
                self.repeat::<()>(&forget).await?;
            }
        }
        Ok(())
    }
}

/// Keeps an index as long as its longest session.
fn expire_with(pipeline: &mut redis::Pipeline, index: &[u8], session: &Session) {
    for condition in ["NX", "GT"] {
        let expire = pipeline.cmd("PEXPIREAT").arg(index);
        expire
            .arg(session.expires_at_latest().as_millis())
            .arg(condition);
    }
}
