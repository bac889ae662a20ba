//! Redeems an authorization code for tokens (OpenID Connect Core 1.0, section 3.1.3).

use oauth2::{AuthorizationCode, PkceCodeVerifier, TokenResponse as _};
use serde_json::Map;

use super::oauth::{Tokens, to_login_error};
use super::{Provider, invalid_response};
use crate::credential::jwt::ProviderSignIn;
use crate::login::metadata::Metadata;
use crate::login::transport::send;
use crate::login::{Attempt, LoginError};
use crate::secret::Secret;
use crate::session::{ClaimsInToken, Timestamp};

/// The token response for an authorization code.
#[derive(Clone, Debug)]
pub struct TokenResponse {
    /// The authenticated subject.
    pub signed_in: ProviderSignIn,
    /// The encoded ID token, which Curfew sends as `id_token_hint` for RP-initiated logout.
    pub id_token: Secret<String>,
    /// The refresh token, if the provider issued one.
    pub refresh_token: Option<Secret<String>>,
    /// The configured claims that the ID token contains.
    pub in_id_token: ClaimsInToken,
}

impl Provider {
    /// Redeems an authorization code for tokens, and verifies the ID token.
    ///
    /// # Errors
    /// [`LoginError`] if the provider fails or refuses the code, or if its response is invalid.
    pub async fn redeem(
        &self,
        attempt: &Attempt,
        code: &str,
        iss: Option<&str>,
        now: Timestamp,
    ) -> Result<TokenResponse, LoginError> {
        let discovered = self.metadata_and_keys(now, false).await?;
        self.check_issuer(&discovered.metadata, iss)?;
        let send_request = |request| send(self.client.clone(), request);
        let client = self.oauth_client(&discovered.metadata);
        let verifier = PkceCodeVerifier::new(attempt.verifier.clone());
        let request = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .set_pkce_verifier(verifier);
        let tokens: Tokens = request
            .request_async(&send_request)
            .await
            .map_err(to_login_error)?;
        let encoded_id_token = tokens.extra_fields().id_token.clone();
        let encoded_id_token = encoded_id_token.ok_or_else(|| invalid_response("no ID token"))?;
        let nonce = Some(attempt.nonce.as_str());
        let keys = &discovered.keys;
        let id_token = self
            .verify_id_token(keys, &encoded_id_token, nonce, now)
            .await?;
        let issuer = &self.settings.issuer.issuer;
        let in_id_token = issuer.claims_in(&id_token);
        let additional_claims = if in_id_token.are_all() {
            Map::new()
        } else {
            let (token, subject) = (tokens.access_token(), Some(id_token.subject()));
            let claims = self.user_info(&discovered, token, subject, now).await?;
            claims.unwrap_or_default()
        };
        let signed_in = issuer.sign_in_of(id_token, additional_claims, now);
        let refresh_token = tokens.refresh_token();
        Ok(TokenResponse {
            signed_in: signed_in.map_err(|error| invalid_response(&error.to_string()))?,
            id_token: encoded_id_token,
            refresh_token: refresh_token.map(|token| Secret::new(token.secret().clone())),
            in_id_token,
        })
    }

    /// Verifies the `iss` parameter of a response (RFC 9207). The parameter must be the issuer of this provider. The
    /// parameter may be missing only if the metadata do not announce it.
    fn check_issuer(&self, metadata: &Metadata, iss: Option<&str>) -> Result<(), LoginError> {
        let is_required = metadata.authorization_response_iss_parameter_supported == Some(true);
        match iss {
            Some(iss) if iss != self.settings.issuer.issuer.issuer => Err(
                LoginError::NoMatchingAttempt("response from another provider"),
            ),
            None if is_required => Err(LoginError::NoMatchingAttempt("missing `iss` parameter")),
            _ => Ok(()),
        }
    }
}
