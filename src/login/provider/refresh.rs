//! Asks a provider, with a refresh token, whether a subject may still be signed in.

use std::sync::Arc;

use http::StatusCode;
use oauth2::{HttpRequest, HttpResponse, RefreshToken, RequestTokenError, TokenResponse as _};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Map;

use super::oauth::{TokenError, Tokens, protocol_error_code, to_login_error};
use super::{Provider, invalid_response};
use crate::credential::jwt::{InvalidJwt, RefreshResult};
use crate::login::LoginError;
use crate::login::discovery::Discovered;
use crate::login::transport::{HttpFault, send};
use crate::secret::Secret;
use crate::session::{Attributes, Registration, Revalidation, Session, Timestamp};

/// The maximum size of a refresh token that Curfew stores in a session record.
pub const MAX_REFRESH_TOKEN_BYTES: usize = 4096;

/// The error codes that refuse the person or their session (RFC 6749 section 5.2, OpenID Connect Core 1.0 section
/// 3.1.2.6). All other codes are about a problem of Curfew or the provider.
const REFUSAL_CODES: [&str; 6] = [
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
        /// The new refresh token, if the provider rotates refresh tokens.
        rotated: Option<Secret<String>>,
        /// The claims about the subject.
        update: SubjectUpdate,
    },
    /// The provider refuses the subject. The text is the provider's error code.
    Refused(&'static str),
    /// The request failed, so it is unknown whether the subject may still be signed in.
    Failed(LoginError),
}

/// The claims about the subject of a session, from the response to a refresh request.
#[derive(Debug)]
pub enum SubjectUpdate {
    /// The response has no claims.
    NoClaims,
    /// The current attributes of the subject.
    Attributes(Attributes),
    /// The response is about another subject.
    OtherSubject,
    /// The claims could not be fetched, or are invalid.
    Unusable(LoginError),
}

impl Provider {
    /// Returns the identifier for the registration of Curfew as an OAuth client of this provider.
    #[must_use]
    pub fn registration(&self) -> Registration {
        let issuer = &self.settings.issuer.issuer;
        issuer.registration(&self.settings.client_id)
    }

    /// Asks the provider, with a refresh token, whether the subject of a session may still be signed in. Returns a
    /// rotated refresh token even if the rest of the response is invalid.
    pub async fn refresh(
        &self,
        token: &Secret<String>,
        session: &Session,
        revalidation: Revalidation,
        now: Timestamp,
    ) -> RefreshAnswer {
        let (discovered, tokens) = match self.request_tokens(token, now).await {
            Ok(response) => response,
            Err(answer) => return answer,
        };
        let rotated = tokens.refresh_token();
        let rotated = rotated.map(|token| Secret::new(token.secret().clone()));
        let update = self.subject_update(&discovered, &tokens, session, revalidation, now);
        // Each request has a timeout. But a refresh can also wait for another refresh that fetches the provider's
        // keys, so the whole operation has a limit, too.
        let update = match tokio::time::timeout(self.settings.timeout * 3, update).await {
            Ok(update) => update.unwrap_or_else(SubjectUpdate::Unusable),
            Err(_) => SubjectUpdate::Unusable(LoginError::Unavailable("timeout".to_owned())),
        };
        RefreshAnswer::Granted { rotated, update }
    }

    /// Sends the refresh request, and returns the metadata and the tokens.
    async fn request_tokens(
        &self,
        token: &Secret<String>,
        now: Timestamp,
    ) -> Result<(Arc<Discovered>, Tokens), RefreshAnswer> {
        let discovered = self.metadata_and_keys(now, false).await;
        let discovered = discovered.map_err(RefreshAnswer::Failed)?;
        let send_request = |request| send_refresh(self.client.clone(), request);
        let client = self.oauth_client(&discovered.metadata);
        let token = RefreshToken::new(token.expose().clone());
        let request = client.exchange_refresh_token(&token);
        let tokens: Result<Tokens, _> = request.request_async(&send_request).await;
        let tokens = tokens.map_err(classify_failure)?;
        Ok((discovered, tokens))
    }

    /// Reads the claims about the subject from a token response, and if needed from the UserInfo endpoint.
    async fn subject_update(
        &self,
        discovered: &Discovered,
        tokens: &Tokens,
        session: &Session,
        revalidation: Revalidation,
        now: Timestamp,
    ) -> Result<SubjectUpdate, LoginError> {
        let issuer = &self.settings.issuer.issuer;
        let access_token = tokens.access_token();
        let Some(id_token) = &tokens.extra_fields().id_token else {
            let in_id_token = revalidation.in_id_token;
            if in_id_token.are_all() {
                return Ok(SubjectUpdate::NoClaims);
            }
            let claims = self.user_info(discovered, access_token, None, now).await?;
            let Some(claims) = claims else {
                return Ok(SubjectUpdate::NoClaims);
            };
            let refreshed = issuer.compare_user_info(&claims, in_id_token, session);
            return to_subject_update(refreshed);
        };
        // The nonce is not verified, because a refreshed ID token may have none (OpenID Connect Core 1.0, section
        // 12.2). The refresh token already identifies the sign-in.
        let keys = &discovered.keys;
        let id_token = self.verify_id_token(keys, id_token, None, now).await?;
        let sub = id_token.subject().to_owned();
        // Compare the subjects before the UserInfo request. Otherwise, if that request failed, Curfew would not notice
        // that the ID token is about another subject.
        if !issuer.is_subject_of(&sub, session) {
            return Ok(SubjectUpdate::OtherSubject);
        }
        let additional_claims = if issuer.claims_in(&id_token).are_all() {
            Map::new()
        } else {
            let claims = self.user_info(discovered, access_token, Some(&sub), now);
            claims.await?.unwrap_or_default()
        };
        let signed_in = issuer.sign_in_of(id_token, additional_claims, now);
        let signed_in = signed_in.map_err(|error| invalid_response(&error.to_string()))?;
        to_subject_update(issuer.compare_id_token(&sub, &signed_in, session))
    }
}

fn to_subject_update(
    refreshed: Result<RefreshResult, InvalidJwt>,
) -> Result<SubjectUpdate, LoginError> {
    match refreshed {
        Ok(RefreshResult::SameSubject(attributes)) => Ok(SubjectUpdate::Attributes(attributes)),
        Ok(RefreshResult::OtherSubject) => Ok(SubjectUpdate::OtherSubject),
        Err(error) => Err(invalid_response(&error.to_string())),
    }
}

/// Sends one request. A response with status 5xx or 429 is an error, even if its body has an OAuth error code.
async fn send_refresh(
    client: reqwest::Client,
    request: HttpRequest,
) -> Result<HttpResponse, HttpFault> {
    let response = send(client, request).await?;
    let status = response.status();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(HttpFault::Status(status));
    }
    Ok(response)
}

/// Classifies a failed token request. Uses only the error code of the response, because the rest can have personal
/// data.
fn classify_failure(error: TokenError) -> RefreshAnswer {
    let response = match &error {
        RequestTokenError::ServerResponse(response) => response,
        RequestTokenError::Parse(_, body) => {
            return match parse_tokens(body) {
                Some(tokens) => RefreshAnswer::Granted {
                    rotated: tokens.refresh_token,
                    update: SubjectUpdate::Unusable(invalid_response("invalid token response")),
                },
                None => RefreshAnswer::Failed(to_login_error(error)),
            };
        }
        _ => return RefreshAnswer::Failed(to_login_error(error)),
    };
    let code: &str = response.error().as_ref();
    match REFUSAL_CODES.into_iter().find(|refusal| *refusal == code) {
        Some(refusal) => RefreshAnswer::Refused(refusal),
        None => RefreshAnswer::Failed(LoginError::Refused(protocol_error_code(code).to_owned())),
    }
}

/// The tokens of a response in which another field is invalid.
#[derive(Deserialize)]
struct PartialTokens {
    #[serde(rename = "access_token")]
    _access_token: IgnoredAny,
    refresh_token: Option<Secret<String>>,
}

/// Reads the tokens of a response in which another field is invalid. The provider may have rotated the refresh token,
/// so Curfew needs the new token.
fn parse_tokens(body: &[u8]) -> Option<PartialTokens> {
    serde_json::from_slice(body).ok()
}
