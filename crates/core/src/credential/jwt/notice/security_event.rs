use serde_json::{Map, Value};

use super::{InvalidNotice, LogoutTarget, Notice, non_empty_text};
use crate::credential::jwt::error::InvalidJwt;
use crate::credential::jwt::keys::KeySet;
use crate::credential::jwt::verify::{Issuer, TokenPurpose};
use crate::session::Timestamp;

/// The name of the event `session-revoked` in `events` (CAEP 1.0, section 3.1).
pub(super) const SESSION_REVOKED: &str =
    "https://schemas.openid.net/secevent/caep/event-type/session-revoked";

impl Issuer {
    /// Verifies a security event token (RFC 8417) at `now`. Only the event `session-revoked` ends sessions; a token
    /// without this event is valid, but has no effect.
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
        let (Some(id), Some(issued)) = (non_empty_text(&claims, "jti"), issued) else {
            return Err(InvalidNotice::MissingId);
        };
        // `exp` is optional in a security event (RFC 8417 2.2).
        if claims.contains_key("exp") {
            self.check_parties_and_times(&claims, now)?;
        }
        let events = claims.get("events").and_then(Value::as_object);
        let events = events.filter(|events| !events.is_empty());
        let events = events.ok_or(InvalidNotice::Event)?;
        let ended = match events.get(SESSION_REVOKED) {
            None => None,
            Some(event) if event.is_object() => Some(self.revoked_sessions(&claims, event)?),
            Some(_) => return Err(InvalidNotice::Event),
        };
        Ok(Notice {
            id: id.to_owned(),
            issued,
            ended,
        })
    }

    /// Returns the sessions that an event ends. The token identifies these sessions in `sub_id` (RFC 9493). In
    /// earlier drafts of CAEP, the event identifies them in `subject`.
    fn revoked_sessions(
        &self,
        claims: &Map<String, Value>,
        event: &Value,
    ) -> Result<LogoutTarget, InvalidNotice> {
        let identifier = claims.get("sub_id").or_else(|| event.get("subject"));
        let identifier = identifier.and_then(Value::as_object);
        let identifier = identifier.ok_or(InvalidNotice::UnsupportedSubject)?;
        let (mut subject, mut sid) = (None, None);
        match non_empty_text(identifier, "format") {
            Some("complex") => {
                for (name, member) in identifier {
                    let member = member.as_object();
                    match (name.as_str(), member) {
                        ("format", None) => {}
                        ("user", Some(user)) => subject = Some(self.sub_of_iss_sub(user)?),
                        ("session", Some(session)) => sid = Some(sid_of_opaque(session)?),
                        // A device or a tenant restricts the event to some sessions of the subject. Curfew cannot
                        // find out which sessions these are, so it rejects the event.
                        _ => return Err(InvalidNotice::UnsupportedSubject),
                    }
                }
            }
            Some("opaque") => sid = Some(sid_of_opaque(identifier)?),
            _ => subject = Some(self.sub_of_iss_sub(identifier)?),
        }
        self.logout_target(subject, sid)
            .ok_or(InvalidNotice::UnsupportedSubject)
    }

    /// Returns the `sub` of a subject identifier in the format `iss_sub`.
    fn sub_of_iss_sub<'a>(
        &self,
        identifier: &'a Map<String, Value>,
    ) -> Result<&'a str, InvalidNotice> {
        if non_empty_text(identifier, "format") != Some("iss_sub") {
            return Err(InvalidNotice::UnsupportedSubject);
        }
        // An issuer cannot end sessions of another issuer's subjects.
        if non_empty_text(identifier, "iss") != Some(&*self.issuer) {
            return Err(InvalidJwt::Issuer.into());
        }
        non_empty_text(identifier, "sub").ok_or(InvalidNotice::UnsupportedSubject)
    }
}

/// Returns the `sid` of a subject identifier in the format `opaque`.
fn sid_of_opaque(identifier: &Map<String, Value>) -> Result<&str, InvalidNotice> {
    let id = non_empty_text(identifier, "id")
        .filter(|_| non_empty_text(identifier, "format") == Some("opaque"));
    id.ok_or(InvalidNotice::UnsupportedSubject)
}
