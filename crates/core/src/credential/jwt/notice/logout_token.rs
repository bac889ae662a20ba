use serde_json::Value;

use super::{InvalidNotice, Notice, non_empty_text};
use crate::credential::jwt::keys::KeySet;
use crate::credential::jwt::verify::{Issuer, TokenPurpose};
use crate::session::Timestamp;

/// The name of the logout event in `events`.
pub(super) const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

impl Issuer {
    /// Verifies a logout token at `now` (OpenID Connect Back-Channel Logout 1.0, errata 1, section 2.6). The caller
    /// must detect replays.
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
        let event = claims
            .get("events")
            .and_then(|events| events.get(LOGOUT_EVENT));
        if !event.is_some_and(Value::is_object) {
            return Err(InvalidNotice::Event);
        }
        if claims.contains_key("nonce") {
            return Err(InvalidNotice::Nonce);
        }
        let (Some(id), Some(issued)) = (non_empty_text(&claims, "jti"), times.issued) else {
            return Err(InvalidNotice::MissingId);
        };
        // If `sub` or `sid` is empty or not a string, it is unclear which sessions the token ends, so the token is
        // rejected.
        let is_missing_or_valid =
            |name: &str| claims.contains_key(name) == non_empty_text(&claims, name).is_some();
        let ended = self.logout_target(
            non_empty_text(&claims, "sub"),
            non_empty_text(&claims, "sid"),
        );
        if !is_missing_or_valid("sub") || !is_missing_or_valid("sid") || ended.is_none() {
            return Err(InvalidNotice::UnsupportedSubject);
        }
        Ok(Notice {
            id: id.to_owned(),
            issued,
            ended,
        })
    }
}
