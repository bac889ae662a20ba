use std::time::Duration;

use url::form_urlencoded::parse;

use super::{Attempt, Login, LoginError, Provider, TokenResponse};
use crate::clock::Clock;
use crate::session::{Attributes, Timestamp};

/// What a provider answers (RFC 6749 section 4.1.2, RFC 9207).
#[derive(Debug, Default)]
pub struct Answer {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

/// What comes of an answer.
pub enum Outcome {
    /// The person is who the provider says, and proved it at this time.
    In(Box<TokenResponse>, Timestamp),
    /// They must prove again who they are.
    Again,
}

impl Answer {
    /// What is in the query; nothing where something is there twice.
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

    /// Which attempt it is an answer to.
    #[must_use]
    pub fn state(&self) -> &str {
        self.state.as_deref().unwrap_or("")
    }
}

impl Login {
    /// Looks at an answer to an attempt. `max_age` says how long ago somebody with these attributes may
    /// have proved who they are.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn judge(
        provider: &Provider,
        attempt: &Attempt,
        answer: &Answer,
        clock: &dyn Clock,
        max_age: impl Fn(&Attributes) -> Option<Duration> + Send,
    ) -> Result<Outcome, LoginError> {
        if attempt.provider != provider.name() {
            return Err(LoginError::NotAsked("it comes from another provider"));
        }
        if let Some(error) = &answer.error {
            // A word of the protocol's, and nothing that anybody could put in its place.
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
        let code = code.ok_or(LoginError::NotAsked("it has no code"))?;
        let redeemed = provider.redeem(attempt, code, answer.iss.as_deref(), clock.now());
        let redeemed = redeemed.await?;
        let max_age = max_age(&redeemed.signed_in.attributes);
        let leeway = provider.settings.issuer.issuer.leeway;
        match Self::session_start(attempt, &redeemed, max_age, leeway, clock.now())? {
            Some(begun) => Ok(Outcome::In(Box::new(redeemed), begun)),
            None if attempt.again => {
                let deaf = "it was asked to sign the person in again (prompt=login) and did not";
                Err(LoginError::Invalid(deaf.to_owned()))
            }
            None => Ok(Outcome::Again),
        }
    }
}
