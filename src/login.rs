//! OpenID Connect sign-in: Curfew as a client of identity providers (a relying party).
//!
//! Curfew uses the authorization code flow with PKCE (RFC 7636), `state` and `nonce`, as RFC 9700 recommends. `state`
//! contains the encrypted attempt ([`Attempt`]). The browser must return the secret of the attempt in a cookie, so a
//! response is valid only in the browser that started the sign-in.
//!
//! After a timeout, the provider's own session must not be enough for a new session of Curfew. So Curfew accepts a
//! sign-in only if the person authenticated within a limit, by default the idle limit. A person who was away longer
//! must authenticate again. The session starts at the time of the authentication (`auth_time`).
//!
//! The crate `oauth2` implements OAuth 2.0, and this module implements the additions of OpenID Connect. The verifier
//! of JSON Web Tokens ([`Issuer`](crate::credential::jwt::Issuer)) verifies the ID tokens.

mod attempt;
mod authorization_response;
mod cache;
mod discovery;
mod metadata;
mod provider;
mod transport;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::credential::{KeyError, KeyRing};
use crate::jwks::IssuerSettings;
use crate::policy::{MaxAge, Policies, Policy};
use crate::secret::Secret;
use crate::session::{Attributes, PolicyName, Timestamp};

pub use attempt::{ATTEMPT_LIFETIME, Attempt};
pub use authorization_response::{AuthorizationResponse, LoginOutcome};
pub use provider::{
    MAX_REFRESH_TOKEN_BYTES, Provider, RefreshAnswer, SubjectUpdate, TokenResponse,
};

/// Sign-in with identity providers.
pub struct Login {
    /// The public address of Curfew.
    pub url: Url,
    /// The purpose of the sign-in, `sign-in` or `console`. An attempt for another purpose is not accepted.
    pub purpose: &'static str,
    /// The maximum age of an authentication.
    pub max_age: MaxAge,
    /// The revalidation interval of sessions; `None` if revalidation is off.
    pub revalidation_interval: Option<Duration>,
    /// The providers by name.
    pub providers: BTreeMap<String, Provider>,
    /// Encrypts attempts.
    pub key_ring: Arc<KeyRing>,
    /// Whether cookies have the `Secure` attribute.
    pub secure: bool,
    /// The domain of the cookies; `None` if each cookie is for one host.
    pub domain: Option<String>,
}

/// The configuration of sign-in.
#[derive(Clone, Debug)]
pub struct LoginSettings {
    /// The public address of Curfew.
    pub url: Url,
    /// The maximum age of an authentication.
    pub max_age: MaxAge,
    /// The revalidation interval of sessions; `None` if revalidation is off.
    pub revalidation_interval: Option<Duration>,
    /// The providers.
    pub providers: Vec<ProviderSettings>,
}

/// The configuration of a provider.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// The name of the provider, the requirements for its tokens, and the home policy of its sessions.
    pub issuer: IssuerSettings,
    /// The OAuth client ID.
    pub client_id: String,
    /// The OAuth client secret; `None` for a public client.
    pub client_secret: Option<Secret<String>>,
    /// The requested scopes besides `openid`.
    pub scopes: Vec<String>,
    /// The display name on the page where people choose a provider.
    pub title: String,
    /// Trusted certificate authorities in PEM for requests to the provider.
    pub authorities: Option<Vec<u8>>,
    /// The timeout of one request.
    pub timeout: Duration,
}

/// The reason why a sign-in failed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The provider cannot be reached, or its answer is invalid.
    #[error("identity provider unavailable: {0}")]
    Unavailable(String),
    /// The response does not match an attempt of this browser, or the attempt has expired.
    #[error("no matching sign-in attempt in this browser: {0}")]
    NoMatchingAttempt(&'static str),
    /// The provider returned an error.
    #[error("refused by the identity provider: {0}")]
    Refused(String),
    /// A token or another part of the provider's response is invalid.
    #[error("invalid response of the identity provider: {0}")]
    Invalid(String),
}

impl LoginError {
    /// Returns the value for metrics and audit events.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::NoMatchingAttempt(_) => "not_asked",
            Self::Refused(_) => "refused",
            Self::Invalid(_) => "invalid",
        }
    }
}

impl Login {
    /// Returns the provider with this name. Without a name, returns the only provider; `None` if there are several.
    #[must_use]
    pub fn provider(&self, name: Option<&str>) -> Option<&Provider> {
        match name {
            Some(name) => self.providers.get(name),
            None => self
                .providers
                .values()
                .next()
                .filter(|_| self.providers.len() == 1),
        }
    }

    /// Starts an attempt. Returns the address at the provider, and the name and the value of the attempt cookie.
    ///
    /// # Errors
    /// [`LoginError`] if the provider's metadata cannot be fetched, or if the attempt cannot be created.
    pub async fn begin(
        &self,
        provider: &Provider,
        target: &str,
        reauthenticate: bool,
        max_age: Option<Duration>,
        now: Timestamp,
    ) -> Result<(Url, String, String), LoginError> {
        let unavailable = |error: KeyError| LoginError::Unavailable(error.to_string());
        let attempt = Attempt::new(self, provider.name(), target, reauthenticate, now)
            .map_err(unavailable)?;
        let url = provider.authorization_url(&attempt, max_age, now).await?;
        let name = Attempt::cookie_name(&attempt.state, self.secure);
        let name = name.ok_or(LoginError::NoMatchingAttempt("invalid `state`"))?;
        Ok((url, name, attempt.cookie_value()))
    }

    /// Returns the home policy of sessions from this provider; `None` if the policy is no longer configured.
    #[must_use]
    pub fn policy<'a>(
        provider: &'a Provider,
        policies: &'a Policies,
    ) -> Option<(&'a PolicyName, &'a Policy)> {
        let named = provider.settings.issuer.policy.as_ref();
        let name = named.unwrap_or_else(|| policies.default_name());
        policies.get(name.as_str())
    }

    /// Returns the maximum age of an authentication for a person with these attributes.
    #[must_use]
    pub fn max_age(&self, policy: &Policy, attributes: &Attributes) -> Option<Duration> {
        self.max_age.limit(policy, attributes)
    }

    /// Determines the start time of the session from the authentication time in the ID token. Returns `None` if the
    /// person must authenticate again.
    ///
    /// # Errors
    /// [`LoginError::Invalid`] if an authentication time is required and the ID token has none.
    pub fn session_start(
        attempt: &Attempt,
        tokens: &TokenResponse,
        max_age: Option<Duration>,
        leeway: Duration,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, LoginError> {
        let Some(authenticated) = tokens.signed_in.authenticated else {
            if max_age.is_some() || attempt.reauthenticate {
                let missing = "the ID token has no authentication time (auth_time); \
                              see login.max_age";
                return Err(LoginError::Invalid(missing.to_owned()));
            }
            return Ok(Some(tokens.signed_in.issued));
        };
        if attempt.reauthenticate {
            // A provider rounds `auth_time` to whole seconds, and its clock can differ. So a time slightly before the
            // start of the attempt counts as the start of the attempt.
            let fresh = authenticated.plus(leeway) >= attempt.started_at;
            return Ok(fresh.then(|| authenticated.max(attempt.started_at).min(now)));
        }
        // The leeway is not needed here: if the clocks differ, the person at worst authenticates once more.
        let fresh = max_age.is_none_or(|age| now < authenticated.plus(age));
        Ok(fresh.then_some(authenticated))
    }
}

#[cfg(test)]
mod tests;
