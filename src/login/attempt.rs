use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::COOKIE;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Login, LoginError};
use crate::credential::{KeyError, cookie_values, random};
use crate::session::Timestamp;

/// The time limit for a sign-in with the provider.
pub const ATTEMPT_LIFETIME: Duration = Duration::from_secs(600);

/// Length of an attempt's secret.
const SECRET_BYTES: usize = 32;
/// Length of the time in an attempt's cookie.
const TIME_BYTES: usize = 6;

/// One sign-in of one browser, from the redirect to the provider until its response. Curfew does not store it.
///
/// `state` holds the encrypted attempt. A response is valid only with the attempt's secret, which is in a cookie of the
/// browser. Each attempt has its own small cookie, so a person can have sign-ins in many tabs at once.
#[derive(Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The name of the provider.
    pub provider: String,
    /// The `state` parameter, against CSRF (RFC 6749 section 10.12).
    pub state: String,
    /// The `nonce`, which the ID token must contain.
    pub nonce: String,
    /// The PKCE code verifier (RFC 7636).
    pub verifier: String,
    /// The address to open after the sign-in.
    pub target: String,
    /// When the attempt started.
    pub begun: Timestamp,
    /// Whether the person must authenticate again (`prompt=login`).
    pub reauthenticate: bool,
    secret: [u8; SECRET_BYTES],
}

/// The content of `state`.
#[derive(Serialize, Deserialize)]
struct StateContents {
    provider: String,
    target: String,
    /// Milliseconds since the epoch.
    begun: u64,
    reauthenticate: bool,
    /// A hash of the secret.
    digest: [u8; 32],
}

impl StateContents {
    /// Decrypts a state for the same purpose. Any process with the same keys can do this.
    fn open(state: &str, login: &Login) -> Option<Self> {
        let bytes = login.key_ring.decrypt_text(login.purpose, state).ok()?;
        postcard::from_bytes(&bytes).ok()
    }
}

impl Attempt {
    /// Starts an attempt.
    ///
    /// # Errors
    /// [`KeyError`] without a key, or if the operating system has no random numbers.
    pub fn new(
        login: &Login,
        provider: &str,
        target: &str,
        reauthenticate: bool,
        now: Timestamp,
    ) -> Result<Self, KeyError> {
        let secret = random::<SECRET_BYTES>()?;
        let contents = StateContents {
            provider: provider.to_owned(),
            target: target.to_owned(),
            begun: now.as_millis(),
            reauthenticate,
            digest: derive("secret", &secret),
        };
        let bytes = postcard::to_stdvec(&contents).map_err(|_| KeyError::Random)?;
        let state = login.key_ring.encrypt_text(login.purpose, &bytes)?;
        Ok(Self::of(state, contents, secret))
    }

    fn of(state: String, contents: StateContents, secret: [u8; SECRET_BYTES]) -> Self {
        let text = |kind| URL_SAFE_NO_PAD.encode(derive(kind, &secret));
        Self {
            provider: contents.provider,
            state,
            nonce: text("nonce"),
            verifier: text("verifier"),
            target: contents.target,
            begun: Timestamp::from_millis(contents.begun),
            reauthenticate: contents.reauthenticate,
            secret,
        }
    }

    /// The name of the attempt's cookie; `None` for an invalid state. Attempts in several tabs have different names.
    #[must_use]
    pub fn cookie_name(state: &str, secure: bool) -> Option<String> {
        let tag = state.get(..8)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let name = format!("{}{tag}", Self::prefix(secure));
        tag.bytes().all(plain).then_some(name)
    }

    /// The prefix of all attempt cookies. With `__Host-`, another host cannot set one (RFC 6265bis section 4.1.3.2).
    #[must_use]
    pub const fn prefix(secure: bool) -> &'static str {
        if secure {
            "__Host-curfew-login-"
        } else {
            "curfew-login-"
        }
    }

    /// The cookie value: the start time, which shows the oldest attempt, and the secret.
    #[must_use]
    pub fn cookie_value(&self) -> String {
        let time = self.begun.as_millis().to_be_bytes();
        let bytes = [&time[time.len() - TIME_BYTES..], &self.secret].concat();
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The cookie names of a browser's attempts, oldest first. Unreadable cookies come before the others.
    #[must_use]
    pub fn cookie_names(headers: &HeaderMap, secure: bool) -> Vec<&str> {
        let lines = headers.get_all(COOKIE).into_iter();
        let pairs = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.split_once('='));
        let mut attempts: Vec<_> = pairs
            .map(|(name, value)| (name.trim(), value.trim()))
            .filter(|(name, _)| name.starts_with(Self::prefix(secure)))
            .map(|(name, value)| {
                (
                    split_cookie_value(value.as_bytes()).map(|(time, _)| time),
                    name,
                )
            })
            .collect();
        attempts.sort();
        attempts.dedup_by_key(|(_, name)| *name);
        attempts.into_iter().map(|(_, name)| name).collect()
    }

    /// Finds the attempt of a response with this `state` in the request's cookies. Of several cookies with its name, only
    /// the one with the right secret counts.
    ///
    /// # Errors
    /// [`LoginError::NotAsked`] if there is no matching attempt, or if it has expired.
    pub fn find(
        headers: &HeaderMap,
        state: &str,
        login: &Login,
        now: Timestamp,
    ) -> Result<Self, LoginError> {
        let contents =
            StateContents::open(state, login).ok_or(LoginError::NotAsked("invalid `state`"))?;
        let name = Self::cookie_name(state, login.secure);
        let name = name.ok_or(LoginError::NotAsked("invalid `state`"))?;
        let mut values = cookie_values(headers, &name).peekable();
        if values.peek().is_none() {
            return Err(LoginError::NotAsked("no cookie of the attempt"));
        }
        let matches = |secret: &[u8; SECRET_BYTES]| {
            bool::from(derive("secret", secret).ct_eq(&contents.digest))
        };
        let secret = values
            .filter_map(|value| split_cookie_value(value).map(|(_, secret)| secret))
            .find(matches)
            .ok_or(LoginError::NotAsked(
                "the cookie belongs to another attempt",
            ))?;
        if now >= Timestamp::from_millis(contents.begun).plus(ATTEMPT_LIFETIME) {
            return Err(LoginError::NotAsked("the attempt has expired"));
        }
        Ok(Self::of(state.to_owned(), contents, secret))
    }

    /// The target address of an attempt, even of an expired one or one of another browser. `None` for a state that
    /// Curfew did not create.
    #[must_use]
    pub fn target_of(state: &str, login: &Login) -> Option<String> {
        StateContents::open(state, login).map(|contents| contents.target)
    }
}

/// A hash of the secret for one purpose. Hashes for different purposes reveal nothing about each other.
fn derive(kind: &str, secret: &[u8; SECRET_BYTES]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(format!("curfew attempt {kind} 1\0"));
    hash.update(secret);
    hash.finalize().into()
}

/// Splits a cookie value into the time and the secret.
fn split_cookie_value(value: &[u8]) -> Option<([u8; TIME_BYTES], [u8; SECRET_BYTES])> {
    let bytes = URL_SAFE_NO_PAD.decode(value).ok()?;
    let (time, secret) = bytes.split_first_chunk()?;
    Some((*time, secret.try_into().ok()?))
}

/// Debug output without the secret, which would allow a sign-in.
impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempt")
            .field("provider", &self.provider)
            .field("begun", &self.begun)
            .field("reauthenticate", &self.reauthenticate)
            .finish_non_exhaustive()
    }
}
