//! Verifies the notices of identity providers: logout tokens and security events.

mod logout_token;
mod security_event;

use serde_json::{Map, Value};

use super::error::InvalidJwt;
use super::verify::{Issuer, LogoutScope};
use crate::session::{Subject, Timestamp};

/// A verified notice of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The ID of the notice (`jti`), to detect replays.
    pub id: String,
    /// When the issuer issued the notice (`iat`).
    pub issued: Timestamp,
    /// The sessions that have ended; `None` if the notice is about another event.
    pub ended: Option<LogoutTarget>,
}

/// The sessions that a notice ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutTarget {
    /// The pseudo-subject that these sessions have in their attribute `provider`, see [`Subject::of_provider`].
    pub name: Subject,
    /// Whether the notice ends one session of the provider. If not, the notice ends all sessions of a subject.
    pub is_single_session: bool,
    /// The subject of these sessions in Curfew; `None` if the notice does not identify the subject.
    pub subject: Option<Subject>,
}

/// The reason why a notice is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNotice {
    /// The token is invalid.
    #[error(transparent)]
    Token(#[from] InvalidJwt),
    /// The notice has no supported event.
    #[error("missing or unsupported event")]
    Event,
    /// The notice has a nonce, so it may be an ID token.
    #[error("unexpected `nonce`: the token may be an ID token")]
    Nonce,
    /// The notice has no subject, or a subject in a format that Curfew does not support.
    #[error("missing or unsupported subject")]
    UnsupportedSubject,
    /// The notice has no `jti` or no `iat`.
    #[error("missing `jti` or `iat`")]
    MissingId,
}

impl InvalidNotice {
    /// Returns whether the caller should try again with newer keys of the issuer.
    #[must_use]
    pub fn is_unknown_key(&self) -> bool {
        *self == Self::Token(InvalidJwt::UnknownKey)
    }
}

impl Issuer {
    /// Returns the sessions that a notice ends, according to its `sub`, its `sid` and the scope of logouts. `None` if the
    /// notice has neither of the two claims.
    pub(super) fn logout_target(
        &self,
        subject: Option<&str>,
        sid: Option<&str>,
    ) -> Option<LogoutTarget> {
        let (name, is_single_session) = match (sid, subject, self.logout_scope) {
            (Some(_), Some(subject), LogoutScope::User) | (None, Some(subject), _) => {
                (self.provider_user_subject(subject), false)
            }
            (Some(sid), _, _) => (self.provider_session_subject(sid), true),
            (None, None, _) => return None,
        };
        // If Curfew reads the subject from a claim other than `sub`, `sub` does not identify the subject.
        let subject = subject.filter(|_| self.claims.subject == "sub");
        Some(LogoutTarget {
            name,
            is_single_session,
            subject: subject.and_then(|subject| Subject::new(subject).ok()),
        })
    }
}

/// Returns a claim that is a non-empty string; `None` for any other value.
fn non_empty_text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    let text = claims.get(name).and_then(Value::as_str);
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
