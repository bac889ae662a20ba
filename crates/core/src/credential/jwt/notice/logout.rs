use serde_json::Value;

use super::{InvalidNotice, Notice, text};
use crate::credential::jwt::keys::KeySet;
use crate::credential::jwt::verify::{Issuer, TokenPurpose};
use crate::session::Timestamp;

/// The member of `events` for a logout.
pub(super) const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

impl Issuer {
    /// Verifies a logout token at `now` (OpenID Connect Back-Channel Logout 1.0, errata 1, section 2.6). It does not
    /// detect replays.
    ///
    /// # Errors
    /// [`InvalidNotice`] with the reason.
    pub fn verify_logout(
        &self,
        token: &str,
        keys: &KeySet,
        now: Timestamp,
    ) -> Result<Notice, InvalidNotice> {
        let claims = self.verified_claims(token, keys, TokenPurpose::Logout)?;
        let times = self.check_parties_and_times(&claims, now)?;
        let event = claims.get("events").and_then(|events| events.get(EVENT));
        if !event.is_some_and(Value::is_object) {
            return Err(InvalidNotice::Event);
        }
        if claims.contains_key("nonce") {
            return Err(InvalidNotice::Nonce);
        }
        let (Some(id), Some(issued)) = (text(&claims, "jti"), times.issued) else {
            return Err(InvalidNotice::MissingId);
        };
        // A claim that is present but empty makes the subject ambiguous.
        let is_unset_or_text =
            |name: &str| claims.contains_key(name) == text(&claims, name).is_some();
        let ended = self.ended_by(text(&claims, "sub"), text(&claims, "sid"));
        if !is_unset_or_text("sub") || !is_unset_or_text("sid") || ended.is_none() {
            return Err(InvalidNotice::UnsupportedSubject);
        }
        Ok(Notice {
            id: id.to_owned(),
            issued,
            ended,
        })
    }
}
