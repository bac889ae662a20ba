//! Asks a provider with a refresh token whether a subject may still be signed in.

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

/// The most bytes of a refresh token that is kept. Every record of a session has one.
pub const MAX_REFRESH_TOKEN_BYTES: usize = 4096;

/// The errors that speak of the person or of their session (RFC 6749 section 5.2, OpenID Connect Core 1.0 section
/// 3.1.2.6). Every other error speaks of Curfew or of the provider.
const REFUSALS: [&str; 6] = [
    "invalid_grant",
    "access_denied",
    "login_required",
    "interaction_required",
    "consent_required",
    "account_selection_required",
];

/// What a provider answers to a refresh token.
#[derive(Debug)]
pub enum RefreshAnswer {
    /// The subject may still be signed in.
    Granted {
        /// The refresh token that replaces the one that was presented.
        rotated: Option<Secret<String>>,
        /// What the answer says of the subject.
        learned: Learned,
    },
    /// The subject may not: the error of the provider.
    Refused(&'static str),
    /// Nothing is known of the subject.
    Failed(LoginError),
}

/// What an answer says of the subject of a session.
#[derive(Debug)]
pub enum Learned {
    /// That it was not refused, and nothing else.
    Nothing,
    /// Its attributes.
    Attributes(Attributes),
    /// That the answer is for another subject.
    OtherSubject,
    /// Nothing that can be used.
    Unusable(LoginError),
}

impl Provider {
    /// The OAuth client that Curfew is at this provider.
    #[must_use]
    pub fn registration(&self) -> Registration {
        let issuer = &self.settings.issuer.issuer;
        issuer.registration(&self.settings.client_id)
    }

    /// Asks with a refresh token whether the subject of a session may still be signed in. A refresh token that replaces
    /// it is in the answer whatever else is wrong with that.
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
        // Each request has a limit of its own: this is for a provider that is asked for its keys by many.
        let learned = match tokio::time::timeout(self.settings.timeout * 3, learning).await {
            Ok(learned) => learned.unwrap_or_else(Learned::Unusable),
            Err(_) => Learned::Unusable(LoginError::Unavailable("no answer in time".to_owned())),
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
        let tokens = tokens.map_err(answer_of)?;
        Ok((client, tokens))
    }

    /// What tokens say of the subject of a session.
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
        // Which sign-in it belongs to is known from the refresh token: it has the nonce of the sign-in, or none.
        let subject = self.verified(client, id_token, |_| Ok(()), now).await?;
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

/// Sends one request. A provider in trouble may say anything in its body.
async fn ask(client: reqwest::Client, request: HttpRequest) -> Result<HttpResponse, HttpFault> {
    let response = send(client, request).await?;
    let status = response.status();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(HttpFault::Http(format!("it answers {status}")));
    }
    Ok(response)
}

/// What it means that there are no tokens. Of the answer's body only the error code is kept: the rest may name people.
fn answer_of(
    error: RequestTokenError<HttpFault, StandardErrorResponse<CoreErrorResponseType>>,
) -> RefreshAnswer {
    let said = match &error {
        RequestTokenError::ServerResponse(said) => said,
        RequestTokenError::Parse(_, body) => {
            return match tokens_in(body) {
                Some(tokens) => RefreshAnswer::Granted {
                    rotated: tokens.refresh_token,
                    learned: Learned::Unusable(invalid("its ID token can't be read")),
                },
                None => RefreshAnswer::Failed(refusal(error)),
            };
        }
        _ => return RefreshAnswer::Failed(refusal(error)),
    };
    let code = said.error().as_ref();
    match REFUSALS.into_iter().find(|refusal| *refusal == code) {
        Some(refusal) => RefreshAnswer::Refused(refusal),
        None => RefreshAnswer::Failed(LoginError::Refused(known_word(code).to_owned())),
    }
}

/// What an answer with tokens has besides an ID token.
#[derive(Deserialize)]
struct Tokens {
    #[serde(rename = "access_token")]
    _access_token: IgnoredAny,
    refresh_token: Option<Secret<String>>,
}

/// The tokens of an answer whose ID token is none: the refresh token that was presented is used up all the same.
fn tokens_in(body: &[u8]) -> Option<Tokens> {
    serde_json::from_slice(body).ok()
}

/// An error code of a protocol, and nothing that anybody could put in its place.
fn known_word(code: &str) -> &str {
    let is_word = code
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if is_word && code.len() < 64 {
        code
    } else {
        "an error"
    }
}
