use std::time::Duration;

use url::form_urlencoded::parse;

use super::provider::protocol_error_code;
use super::{Attempt, Login, LoginError, Provider, TokenResponse};
use crate::clock::Clock;
use crate::session::{Attributes, Timestamp};

/// The parameters of an authorization response (RFC 6749 section 4.1.2, RFC 9207).
#[derive(Default)]
pub struct AuthorizationResponse {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

/// The result of a valid response.
pub enum LoginOutcome {
    /// The provider authenticated the person. The session starts at the given time.
    Authenticated(Box<TokenResponse>, Timestamp),
    /// The person must authenticate again.
    Reauthenticate,
}

impl AuthorizationResponse {
    /// Parses a query string. If a parameter occurs twice, the result has no parameters.
    #[must_use]
    pub fn new(query: &str) -> Self {
        let mut response = Self::default();
        for (name, value) in parse(query.as_bytes()) {
            let parameter = match &*name {
                "code" => &mut response.code,
                "state" => &mut response.state,
                "iss" => &mut response.iss,
                "error" => &mut response.error,
                _ => continue,
            };
            if parameter.replace(value.into_owned()).is_some() {
                return Self::default();
            }
        }
        response
    }

    /// Returns the `state` parameter, which identifies the attempt; an empty string if it is missing.
    #[must_use]
    pub fn state(&self) -> &str {
        self.state.as_deref().unwrap_or("")
    }
}

impl Login {
    /// Redeems the code of a response, and verifies the age of the authentication. The function `max_age` returns the
    /// maximum age for a person with the given attributes.
    ///
    /// # Errors
    /// [`LoginError`] if the response does not match the attempt, the provider fails, or its tokens are invalid.
    pub async fn evaluate(
        provider: &Provider,
        attempt: &Attempt,
        response: &AuthorizationResponse,
        clock: &dyn Clock,
        max_age: impl Fn(&Attributes) -> Option<Duration> + Send,
    ) -> Result<LoginOutcome, LoginError> {
        if attempt.provider != provider.name() {
            return Err(LoginError::NoMatchingAttempt(
                "response from another provider",
            ));
        }
        // Verify `iss` before `error`, because an error response can come from another provider, too (RFC 9207,
        // section 2.4).
        let issuer = &provider.settings.issuer.issuer.issuer;
        if response.iss.as_ref().is_some_and(|iss| iss != issuer) {
            return Err(LoginError::NoMatchingAttempt(
                "response from another provider",
            ));
        }
        if let Some(error) = &response.error {
            // Curfew logs only text in the form of an error code, because anybody can send any text.
            return Err(LoginError::Refused(protocol_error_code(error).to_owned()));
        }
        let code = response.code.as_deref();
        let code = code.ok_or(LoginError::NoMatchingAttempt("no `code`"))?;
        let tokens = provider.redeem(attempt, code, response.iss.as_deref(), clock.now());
        let tokens = tokens.await?;
        let max_age = max_age(&tokens.signed_in.attributes);
        let leeway = provider.settings.issuer.issuer.leeway;
        match Self::session_start(attempt, &tokens, max_age, leeway, clock.now())? {
            Some(start) => Ok(LoginOutcome::Authenticated(Box::new(tokens), start)),
            None if attempt.reauthenticate => {
                let ignored = "no new authentication: the provider ignored prompt=login";
                Err(LoginError::Invalid(ignored.to_owned()))
            }
            None => Ok(LoginOutcome::Reauthenticate),
        }
    }
}
