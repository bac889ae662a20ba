//! The client of one identity provider, for OAuth 2.0 (crate `oauth2`) and OpenID Connect.

mod end_session;
mod oauth;
mod redeem;
mod refresh;
mod user_info;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use oauth2::{CsrfToken, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope};
use url::Url;

use super::cache::DiscoveryCache;
use super::discovery::Discovered;
use super::{Attempt, LoginError, ProviderSettings};
use crate::http_client::http_client;
use crate::session::Timestamp;

pub(super) use oauth::protocol_error_code;
pub use redeem::TokenResponse;
pub use refresh::{MAX_REFRESH_TOKEN_BYTES, RefreshAnswer, SubjectUpdate};

/// An identity provider at which Curfew is registered as a client.
pub struct Provider {
    /// The configuration.
    pub settings: ProviderSettings,
    redirect_url: RedirectUrl,
    client: reqwest::Client,
    discovery: DiscoveryCache,
}

impl Provider {
    /// Creates a provider. Its redirect URI is `base` with the path `path/NAME`.
    ///
    /// # Errors
    /// [`reqwest::Error`] if the certificate authorities cannot be parsed.
    pub fn new(settings: ProviderSettings, base: &Url, path: &str) -> Result<Self, reqwest::Error> {
        let client = http_client(settings.timeout, settings.authorities.as_deref())?;
        let mut url = base.clone();
        // A separate redirect URI for each provider prevents mix-up attacks (RFC 9700 section 4.4).
        url.set_path(&format!("{path}/{}", settings.issuer.name));
        Ok(Self {
            redirect_url: RedirectUrl::from_url(url),
            settings,
            client,
            discovery: DiscoveryCache::default(),
        })
    }

    /// Returns the name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.issuer.name
    }

    /// Returns the metadata and keys. With `renew`, fetches the metadata and keys again, but at most once in ten
    /// seconds; `renew` is for a token with an unknown key.
    async fn metadata_and_keys(
        &self,
        now: Timestamp,
        renew: bool,
    ) -> Result<Arc<Discovered>, LoginError> {
        let issuer = &self.settings.issuer.issuer.issuer;
        self.discovery.get(issuer, &self.client, now, renew).await
    }

    /// Returns the authorization request, as an address for the browser (OpenID Connect Core 1.0, section 3.1.2.1).
    ///
    /// # Errors
    /// [`LoginError::Unavailable`] if the metadata cannot be fetched.
    pub async fn authorization_url(
        &self,
        attempt: &Attempt,
        max_age: Option<Duration>,
        now: Timestamp,
    ) -> Result<Url, LoginError> {
        let discovered = self.metadata_and_keys(now, false).await?;
        let client = self.oauth_client(&discovered.metadata);
        let verifier = PkceCodeVerifier::new(attempt.verifier.clone());
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
        let state = attempt.state.clone();
        let scopes = self.settings.scopes.iter().cloned().map(Scope::new);
        let mut request = client
            .authorize_url(|| CsrfToken::new(state))
            .set_pkce_challenge(challenge)
            .add_scope(Scope::new("openid".to_owned()))
            .add_scopes(scopes)
            .add_extra_param("nonce", attempt.nonce.as_str());
        if attempt.reauthenticate {
            request = request
                .add_extra_param("max_age", "0")
                .add_extra_param("prompt", "login");
        } else if let Some(age) = max_age {
            // A provider rounds to whole seconds, and accepts an age that equals `max_age`. Curfew requires a smaller
            // age, so it requests one second less.
            let age = age.saturating_sub(Duration::from_secs(1)).as_secs();
            request = request.add_extra_param("max_age", age.to_string());
        }
        Ok(request.url().0)
    }
}

/// Returns the error for an invalid response of the provider.
fn invalid_response(why: &str) -> LoginError {
    LoginError::Invalid(why.to_owned())
}
