//! The ends of sessions, as other programs are told of them.

use serde::Serialize;

use crate::actor::{Actor, ActorView};
use crate::session::{Session, SessionId, State};

/// A session has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionEnded {
    /// The session's name, 32 hexadecimal digits. It is no credential.
    pub session: String,
    /// Whose session it was: the subject, or the name of an operator.
    pub subject: String,
    /// Its home policy.
    pub policy: String,
    /// Why it ended: `idle_timeout`, `absolute_timeout`, `revoked` or `signed_out`.
    pub reason: &'static str,
    /// When the subject signed in, RFC 3339.
    pub started: String,
    /// The last activity, RFC 3339.
    pub last_seen: String,
    /// When the end was established, RFC 3339.
    pub ended: String,
    /// Whether another process may have told this already: the one that ended the session died
    /// before it had noted that the end was told.
    pub redelivered: bool,
    /// Who ended it.
    pub actor: ActorView,
}

impl SessionEnded {
    /// The end that a tombstone records; `None` for a session that lives.
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

    /// What tells this end from any other: the same whoever tells it, and how often.
    #[must_use]
    pub fn id(&self) -> String {
        format!("session-ended-{}", self.session)
    }
}
