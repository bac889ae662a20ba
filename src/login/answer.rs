use std::time::Duration;

use url::form_urlencoded::parse;

use super::{Attempt, Login, LoginError, Provider, TokenResponse};
use crate::clock::Clock;
use crate::session::{Attributes, Timestamp};

/// The authorization response in the query (RFC 6749 section 4.1.2, RFC 9207).
#[derive(Debug, Default)]
pub struct AuthorizationResponse {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

/// The result of a valid response.
pub enum LoginOutcome {
    /// The provider authenticated the person; the session starts at this time.
    Authenticated(Box<TokenResponse>, Timestamp),
    /// The person must authenticate again.
    Reauthenticate,
}

impl AuthorizationResponse {
    /// Parses a query. The response is empty if a parameter occurs twice.
    #[must_use]
    pub fn new(query: &str) -> Self {
        let mut answer = Self::default();
        for (name, value) in parse(query.as_bytes()) {
            let place = match &*name {
                "code" => &mut answer.code,
                "state" => &mut answer.state,
                "iss" => &mut answer.iss,
                "error" => &mut answer.error,
                _ => continue,
            };
            if place.replace(value.into_owned()).is_some() {
                return Self::default();
            }
        }
        answer
    }

    /// The `state` parameter, which identifies the attempt; empty if it is missing.
    #[must_use]
    pub fn state(&self) -> &str {
        self.state.as_deref().unwrap_or("")
    }
}

impl Login {
    /// Redeems the code of a response and checks the age of the authentication. `max_age` returns the maximum age for a
    /// person with these attributes.
    ///
    /// # Errors
    /// [`LoginError`] if the response does not match, the provider fails, or its tokens are invalid.
    pub async fn evaluate(
        provider: &Provider,
        attempt: &Attempt,
        answer: &AuthorizationResponse,
        clock: &dyn Clock,
        max_age: impl Fn(&Attributes) -> Option<Duration> + Send,
    ) -> Result<LoginOutcome, LoginError> {
        if attempt.provider != provider.name() {
            return Err(LoginError::NotAsked("response from another provider"));
        }
        if let Some(error) = &answer.error {
            // Only an error code of the protocol is logged. Anybody can send other text.
            let word = error
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            let word = if word && error.len() < 64 {
                error
            } else {
                "an error"
            };
            return Err(LoginError::Refused(word.to_owned()));
        }
        let code = answer.code.as_deref();
        let code = code.ok_or(LoginError::NotAsked("no `code`"))?;
        let redeemed = provider.redeem(attempt, code, answer.iss.as_deref(), clock.now());
        let redeemed = redeemed.await?;
        let max_age = max_age(&redeemed.signed_in.attributes);
        let leeway = provider.settings.issuer.issuer.leeway;
        match Self::session_start(attempt, &redeemed, max_age, leeway, clock.now())? {
            Some(begun) => Ok(LoginOutcome::Authenticated(Box::new(redeemed), begun)),
            None if attempt.reauthenticate => {
                let ignored = "the provider ignored prompt=login: no new authentication";
                Err(LoginError::Invalid(ignored.to_owned()))
            }
            None => Ok(LoginOutcome::Reauthenticate),
        }
    }
}
