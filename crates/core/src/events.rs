//! The events for session ends, in the form that webhooks and other programs receive.

use serde::Serialize;

use crate::actor::{Actor, ActorView};
use crate::session::{Session, SessionId, State};

/// The event for a session end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionEnded {
    /// The session ID, 32 hexadecimal digits. It is not a credential.
    pub session: String,
    /// The owner of the session: the subject, or the name of an operator.
    pub subject: String,
    /// The home policy of the session: the policy that was fixed at the sign-in.
    pub policy: String,
    /// The reason: `idle_timeout`, `absolute_timeout`, `revoked` or `signed_out`.
    pub reason: &'static str,
    /// When the subject signed in (RFC 3339).
    pub started: String,
    /// The last activity (RFC 3339).
    pub last_seen: String,
    /// When the session ended (RFC 3339).
    pub ended: String,
    /// `true` if this event may be a duplicate, because the process that ended the session stopped before it could
    /// acknowledge the first delivery.
    pub redelivered: bool,
    /// The actor that ended the session.
    pub actor: ActorView,
}

impl SessionEnded {
    /// The event for a tombstone, which is the record of an ended session; `None` for a live session.
    #[must_use]
    pub fn new(
        id: SessionId,
        tombstone: &Session,
        actor: &Actor,
        redelivered: bool,
    ) -> Option<Self> {
        let State::Ended(end) = tombstone.state else {
            return None;
        };
        Some(Self {
            session: id.to_string(),
            subject: tombstone.user_id().to_owned(),
            policy: tombstone.policy.to_string(),
            reason: end.reason.as_str(),
            started: tombstone.started.to_string(),
            last_seen: tombstone.last_seen.to_string(),
            ended: end.at.to_string(),
            redelivered,
            actor: actor.view(),
        })
    }

    /// The ID of the event for deduplication. Every replica and every redelivery uses the same ID.
    #[must_use]
    pub fn id(&self) -> String {
        format!("session-ended-{}", self.session)
    }
}
