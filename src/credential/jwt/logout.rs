use serde_json::Value;

use super::keys::KeySet;
use super::verify::{InvalidJwt, Issuer, Kind};
use crate::session::{Subject, Timestamp};

/// The member of `events` that tells of a logout.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Whose sessions an issuer says have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutToken {
    /// The token's own name.
    pub id: String,
    /// What stands for the provider's session; `None` where all of the subject's have ended.
    pub provider_session: Option<Subject>,
    /// The subject, where it is named.
    pub subject: Option<Subject>,
    /// When that was.
    pub issued: Timestamp,
    /// From when the token is no good any more.
    pub expires: Timestamp,
}

/// A logout token that is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLogout {
    /// It is no good as a token.
    #[error(transparent)]
    Token(#[from] InvalidJwt),
    /// It does not tell of a logout.
    #[error("it does not tell of a logout")]
    Event,
    /// It has a nonce, as an ID token has.
    #[error("it has a nonce")]
    Nonce,
    /// It names neither a session nor a subject.
    #[error("it names neither a session nor a subject")]
    Nobody,
    /// It has no name of its own, or does not say when it was issued.
    #[error("it has no jti or no iat")]
    Nameless,
}

impl Issuer {
    /// Verifies a logout token at `now`, by OpenID Connect Back-Channel Logout 1.0 (errata 1), section
    /// 2.6. Whether it came before is not known here.
    ///
    /// # Errors
    /// [`InvalidLogout`] with what is wrong.
    pub fn verify_logout(
        &self,
        token: &str,
        keys: &KeySet,
        now: Timestamp,
    ) -> Result<LogoutToken, InvalidLogout> {
        let claims = self.verified_claims(token, keys, Kind::Logout)?;
        let times = self.check(&claims, now)?;
        let event = claims.get("events").and_then(|events| events.get(EVENT));
        if !event.is_some_and(Value::is_object) {
            return Err(InvalidLogout::Event);
        }
        if claims.contains_key("nonce") {
            return Err(InvalidLogout::Nonce);
        }
        let text = |name: &str| {
            let text = claims.get(name).and_then(Value::as_str);
            text.filter(|text| !text.is_empty())
        };
        let (Some(id), Some(issued)) = (text("jti"), times.issued) else {
            return Err(InvalidLogout::Nameless);
        };
        // Of a claim that is there and says nothing, it can't be known whom it is about.
        let said = |name: &str| claims.contains_key(name) == text(name).is_some();
        let subject = match text("sub") {
            Some(subject) => Some(Subject::new(subject).map_err(|_| InvalidLogout::Nobody)?),
            None => None,
        };
        let provider_session = text("sid").and_then(|sid| self.provider_session(sid));
        if !said("sub") || !said("sid") || (subject.is_none() && provider_session.is_none()) {
            return Err(InvalidLogout::Nobody);
        }
        Ok(LogoutToken {
            id: id.to_owned(),
            provider_session,
            subject,
            issued,
            expires: times.expires,
        })
    }
}

#[cfg(test)]
mod tests;
