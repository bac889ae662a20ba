mod refresh;

use std::time::Duration;

use openidconnect::core::{
    CoreAuthPrompt, CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreGenderClaim,
    CoreIdToken, CoreIdTokenVerifier, CoreJwsSigningAlgorithm, CoreTokenResponse,
};
use openidconnect::{
    AdditionalClaims, AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret,
    CsrfToken, EndpointMaybeSet, EndpointNotSet, EndpointSet, LogoutRequest, Nonce,
    OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier, PostLogoutRedirectUrl, RedirectUrl,
    RequestTokenError, Scope, SignatureVerificationError, SubjectIdentifier, TokenResponse as _,
    UserInfoClaims,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;
use url::Url;

use super::metadata::{Metadata, MetadataCache};
use super::transport::send;
use super::{Attempt, LoginError, ProviderSettings};
use crate::credential::jwt::SignedIn;
use crate::http_client::http_client;
use crate::secret::Secret;
use crate::session::{ClaimsInToken, Timestamp};

pub use refresh::{Learned, MAX_REFRESH_TOKEN_BYTES, RefreshAnswer};

/// The library's client for a provider with known metadata.
type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// An identity provider, with Curfew as its client.
pub struct Provider {
    /// The configuration.
    pub settings: ProviderSettings,
    redirect: RedirectUrl,
    client: reqwest::Client,
    metadata_cache: MetadataCache,
}

/// The token response for an authorization code.
#[derive(Clone, Debug)]
pub struct TokenResponse {
    /// The authenticated subject.
    pub signed_in: SignedIn,
    /// The encoded ID token, the hint for RP-initiated logout.
    pub id_token: String,
    /// The refresh token, if the provider issued one.
    pub refresh_token: Option<Secret<String>>,
    /// Which of the configured claims the ID token has.
    pub in_id_token: ClaimsInToken,
}

/// All claims of a UserInfo response.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct AllClaims(Map<String, Value>);

impl AdditionalClaims for AllClaims {}

impl Provider {
    /// Creates a provider. Its redirect address is `path` on `base`, followed by its name.
    ///
    /// # Errors
    /// [`reqwest::Error`] if the authorities cannot be parsed.
    pub fn new(settings: ProviderSettings, base: &Url, path: &str) -> Result<Self, reqwest::Error> {
        let client = http_client(settings.timeout, settings.authorities.as_deref())?;
        let mut url = base.clone();
        // Each provider has its own redirect address, against mix-up attacks (RFC 9700 section 4.4).
        url.set_path(&format!("{path}/{}", settings.issuer.name));
        Ok(Self {
            redirect: RedirectUrl::from_url(url),
            settings,
            client,
            metadata_cache: MetadataCache::default(),
        })
    }

    /// The name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.issuer.name
    }

    async fn metadata(
        &self,
        now: Timestamp,
        renew: bool,
    ) -> Result<std::sync::Arc<Metadata>, LoginError> {
        let issuer = &self.settings.issuer.issuer.issuer;
        let client = &self.client;
        self.metadata_cache.get(issuer, client, now, renew).await
    }

    fn client(&self, metadata: &Metadata) -> Client {
        let secret = self.settings.client_secret.as_ref();
        let secret = secret.map(|secret| ClientSecret::new(secret.expose().clone()));
        let id = ClientId::new(self.settings.client_id.clone());
        let client = CoreClient::from_provider_metadata(metadata.clone(), id, secret);
        // The default is `client_secret_basic` (OpenID Connect Discovery 1.0, section 3).
        let methods = metadata.token_endpoint_auth_methods_supported();
        let basic =
            methods.is_none_or(|all| all.contains(&CoreClientAuthMethod::ClientSecretBasic));
        let kind = if basic {
            AuthType::BasicAuth
        } else {
            AuthType::RequestBody
        };
        client
            .set_redirect_uri(self.redirect.clone())
            .set_auth_type(kind)
    }

    /// Builds the authorization request: the address for the browser.
    ///
    /// # Errors
    /// [`LoginError::Unavailable`] if the metadata cannot be fetched.
    pub async fn authorize(
        &self,
        attempt: &Attempt,
        max_age: Option<Duration>,
        now: Timestamp,
    ) -> Result<Url, LoginError> {
        let metadata = self.metadata(now, false).await?;
        let client = self.client(&metadata);
        let verifier = PkceCodeVerifier::new(attempt.verifier.clone());
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
        let (state, nonce) = (attempt.state.clone(), attempt.nonce.clone());
        let scopes = self.settings.scopes.iter().cloned().map(Scope::new);
        let mut request = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                || CsrfToken::new(state),
                || Nonce::new(nonce),
            )
            .set_pkce_challenge(challenge)
            .add_scopes(scopes);
        if attempt.reauthenticate {
            request = request
                .add_prompt(CoreAuthPrompt::Login)
                .set_max_age(Duration::ZERO);
        } else if let Some(age) = max_age {
            // Providers use whole seconds and accept an age equal to `max_age`.
            request = request.set_max_age(age.saturating_sub(Duration::from_secs(1)));
        }
        Ok(request.url().0)
    }

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
        let metadata = self.metadata(now, false).await?;
        self.check_issuer(&metadata, iss)?;
        let asking = |request| send(self.client.clone(), request);
        let client = self.client(&metadata);
        let request = client.exchange_code(AuthorizationCode::new(code.to_owned()));
        let request = request.map_err(|error| LoginError::Unavailable(error.to_string()))?;
        let verifier = PkceCodeVerifier::new(attempt.verifier.clone());
        let request = request.set_pkce_verifier(verifier);
        let tokens: CoreTokenResponse = request.request_async(&asking).await.map_err(refusal)?;
        let id_token = tokens.id_token();
        let id_token = id_token.ok_or_else(|| invalid("no ID token"))?;
        let nonce = attempt.nonce.as_bytes();
        let same_nonce = |told: Option<&Nonce>| match told {
            Some(told) if bool::from(told.secret().as_bytes().ct_eq(nonce)) => Ok(()),
            _ => Err("the nonce belongs to another attempt".to_owned()),
        };
        let subject = self
            .verify_id_token(&client, id_token, same_nonce, now)
            .await?;
        let text = id_token.to_string();
        let issuer = &self.settings.issuer.issuer;
        let in_id_token = issuer.claims_in(&text);
        let more = if in_id_token.are_all() {
            Map::new()
        } else {
            self.user_info(&client, &tokens, Some(subject)).await?
        };
        let signed_in = issuer.signed_in(&text, more, now);
        let refresh_token = tokens.refresh_token();
        Ok(TokenResponse {
            signed_in: signed_in.map_err(|error| invalid(&error.to_string()))?,
            id_token: text,
            refresh_token: refresh_token.map(|token| Secret::new(token.secret().clone())),
            in_id_token,
        })
    }

    /// Verifies the signature, issuer and nonce of an ID token, and returns its subject.
    async fn verify_id_token(
        &self,
        client: &Client,
        id_token: &CoreIdToken,
        nonce: impl Fn(Option<&Nonce>) -> Result<(), String> + Copy,
        now: Timestamp,
    ) -> Result<SubjectIdentifier, LoginError> {
        let verify = |client: &Client| {
            let verifier = self.verifier(client);
            let claims = id_token.claims(&verifier, nonce);
            claims.map(|claims| claims.subject().clone())
        };
        let subject = match verify(client) {
            // The provider may have rotated its keys.
            Err(ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey,
            )) => verify(&self.client(&*self.metadata(now, true).await?)),
            verified => verified,
        };
        subject.map_err(|error| invalid(&error.to_string()))
    }

    /// Checks that the `iss` parameter of a response, if present or required, names this provider (RFC 9207).
    fn check_issuer(&self, metadata: &Metadata, iss: Option<&str>) -> Result<(), LoginError> {
        let must = metadata
            .additional_metadata()
            .authorization_response_iss_parameter_supported;
        match iss {
            Some(iss) if iss != self.settings.issuer.issuer.issuer => {
                Err(LoginError::NotAsked("response from another provider"))
            }
            None if must => Err(LoginError::NotAsked("no `iss` parameter")),
            _ => Ok(()),
        }
    }

    fn verifier<'a>(&self, client: &'a Client) -> CoreIdTokenVerifier<'a> {
        let algorithms = self.settings.issuer.issuer.algorithms.iter();
        let algorithms = algorithms.filter_map(|algorithm| {
            let name = serde_json::to_value(algorithm).ok()?;
            serde_json::from_value::<CoreJwsSigningAlgorithm>(name).ok()
        });
        let verifier = client.id_token_verifier();
        let verifier = verifier.set_allowed_algs(algorithms.collect::<Vec<_>>());
        // The audience is checked later, with the other claims.
        verifier.set_other_audience_verifier_fn(|_| true)
    }

    /// The claims from the UserInfo endpoint; empty if the provider has none.
    async fn user_info(
        &self,
        client: &Client,
        tokens: &CoreTokenResponse,
        subject: Option<SubjectIdentifier>,
    ) -> Result<Map<String, Value>, LoginError> {
        let asking = |request| send(self.client.clone(), request);
        let Ok(request) = client.user_info(tokens.access_token().clone(), subject) else {
            return Ok(Map::new());
        };
        let claims: Result<UserInfoClaims<AllClaims, CoreGenderClaim>, _> =
            request.request_async(&asking).await;
        let claims = claims.map_err(|error| LoginError::Unavailable(error.to_string()))?;
        match serde_json::to_value(claims) {
            Ok(Value::Object(claims)) => Ok(claims),
            _ => Ok(Map::new()),
        }
    }

    /// The address for RP-initiated logout, with a redirect to `after` (OpenID Connect RP-Initiated Logout 1.0); `None` if
    /// the provider does not support it.
    ///
    /// # Errors
    /// [`LoginError::Unavailable`] if the metadata cannot be fetched.
    pub async fn end_session(
        &self,
        id_token: Option<&str>,
        after: Url,
        state: &str,
        now: Timestamp,
    ) -> Result<Option<Url>, LoginError> {
        let metadata = self.metadata(now, false).await?;
        let Some(endpoint) = metadata.additional_metadata().end_session_endpoint.clone() else {
            return Ok(None);
        };
        let request = LogoutRequest::from(endpoint)
            .set_client_id(ClientId::new(self.settings.client_id.clone()))
            .set_post_logout_redirect_uri(PostLogoutRedirectUrl::from_url(after))
            .set_state(CsrfToken::new(state.to_owned()));
        let mut url = request.http_get_url();
        if let Some(id_token) = id_token {
            url.query_pairs_mut().append_pair("id_token_hint", id_token);
        }
        Ok(Some(url))
    }
}

fn invalid(why: &str) -> LoginError {
    LoginError::Invalid(why.to_owned())
}

/// Why a token request failed. Only the error code of the response is logged, not its body.
fn refusal<T: openidconnect::ErrorResponse>(
    error: RequestTokenError<super::transport::HttpFault, T>,
) -> LoginError {
    match error {
        RequestTokenError::ServerResponse(said) => LoginError::Refused(said.to_string()),
        RequestTokenError::Request(fault) => LoginError::Unavailable(fault.to_string()),
        RequestTokenError::Parse(..) => {
            LoginError::Unavailable("invalid token response".to_owned())
        }
        RequestTokenError::Other(why) => LoginError::Unavailable(why),
    }
}
