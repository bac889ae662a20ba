use serde_json::{Map, Value};

use super::{InvalidNotice, LogoutTarget, Notice, text};
use crate::credential::jwt::invalid::InvalidJwt;
use crate::credential::jwt::keys::KeySet;
use crate::credential::jwt::verify::{Issuer, TokenPurpose};
use crate::session::Timestamp;

/// The member of `events` for a revoked session (CAEP 1.0, section 3.1).
pub(super) const SESSION_REVOKED: &str =
    "https://schemas.openid.net/secevent/caep/event-type/session-revoked";

impl Issuer {
    /// Verifies a security event token (RFC 8417) at `now`. Only revoked sessions matter; a token with other events
    /// has no effect.
    ///
    /// # Errors
    /// [`InvalidNotice`] with the reason.
    pub fn verify_event(
        &self,
        token: &str,
        keys: &KeySet,
        now: Timestamp,
    ) -> Result<Notice, InvalidNotice> {
        let claims = self.verified_claims(token, keys, TokenPurpose::Event)?;
        self.check_parties(&claims)?;
        let issued = self.check_not_before(&claims, now)?;
        let (Some(id), Some(issued)) = (text(&claims, "jti"), issued) else {
            return Err(InvalidNotice::MissingId);
        };
        // A security event has no expiry unless it sets one (RFC 8417 2.2).
        if claims.contains_key("exp") {
            self.check_parties_and_times(&claims, now)?;
        }
        let events = claims.get("events").and_then(Value::as_object);
        let events = events.filter(|events| !events.is_empty());
        let events = events.ok_or(InvalidNotice::Event)?;
        let ended = match events.get(SESSION_REVOKED) {
            None => None,
            Some(event) if event.is_object() => Some(self.revoked(&claims, event)?),
            Some(_) => return Err(InvalidNotice::Event),
        };
        Ok(Notice {
            id: id.to_owned(),
            issued,
            ended,
        })
    }

    /// The sessions that an event is about: the `sub_id` of the token (RFC 9493), or the `subject` of the event in
    /// earlier drafts.
    fn revoked(
        &self,
        claims: &Map<String, Value>,
        event: &Value,
    ) -> Result<LogoutTarget, InvalidNotice> {
        let named = claims.get("sub_id").or_else(|| event.get("subject"));
        let named = named.and_then(Value::as_object);
        let named = named.ok_or(InvalidNotice::UnsupportedSubject)?;
        let (mut subject, mut sid) = (None, None);
        match text(named, "format") {
            Some("complex") => {
                for (part, member) in named {
                    let member = member.as_object();
                    match (part.as_str(), member) {
                        ("format", None) => {}
                        ("user", Some(user)) => subject = Some(self.subject_of(user)?),
                        ("session", Some(session)) => sid = Some(session_of(session)?),
                        // A device or a tenant: only some sessions of the subject are meant, and Curfew cannot know
                        // which.
                        _ => return Err(InvalidNotice::UnsupportedSubject),
                    }
                }
            }
            Some("opaque") => sid = Some(session_of(named)?),
            _ => subject = Some(self.subject_of(named)?),
        }
        self.ended_by(subject, sid)
            .ok_or(InvalidNotice::UnsupportedSubject)
    }

    /// A subject that the issuer itself names.
    fn subject_of<'a>(&self, named: &'a Map<String, Value>) -> Result<&'a str, InvalidNotice> {
        if text(named, "format") != Some("iss_sub") {
            return Err(InvalidNotice::UnsupportedSubject);
        }
        // An issuer can only end sessions of its own subjects.
        if text(named, "iss") != Some(&*self.issuer) {
            return Err(InvalidJwt::Issuer.into());
        }
        text(named, "sub").ok_or(InvalidNotice::UnsupportedSubject)
    }
}

fn session_of(named: &Map<String, Value>) -> Result<&str, InvalidNotice> {
    let id = text(named, "id").filter(|_| text(named, "format") == Some("opaque"));
    id.ok_or(InvalidNotice::UnsupportedSubject)
}
