//! Asks the UserInfo endpoint for claims (OpenID Connect Core 1.0, section 5.3).

use oauth2::AccessToken;
use serde_json::{Map, Value};

use super::{Provider, invalid_response};
use crate::login::LoginError;
use crate::login::discovery::Discovered;
use crate::login::transport::{HttpFault, JSON_MEDIA_TYPE, get, media_type};
use crate::session::Timestamp;

/// The media type of a signed response.
const JWT_MEDIA_TYPE: &str = "application/jwt";

impl Provider {
    /// Fetches the claims from the UserInfo endpoint; `None` if the provider has no such endpoint. `subject` is the
    /// `sub` of the ID token, or `None` without an ID token. With a `subject`, the claims must have the same `sub`
    /// (OpenID Connect Core 1.0, section 5.3.2).
    pub(super) async fn user_info(
        &self,
        discovered: &Discovered,
        token: &AccessToken,
        subject: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<Map<String, Value>>, LoginError> {
        let Some(endpoint) = &discovered.metadata.userinfo_endpoint else {
            return Ok(None);
        };
        let response = get(&self.client, endpoint, Some(token)).await;
        let response = response.map_err(|fault| unavailable(&fault))?;
        let body = response.body().as_slice();
        let media_type = media_type(&response);
        let claims = match media_type.as_deref() {
            None | Some(JSON_MEDIA_TYPE) => parse(body)?,
            Some(JWT_MEDIA_TYPE) => {
                let signed = std::str::from_utf8(body).map_err(|_| unreadable())?.trim();
                self.verify(&discovered.keys, now, |issuer, keys| {
                    issuer.verify_user_info(signed, keys, now)
                })
                .await?
            }
            Some(other) => return Err(unavailable(&HttpFault::MediaType(other.to_owned()))),
        };
        let Some(found) = claims.get("sub").and_then(Value::as_str) else {
            return Err(invalid_response("the UserInfo response has no `sub`"));
        };
        if subject.is_some_and(|expected| expected != found) {
            return Err(invalid_response(
                "the UserInfo response is about another subject",
            ));
        }
        Ok(Some(claims))
    }
}

/// Parses an unsigned response.
fn parse(body: &[u8]) -> Result<Map<String, Value>, LoginError> {
    serde_json::from_slice(body).map_err(|_| unreadable())
}

fn unavailable(fault: &HttpFault) -> LoginError {
    LoginError::Unavailable(format!("could not fetch UserInfo: {fault}"))
}

fn unreadable() -> LoginError {
    LoginError::Unavailable("invalid UserInfo response".to_owned())
}
