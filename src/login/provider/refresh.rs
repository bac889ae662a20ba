//! Uses a refresh token to ask a provider whether a subject may still be signed in.

use http::StatusCode;
use openidconnect::core::{CoreErrorResponseType, CoreTokenResponse};
use openidconnect::{
    HttpRequest, HttpResponse, OAuth2TokenResponse, RefreshToken, RequestTokenError,
    StandardErrorResponse, TokenResponse,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Map;

use super::{Client, Provider, invalid, refusal};
use crate::credential::jwt::{InvalidJwt, Refreshed};
use crate::login::LoginError;
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
        let (client, tokens) = match self.ask_for_tokens(token, now).await {
            Ok(answered) => answered,
            Err(answer) => return answer,
        };
        let rotated = tokens.refresh_token();
        let rotated = rotated.map(|token| Secret::new(token.secret().clone()));
        let learning = self.learn(&client, &tokens, session, revalidation, now);
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
    ) -> Result<(Client, CoreTokenResponse), RefreshAnswer> {
        let metadata = self.metadata(now, false).await;
        let metadata = metadata.map_err(RefreshAnswer::Failed)?;
        let client = self.client(&metadata);
        let token = RefreshToken::new(token.expose().clone());
        let request = client
            .exchange_refresh_token(&token)
            .map_err(|error| RefreshAnswer::Failed(LoginError::Unavailable(error.to_string())))?;
        let asking = |request| ask(self.client.clone(), request);
        let tokens = request.request_async(&asking).await;
        let tokens = tokens.map_err(classify_failure)?;
        Ok((client, tokens))
    }

    /// Reads the claims about the subject from a token response.
    async fn learn(
        &self,
        client: &Client,
        tokens: &CoreTokenResponse,
        session: &Session,
        revalidation: Revalidation,
        now: Timestamp,
    ) -> Result<Learned, LoginError> {
        let issuer = &self.settings.issuer.issuer;
        let Some(id_token) = tokens.id_token() else {
            let in_id_token = revalidation.in_id_token;
            if in_id_token.are_all() {
                return Ok(Learned::Nothing);
            }
            let claims = self.user_info(client, tokens, None).await?;
            if claims.is_empty() {
                return Ok(Learned::Nothing);
            }
            let refreshed = issuer.refreshed_by_user_info(&claims, in_id_token, session);
            return learned(refreshed);
        };
        // The refresh token identifies the sign-in. The ID token has the nonce of that sign-in, or none.
        let subject = self
            .verify_id_token(client, id_token, |_| Ok(()), now)
            .await?;
        let sub = subject.as_str().to_owned();
        let text = id_token.to_string();
        let more = if issuer.claims_in(&text).are_all() {
            Map::new()
        } else {
            self.user_info(client, tokens, Some(subject)).await?
        };
        let signed_in = issuer.signed_in(&text, more, now);
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
        return Err(HttpFault::Http(format!("status {status}")));
    }
    Ok(response)
}

/// Classifies a failed token request. Only the error code of the body is used: the rest may have personal data.
fn classify_failure(
    error: RequestTokenError<HttpFault, StandardErrorResponse<CoreErrorResponseType>>,
) -> RefreshAnswer {
    let said = match &error {
        RequestTokenError::ServerResponse(said) => said,
        RequestTokenError::Parse(_, body) => {
            return match parse_tokens(body) {
                Some(tokens) => RefreshAnswer::Granted {
                    rotated: tokens.refresh_token,
                    learned: Learned::Unusable(invalid("invalid ID token")),
                },
                None => RefreshAnswer::Failed(refusal(error)),
            };
        }
        _ => return RefreshAnswer::Failed(refusal(error)),
    };
    let code = said.error().as_ref();
    match REFUSALS.into_iter().find(|refusal| *refusal == code) {
        Some(refusal) => RefreshAnswer::Refused(refusal),
        None => RefreshAnswer::Failed(LoginError::Refused(protocol_error_code(code).to_owned())),
    }
}

/// The fields of a token response besides the ID token.
#[derive(Deserialize)]
struct Tokens {
    #[serde(rename = "access_token")]
    _access_token: IgnoredAny,
    refresh_token: Option<Secret<String>>,
}

/// The tokens of a response with an invalid ID token. The presented refresh token is already used up.
fn parse_tokens(body: &[u8]) -> Option<Tokens> {
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
