//! The index of each subject's sessions. The indexes are sorted sets, and the score of a session is the time at which
//! its entry can be removed.
//!
//! A set for each subject would take more memory than the sessions. So subjects share 65,536 sets, selected by two
//! bytes of a hash. Each member begins with eight more bytes of the hash, followed by the session ID. Redis stores a
//! small set as one block of memory (listpack), without a node for each member.

use std::time::Duration;

use futures_util::future::join_all;
use redis::{Cmd, Pipeline};

use super::RedisStore;
use crate::cut_offs::subject_key;
use crate::session::{CLOCK_MARGIN, Session, SessionId, Subject, Timestamp};
use crate::{Cursor, Page, StoreError};

/// The longest time from the write of a session's index entry to the write of its record. If there is no record after
/// this time, the creation of the session has failed.
const CREATE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many entries one command reads.
const INDEX_PAGE_ENTRIES: isize = 1000;

impl RedisStore {
    /// Adds a new session to the index, and removes expired entries.
    pub(super) async fn add_to_index(
        &self,
        id: SessionId,
        session: &Session,
    ) -> Result<(), StoreError> {
        let mut indexing = redis::pipe();
        indexing
            .cmd("ZREMRANGEBYSCORE")
            .arg(self.keys.index(&session.subject))
            .arg("-inf")
            .arg(session.started.as_millis());
        self.add_entry(&mut indexing, id, session);
        self.send_once(&indexing).await
    }

    /// Adds a session to the index if the index does not contain it yet.
    pub(super) async fn ensure_indexed(
        &self,
        id: SessionId,
        session: &Session,
    ) -> Result<(), StoreError> {
        let mut indexing = redis::pipe();
        self.add_entry(&mut indexing, id, session);
        self.send_once(&indexing).await
    }

    /// Adds the commands for an index entry to a pipeline. An entry never changes, so adding it twice does no harm.
    /// The index expires after the last of its sessions.
    fn add_entry(&self, pipeline: &mut Pipeline, id: SessionId, session: &Session) {
        let index = self.keys.index(&session.subject);
        let removable_at = session.expires_at_latest().as_millis();
        // The Redis clock may be ahead, so the expiry includes a margin.
        let index_expiry = session.expires_at_latest().plus(CLOCK_MARGIN).as_millis();
        let member = index_member(&session.subject, id);
        let add = pipeline.cmd("ZADD").arg(&index);
        add.arg(removable_at).arg(member);
        for condition in ["NX", "GT"] {
            let expire = pipeline.cmd("PEXPIREAT").arg(&index);
            expire.arg(index_expiry).arg(condition);
        }
    }

    /// Returns a page of a subject's sessions.
    pub(super) async fn list_sessions(
        &self,
        subject: &Subject,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let from = after.map_or(Timestamp::default(), |cursor| cursor.expires);
        let mut entries: Vec<Cursor> = Vec::new();
        let mut offset = 0;
        // A read starts at a score, and sessions that expire in the same millisecond have the same score. So the loop
        // skips entries up to the cursor, and reads until it has enough entries after the cursor.
        loop {
            let (part, is_last) = self.read_index_part(subject, from, offset).await?;
            entries.extend(
                part.into_iter()
                    .filter(|entry| after.is_none_or(|end| *entry > end)),
            );
            if is_last || entries.len() > limit {
                break;
            }
            offset += INDEX_PAGE_ENTRIES;
        }
        let has_more = entries.len() > limit;
        entries.truncate(limit);
        let next = if has_more {
            entries.last().copied()
        } else {
            None
        };
        Ok(Page {
            sessions: self.read_sessions(subject, &entries).await?,
            next,
        })
    }

    /// Reads the next part of a subject's index, from the score `from`. Returns the entries of the subject, and
    /// whether this part is the last. `offset` skips members that were already read.
    async fn read_index_part(
        &self,
        subject: &Subject,
        from: Timestamp,
        offset: isize,
    ) -> Result<(Vec<Cursor>, bool), StoreError> {
        let (index, from) = (self.keys.index(subject), from.as_millis());
        let command =
            Cmd::zrangebyscore_limit_withscores(index, from, "+inf", offset, INDEX_PAGE_ENTRIES);
        let part: Vec<(Vec<u8>, u64)> = self.send_with_retry(&command).await?;
        let is_last = part.len() < INDEX_PAGE_ENTRIES.unsigned_abs();
        let prefix = subject_prefix(subject);
        let entries = part.into_iter().filter_map(|(member, score)| {
            let id = member.strip_prefix(&prefix)?.try_into().ok()?;
            Some(Cursor {
                expires: Timestamp::from_millis(score),
                id: SessionId::from_bytes(id),
            })
        });
        Ok((entries.collect(), is_last))
    }

    /// Reads the records of `entries`. Skips missing records and records of other subjects. A background task later
    /// removes the entries whose records are still missing.
    async fn read_sessions(
        &self,
        subject: &Subject,
        entries: &[Cursor],
    ) -> Result<Vec<(SessionId, Session)>, StoreError> {
        // On one connection, the client sends these commands as one pipeline.
        let records = join_all(entries.iter().map(|entry| self.read_record(entry.id))).await;
        let (mut sessions, mut missing) = (Vec::with_capacity(entries.len()), Vec::new());
        for (entry, stored) in entries.iter().zip(records) {
            match stored {
                Ok(Some(stored)) if stored.session.subject == *subject => {
                    sessions.push((entry.id, stored.session));
                }
                Ok(_) => missing.push(entry.id),
                // An unreadable record must not prevent the listing and revocation of the subject's other sessions.
                Err(error @ StoreError::Unreadable(_)) => {
                    tracing::error!(session = %entry.id, %error, "could not read a session for a listing");
                }
                Err(error) => return Err(error),
            }
        }
        if !missing.is_empty() {
            let (this, subject) = (self.with_background_timeout(), subject.clone());
            let delay = CREATE_TIMEOUT.max(3 * self.budget);
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                if let Err(error) = this.remove_missing(&subject, &missing).await {
                    tracing::debug!(%error, "could not remove old entries from the index of a subject");
                }
            });
        }
        Ok(sessions)
    }

    /// Removes the index entries of the sessions in `missing`, except sessions that have a record now.
    async fn remove_missing(
        &self,
        subject: &Subject,
        missing: &[SessionId],
    ) -> Result<(), StoreError> {
        for id in missing {
            let mut exists = redis::cmd("EXISTS");
            exists.arg(self.keys.session(*id));
            if !self.send_with_retry::<bool>(&exists).await? {
                let mut forget = redis::cmd("ZREM");
                forget
                    .arg(self.keys.index(subject))
                    .arg(index_member(subject, *id));
                self.send_with_retry::<()>(&forget).await?;
            }
        }
        Ok(())
    }
}

/// Returns the member of a session in the index of its subject.
fn index_member(subject: &Subject, id: SessionId) -> Vec<u8> {
    [&subject_prefix(subject)[..], id.as_bytes()].concat()
}

/// Returns a prefix that distinguishes a subject from most other subjects in its index. If two subjects have the same
/// prefix, the records show which session belongs to which subject.
fn subject_prefix(subject: &Subject) -> [u8; 8] {
    let key = subject_key(subject);
    let mut prefix = [0; 8];
    prefix.copy_from_slice(&key[2..10]);
    prefix
}
