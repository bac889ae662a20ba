//! The OAuth client of a provider, and its token responses (RFC 6749).

use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
    BasicTokenType,
};
use oauth2::{
    AuthType, AuthUrl, Client, ClientId, ClientSecret, EndpointNotSet, EndpointSet,
    ExtraTokenFields, RequestTokenError, StandardRevocableToken, StandardTokenResponse, TokenUrl,
};
use serde::{Deserialize, Serialize};

use super::Provider;
use crate::login::LoginError;
use crate::login::metadata::Metadata;
use crate::login::transport::HttpFault;
use crate::secret::Secret;

/// An OAuth client that has the addresses of the authorization endpoint and the token endpoint.
pub(super) type OauthClient = Client<
    BasicErrorResponse,
    Tokens,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// A successful response of the token endpoint.
pub(super) type Tokens = StandardTokenResponse<OpenIdFields, BasicTokenType>;

/// The error of a request to the token endpoint.
pub(super) type TokenError = RequestTokenError<HttpFault, BasicErrorResponse>;

/// The fields that OpenID Connect adds to a token response (OpenID Connect Core 1.0, section 3.1.3.3).
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct OpenIdFields {
    /// The encoded ID token, not verified.
    pub(super) id_token: Option<Secret<String>>,
}

impl ExtraTokenFields for OpenIdFields {}

impl Provider {
    /// Creates an OAuth client for a provider with these metadata.
    pub(super) fn oauth_client(&self, metadata: &Metadata) -> OauthClient {
        // Without the field `token_endpoint_auth_methods_supported`, the provider supports `client_secret_basic`
        // (OpenID Connect Discovery 1.0, section 3).
        let methods = metadata.token_endpoint_auth_methods_supported.as_ref();
        let supports_basic =
            methods.is_none_or(|all| all.iter().any(|it| it == "client_secret_basic"));
        let auth_type = if supports_basic {
            AuthType::BasicAuth
        } else {
            AuthType::RequestBody
        };
        let client: OauthClient = Client::new(ClientId::new(self.settings.client_id.clone()))
            .set_auth_uri(AuthUrl::from_url(metadata.authorization_endpoint.clone()))
            .set_token_uri(TokenUrl::from_url(metadata.token_endpoint.clone()))
            .set_redirect_uri(self.redirect_url.clone())
            .set_auth_type(auth_type);
        match &self.settings.client_secret {
            Some(secret) => client.set_client_secret(ClientSecret::new(secret.expose().clone())),
            None => client,
        }
    }
}

/// Returns `code` if it has the form of an error code. Otherwise returns a fixed text, because `code` could contain
/// anything.
pub(in crate::login) fn protocol_error_code(code: &str) -> &str {
    let is_word = code
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if is_word && code.len() < 64 {
        code
    } else {
        "an invalid error code"
    }
}

/// Converts the error of a token request. The text contains only the error code of the response, because the
/// rest can have personal data or secrets.
pub(super) fn to_login_error(error: TokenError) -> LoginError {
    match error {
        RequestTokenError::ServerResponse(response) => {
            LoginError::Refused(protocol_error_code(response.error().as_ref()).to_owned())
        }
        RequestTokenError::Request(fault) => LoginError::Unavailable(fault.to_string()),
        RequestTokenError::Parse(..) => {
            LoginError::Unavailable("invalid token response".to_owned())
        }
        RequestTokenError::Other(why) => LoginError::Unavailable(why),
    }
}
