//! Redeems an authorization code for tokens (OpenID Connect Core 1.0, section 3.1.3).

use oauth2::{AuthorizationCode, PkceCodeVerifier, TokenResponse as _};
use serde_json::Map;

use super::oauth::{Tokens, refusal};
use super::{Provider, invalid};
use crate::credential::jwt::SignedIn;
use crate::login::metadata::Metadata;
use crate::login::transport::send;
use crate::login::{Attempt, LoginError};
use crate::secret::Secret;
use crate::session::{ClaimsInToken, Timestamp};

/// The token response for an authorization code.
#[derive(Clone, Debug)]
pub struct TokenResponse {
    /// The authenticated subject.
    pub signed_in: SignedIn,
    /// The encoded ID token, the hint for RP-initiated logout.
    pub id_token: Secret<String>,
    /// The refresh token, if the provider issued one.
    pub refresh_token: Option<Secret<String>>,
    /// Which of the configured claims the ID token has.
    pub in_id_token: ClaimsInToken,
}

impl Provider {
    /// Redeems an authorization code for tokens, and verifies them.
    ///
    /// # Errors
    /// [`LoginError`] if the provider fails or refuses, or if a token is invalid.
    pub async fn redeem(
        &self,
        attempt: &Attempt,
        code: &str,
        iss: Option<&str>,
        now: Timestamp,
    ) -> Result<TokenResponse, LoginError> {
        let discovered = self.discovered(now, false).await?;
        self.check_issuer(&discovered.metadata, iss)?;
        let asking = |request| send(self.client.clone(), request);
        let client = self.oauth_client(&discovered.metadata);
        let verifier = PkceCodeVerifier::new(attempt.verifier.clone());
        let request = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .set_pkce_verifier(verifier);
        let tokens: Tokens = request.request_async(&asking).await.map_err(refusal)?;
        let text = tokens.extra_fields().id_token.clone();
        let text = text.ok_or_else(|| invalid("no ID token"))?;
        let nonce = Some(attempt.nonce.as_str());
        let keys = &discovered.keys;
        let id_token = self.verify_id_token(keys, &text, nonce, now).await?;
        let issuer = &self.settings.issuer.issuer;
        let in_id_token = issuer.claims_in(&id_token);
        let more = if in_id_token.are_all() {
            Map::new()
        } else {
            let (token, subject) = (tokens.access_token(), Some(id_token.subject()));
            let claims = self.user_info(&discovered, token, subject, now).await?;
            claims.unwrap_or_default()
        };
        let signed_in = issuer.signed_in(id_token, more, now);
        let refresh_token = tokens.refresh_token();
        Ok(TokenResponse {
            signed_in: signed_in.map_err(|error| invalid(&error.to_string()))?,
            id_token: text,
            refresh_token: refresh_token.map(|token| Secret::new(token.secret().clone())),
            in_id_token,
        })
    }

    /// Checks that the `iss` parameter of a response, if present or required, names this provider (RFC 9207).
    fn check_issuer(&self, metadata: &Metadata, iss: Option<&str>) -> Result<(), LoginError> {
        let must = metadata.authorization_response_iss_parameter_supported;
        match iss {
            Some(iss) if iss != self.settings.issuer.issuer.issuer => Err(
                LoginError::NoMatchingAttempt("response from another provider"),
            ),
            None if must => Err(LoginError::NoMatchingAttempt("no `iss` parameter")),
            _ => Ok(()),
        }
    }
}
