//! What a provider signs to tell that sessions have ended.

mod event;
mod logout;

use serde_json::{Map, Value};

use super::invalid::InvalidJwt;
use super::verify::Issuer;
use crate::session::{Subject, Timestamp};

/// Something that an issuer tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The notice's own name.
    pub id: String,
    /// When it was issued.
    pub issued: Timestamp,
    /// Whose sessions have ended; `None` where it tells of something else.
    pub ended: Option<Whom>,
}

/// Whose sessions have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whom {
    /// What stands for them, among the names that a session has from its provider.
    pub name: Subject,
    /// Whether that is one session of the provider, and not everything of a subject.
    pub one: bool,
    /// The subject that has these sessions here, where that is known.
    pub subject: Option<Subject>,
}

/// A notice that is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNotice {
    /// It is no good as a token.
    #[error(transparent)]
    Token(#[from] InvalidJwt),
    /// It does not tell what it should.
    #[error("it does not tell of such an event")]
    Event,
    /// It has a nonce, as an ID token has.
    #[error("it has a nonce")]
    Nonce,
    /// It does not say who is meant, or not in a way that is understood.
    #[error("it does not say whose sessions are meant in a way that is understood")]
    Nobody,
    /// It has no name of its own, or does not say when it was issued.
    #[error("it has no jti or no iat")]
    Nameless,
}

impl InvalidNotice {
    /// Whether newer keys of the issuer may help.
    #[must_use]
    pub fn is_unknown_key(&self) -> bool {
        *self == Self::Token(InvalidJwt::UnknownKey)
    }
}

impl Issuer {
    /// The sessions that a provider names by its own session, its subject, or both.
    pub(super) fn whom(&self, subject: Option<&str>, sid: Option<&str>) -> Option<Whom> {
        let name = match (sid, subject) {
            (Some(sid), _) => self.provider_session(sid),
            (None, Some(subject)) => self.provider_subject(subject),
            (None, None) => return None,
        };
        // Under another claim's text the subject is not known by its `sub`.
        let subject = subject.filter(|_| self.claims.subject == "sub");
        Some(Whom {
            name,
            one: sid.is_some(),
            subject: subject.and_then(|subject| Subject::new(subject).ok()),
        })
    }
}

/// A text that says something.
fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    let text = claims.get(name).and_then(Value::as_str);
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
