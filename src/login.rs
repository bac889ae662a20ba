//! Sign-in by OpenID Connect: Curfew as a client of identity providers (a "relying party").
//!
//! The authorization code flow with PKCE (RFC 7636), `state` and `nonce`, as RFC 9700 wants it. `state` holds
//! the attempt, encrypted ([`Attempt`]). A browser must bring back the attempt's secret, in a cookie of its
//! own for each, so that an answer of a provider is good only in the browser that asked for it.
//!
//! A session that timed out must not come back because the provider still knows the person. So a
//! sign-in is good only if the person proved who they are less than a limit ago, which is the idle
//! limit unless configured otherwise: whoever was away for that long has to do it again, whatever the
//! browser says of why it came. The session is as old as that proof (`auth_time`).

mod answer;
mod attempt;
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

pub use answer::{Answer, Outcome};
pub use attempt::{ATTEMPT_LIFETIME, Attempt};
pub use provider::{Learned, MAX_REFRESH_TOKEN_BYTES, Provider, RefreshAnswer, TokenResponse};

/// Sign-in by identity providers.
pub struct Login {
    /// Where browsers find Curfew.
    pub url: Url,
    /// What attempts are for; those for something else are none.
    pub purpose: &'static str,
    /// How long ago a person may have proved who they are.
    pub max_age: MaxAge,
    /// How often the provider of a session in use is asked whether its subject may still be signed in.
    pub revalidate: Option<Duration>,
    /// The providers, by name.
    pub providers: BTreeMap<String, Provider>,
    /// Encrypts attempts.
    pub key_ring: Arc<KeyRing>,
    /// Whether cookies are for TLS only.
    pub secure: bool,
    /// The domain of cookies; `None` where they are for one host.
    pub domain: Option<String>,
}

/// What is configured of sign-in.
#[derive(Clone, Debug)]
pub struct LoginSettings {
    /// Where browsers find Curfew.
    pub url: Url,
    /// How long ago a person may have proved who they are.
    pub max_age: MaxAge,
    /// How often the provider of a session in use is asked whether its subject may still be signed in.
    pub revalidate: Option<Duration>,
    /// The providers.
    pub providers: Vec<ProviderSettings>,
}

/// What is configured of a provider.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// Its name, who issues its tokens, what they must be like, and its policy.
    pub issuer: IssuerSettings,
    /// What it calls Curfew.
    pub client_id: String,
    /// The client secret; `None` for a public client.
    pub client_secret: Option<Secret<String>>,
    /// What it is asked for besides `openid`.
    pub scopes: Vec<String>,
    /// What people call it.
    pub title: String,
    /// PEM certificates of the authorities to trust for it.
    pub authorities: Option<Vec<u8>>,
    /// The most time for one request.
    pub timeout: Duration,
}

/// Why somebody could not be signed in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The provider cannot be reached, or its answer is invalid.
    #[error("the provider can't be asked: {0}")]
    Unavailable(String),
    /// The answer is not to a question of this browser's, or too late.
    #[error("the answer belongs to no attempt of this browser: {0}")]
    NotAsked(&'static str),
    /// The provider says no.
    #[error("the provider refused: {0}")]
    Refused(String),
    /// The provider's tokens are no good.
    #[error("the provider's answer is no good: {0}")]
    Invalid(String),
}

impl LoginError {
    /// The word for this in metrics and audit events.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::NotAsked(_) => "not_asked",
            Self::Refused(_) => "refused",
            Self::Invalid(_) => "invalid",
        }
    }
}

impl Login {
    /// The one provider that a person can mean: the one that is named, or the only one there is.
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

    /// Begins an attempt: where the browser goes, and the cookie that it must bring back, by name and value.
    ///
    /// # Errors
    /// [`LoginError::Unavailable`] when the provider can't be asked.
    pub async fn begin(
        &self,
        provider: &Provider,
        target: &str,
        again: bool,
        max_age: Option<Duration>,
        now: Timestamp,
    ) -> Result<(Url, String, String), LoginError> {
        let failed = |error: KeyError| LoginError::Unavailable(error.to_string());
        let attempt = Attempt::new(self, provider.name(), target, again, now).map_err(failed)?;
        let url = provider.authorize(&attempt, max_age, now).await?;
        let name = Attempt::cookie_name(&attempt.state, self.secure);
        let name = name.ok_or(LoginError::NotAsked("its state is none"))?;
        Ok((url, name, attempt.cookie_value()))
    }

    /// The home policy of the sessions that a provider's people get.
    #[must_use]
    pub fn policy<'a>(
        provider: &'a Provider,
        policies: &'a Policies,
    ) -> Option<(&'a PolicyName, &'a Policy)> {
        let named = provider.settings.issuer.policy.as_ref();
        let name = named.unwrap_or_else(|| policies.default_name());
        policies.get(name.as_str())
    }

    /// How long ago somebody with these attributes may have proved who they are.
    #[must_use]
    pub fn max_age(&self, policy: &Policy, attributes: &Attributes) -> Option<Duration> {
        self.max_age.limit(policy, attributes)
    }

    /// What a proof of `authenticated`, told at `now` in answer to an attempt, is worth: the time
    /// that the session begins, or `None` where the person must prove again who they are.
    ///
    /// # Errors
    /// [`LoginError::Invalid`] when the provider does not say when it was, though it was asked.
    pub fn session_start(
        attempt: &Attempt,
        redeemed: &TokenResponse,
        max_age: Option<Duration>,
        leeway: Duration,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, LoginError> {
        let Some(authenticated) = redeemed.signed_in.authenticated else {
            if max_age.is_some() || attempt.again {
                let silent = "it does not say when the person signed in (auth_time); \
                              login.max_age says what that is for";
                return Err(LoginError::Invalid(silent.to_owned()));
            }
            return Ok(Some(redeemed.signed_in.issued));
        };
        if attempt.again {
            // What the provider says in whole seconds happened after it was asked.
            let fresh = authenticated.plus(leeway) >= attempt.begun;
            return Ok(fresh.then(|| authenticated.max(attempt.begun).min(now)));
        }
        // Without leeway: where clocks differ somebody proves once more who they are.
        let fresh = max_age.is_none_or(|age| now < authenticated.plus(age));
        Ok(fresh.then_some(authenticated))
    }
}

#[cfg(test)]
mod tests;
