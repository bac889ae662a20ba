//! The deadline queue: a sorted set of sessions. The score of a session is the time at which it is due.

use async_trait::async_trait;

use super::RedisStore;
use crate::events::SessionEnded;
use crate::policy::Policies;
use crate::session::{SessionId, Timestamp};
use crate::{DeadlineQueue, StoreError};

#[async_trait]
impl DeadlineQueue for RedisStore {
    async fn enqueue(&self, id: SessionId, at: Timestamp) -> Result<(), StoreError> {
        let mut add = redis::cmd("ZADD");
        add.arg(self.keys.queue()).arg("NX");
        add.arg(at.as_millis()).arg(id.as_bytes());
        self.send_once(&add).await
    }

    async fn claim(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<SessionId>, StoreError> {
        let queue = self.keys.queue();
        let mut claim = self.scripts.claim.key(queue);
        claim.arg(now.as_millis()).arg(until.as_millis()).arg(limit);
        parse_ids(self.send_once(&claim).await?)
    }

    async fn peek_upcoming(&self, limit: usize) -> Result<Vec<SessionId>, StoreError> {
        let Some(last) = limit.checked_sub(1) else {
            return Ok(Vec::new());
        };
        let mut first = redis::cmd("ZRANGE");
        first.arg(self.keys.queue()).arg(0).arg(last);
        parse_ids(self.send_once(&first).await?)
    }

    async fn postpone(&self, id: SessionId, at: Timestamp) -> Result<(), StoreError> {
        let mut postpone = self.scripts.postpone.key(self.keys.queue());
        postpone.arg(id.as_bytes()).arg(at.as_millis());
        self.send_once(&postpone).await
    }

    async fn tighten_deadlines(&self, policies: &Policies) -> Result<(), StoreError> {
        self.tighten_all_deadlines(policies).await
    }

    async fn acknowledge(
        &self,
        id: SessionId,
        ended: Option<&SessionEnded>,
    ) -> Result<bool, StoreError> {
        let length = self
            .managed_connection
            .settings()
            .stream_length
            .unwrap_or(0);
        let (length, event) = match ended {
            Some(ended) if length > 0 => (length, stream_fields(ended)),
            _ => (0, Vec::new()),
        };
        let mut acknowledge = self.scripts.acknowledge.key(self.keys.queue());
        acknowledge.key(self.keys.events());
        acknowledge.arg(id.as_bytes()).arg(length).arg(event);
        self.send_once(&acknowledge).await
    }
}

/// Parses session IDs from the queue.
fn parse_ids(members: Vec<Vec<u8>>) -> Result<Vec<SessionId>, StoreError> {
    let ids = members.into_iter().map(|member| {
        let id = member.try_into();
        id.map(SessionId::from_bytes).map_err(|_| {
            StoreError::Unreadable("the deadline queue contains an invalid session ID")
        })
    });
    ids.collect()
}

/// Returns the field names and values of an entry in the Redis stream.
fn stream_fields(ended: &SessionEnded) -> Vec<String> {
    let fields = [
        ("event", "session.ended"),
        ("session", &ended.session),
        ("subject", &ended.subject),
        ("policy", &ended.policy),
        ("reason", ended.reason),
        ("started", &ended.started),
        ("last_seen", &ended.last_seen),
        ("ended", &ended.ended),
        ("actor_kind", ended.actor.kind),
        (
            "actor_name",
            ended.actor.name.as_deref().unwrap_or_default(),
        ),
    ];
    let fields = fields.into_iter();
    fields
        .flat_map(|(name, value)| [name.to_owned(), value.to_owned()])
        .collect()
}
