//! Uses a refresh token to ask a provider whether a subject may still be signed in.

use std::sync::Arc;

use http::StatusCode;
use oauth2::{HttpRequest, HttpResponse, RefreshToken, RequestTokenError, TokenResponse as _};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Map;

use super::oauth::{TokenError, Tokens, refusal};
use super::{Provider, invalid};
use crate::credential::jwt::{InvalidJwt, Refreshed};
use crate::login::LoginError;
use crate::login::discovery::Discovered;
use crate::login::transport::{HttpFault, send};
use crate::secret::Secret;
use crate::session::{Attributes, Registration, Revalidation, Session, Timestamp};

/// The maximum size of a stored refresh token. Every session record can have one.
pub const MAX_REFRESH_TOKEN_BYTES: usize = 4096;

/// Error codes about the person or their session (RFC 6749 section 5.2, OpenID Connect Core 1.0 section 3.1.2.6). All other
/// codes are about Curfew or the provider.
const REFUSALS: [&str; 6] = [
    "invalid_grant",
    "access_denied",
    "login_required",
    "interaction_required",
    "consent_required",
    "account_selection_required",
];

/// The result of a refresh request.
#[derive(Debug)]
pub enum RefreshAnswer {
    /// The subject may still be signed in.
    Granted {
        /// The new refresh token, if the provider rotates them.
        rotated: Option<Secret<String>>,
        /// What the response says about the subject.
        learned: Learned,
    },
    /// The subject may not be signed in any more. This is the provider's error code.
    Refused(&'static str),
    /// The request failed and says nothing about the subject.
    Failed(LoginError),
}

/// What a token response says about the subject of a session.
#[derive(Debug)]
pub enum Learned {
    /// The refresh was granted; the response has no claims.
    Nothing,
    /// The current attributes of the subject.
    Attributes(Attributes),
    /// The response is for another subject.
    OtherSubject,
    /// The claims could not be used.
    Unusable(LoginError),
}

impl Provider {
    /// Curfew's registration as an OAuth client of this provider.
    #[must_use]
    pub fn registration(&self) -> Registration {
        let issuer = &self.settings.issuer.issuer;
        issuer.registration(&self.settings.client_id)
    }

    /// Asks with a refresh token whether the subject of a session may still be signed in. A rotated refresh token is
    /// returned even if the rest of the response is invalid.
    pub async fn refresh(
        &self,
        token: &Secret<String>,
        session: &Session,
        revalidation: Revalidation,
        now: Timestamp,
    ) -> RefreshAnswer {
        let (discovered, tokens) = match self.ask_for_tokens(token, now).await {
            Ok(answered) => answered,
            Err(answer) => return answer,
        };
        let rotated = tokens.refresh_token();
        let rotated = rotated.map(|token| Secret::new(token.secret().clone()));
        let learning = self.learn(&discovered, &tokens, session, revalidation, now);
        // Each request has its own timeout. This limit is for many concurrent requests for the provider's keys.
        let learned = match tokio::time::timeout(self.settings.timeout * 3, learning).await {
            Ok(learned) => learned.unwrap_or_else(Learned::Unusable),
            Err(_) => Learned::Unusable(LoginError::Unavailable("timeout".to_owned())),
        };
        RefreshAnswer::Granted { rotated, learned }
    }

    async fn ask_for_tokens(
        &self,
        token: &Secret<String>,
        now: Timestamp,
    ) -> Result<(Arc<Discovered>, Tokens), RefreshAnswer> {
        let discovered = self.discovered(now, false).await;
        let discovered = discovered.map_err(RefreshAnswer::Failed)?;
        let asking = |request| ask(self.client.clone(), request);
        let client = self.oauth_client(&discovered.metadata);
        let token = RefreshToken::new(token.expose().clone());
        let request = client.exchange_refresh_token(&token);
        let tokens: Result<Tokens, _> = request.request_async(&asking).await;
        let tokens = tokens.map_err(classify_failure)?;
        Ok((discovered, tokens))
    }

    /// Reads the claims about the subject from a token response.
    async fn learn(
        &self,
        discovered: &Discovered,
        tokens: &Tokens,
        session: &Session,
        revalidation: Revalidation,
        now: Timestamp,
    ) -> Result<Learned, LoginError> {
        let issuer = &self.settings.issuer.issuer;
        let access_token = tokens.access_token();
        let Some(id_token) = &tokens.extra_fields().id_token else {
            let in_id_token = revalidation.in_id_token;
            if in_id_token.are_all() {
                return Ok(Learned::Nothing);
            }
            let claims = self.user_info(discovered, access_token, None, now).await?;
            let Some(claims) = claims else {
                return Ok(Learned::Nothing);
            };
            let refreshed = issuer.refreshed_by_user_info(&claims, in_id_token, session);
            return learned(refreshed);
        };
        // The refresh token identifies the sign-in. The ID token has the nonce of that sign-in, or none (OpenID Connect Core
        // 1.0, section 12.2).
        let keys = &discovered.keys;
        let id_token = self.verify_id_token(keys, id_token, None, now).await?;
        let sub = id_token.subject().to_owned();
        let more = if issuer.claims_in(&id_token).are_all() {
            Map::new()
        } else {
            let claims = self.user_info(discovered, access_token, Some(&sub), now);
            claims.await?.unwrap_or_default()
        };
        let signed_in = issuer.signed_in(id_token, more, now);
        let signed_in = signed_in.map_err(|error| invalid(&error.to_string()))?;
        learned(issuer.refreshed(&sub, &signed_in, session))
    }
}

fn learned(refreshed: Result<Refreshed, InvalidJwt>) -> Result<Learned, LoginError> {
    match refreshed {
        Ok(Refreshed::Same(attributes)) => Ok(Learned::Attributes(attributes)),
        Ok(Refreshed::Other) => Ok(Learned::OtherSubject),
        Err(error) => Err(invalid(&error.to_string())),
    }
}

/// Sends one request. A response with a server error or 429 counts as a failure, whatever its body says.
async fn ask(client: reqwest::Client, request: HttpRequest) -> Result<HttpResponse, HttpFault> {
    let response = send(client, request).await?;
    let status = response.status();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(HttpFault::Status(status));
    }
    Ok(response)
}

/// Classifies a failed token request. Only the error code of the body is used: the rest may have personal data.
fn classify_failure(error: TokenError) -> RefreshAnswer {
    let said = match &error {
        RequestTokenError::ServerResponse(said) => said,
        RequestTokenError::Parse(_, body) => {
            return match parse_tokens(body) {
                Some(tokens) => RefreshAnswer::Granted {
                    rotated: tokens.refresh_token,
                    learned: Learned::Unusable(invalid("invalid token response")),
                },
                None => RefreshAnswer::Failed(refusal(error)),
            };
        }
        _ => return RefreshAnswer::Failed(refusal(error)),
    };
    let code: &str = said.error().as_ref();
    match REFUSALS.into_iter().find(|refusal| *refusal == code) {
        Some(refusal) => RefreshAnswer::Refused(refusal),
        None => RefreshAnswer::Failed(LoginError::Refused(protocol_error_code(code).to_owned())),
    }
}

/// The tokens of a response with another field that is invalid.
#[derive(Deserialize)]
struct PartialTokens {
    #[serde(rename = "access_token")]
    _access_token: IgnoredAny,
    refresh_token: Option<Secret<String>>,
}

/// The tokens of a response that is otherwise invalid. The presented refresh token is already used up.
fn parse_tokens(body: &[u8]) -> Option<PartialTokens> {
    serde_json::from_slice(body).ok()
}

/// An error code of the protocol, or else a fixed text. Anybody can send other text.
fn protocol_error_code(code: &str) -> &str {
    let is_word = code
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if is_word && code.len() < 64 {
        code
    } else {
        "an error"
    }
}
