use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::COOKIE;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Login, LoginError};
use crate::credential::{KeyError, cookie_values, random_bytes};
use crate::session::Timestamp;

/// The time limit from the redirect to the provider until its response.
pub const ATTEMPT_LIFETIME: Duration = Duration::from_secs(600);

/// The length of the secret of an attempt.
const SECRET_BYTES: usize = 32;
/// The length of the start time in an attempt cookie.
const TIME_BYTES: usize = 6;

/// One sign-in of one browser, from the redirect to the provider until its response. Curfew does not store attempts:
/// the parameter `state` contains the encrypted attempt.
///
/// The browser has the secret of the attempt in a cookie, and a response is valid only with this secret. Each attempt
/// has a separate small cookie, so a person can sign in in many tabs at once.
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
    /// The return address.
    pub target: String,
    /// When the attempt started.
    pub started_at: Timestamp,
    /// Whether the person must authenticate again (`prompt=login`).
    pub reauthenticate: bool,
    secret: [u8; SECRET_BYTES],
}

/// The content of `state`.
#[derive(Serialize, Deserialize)]
struct StateContents {
    provider: String,
    target: String,
    /// The start of the attempt, in milliseconds since the epoch.
    started_at: u64,
    reauthenticate: bool,
    /// A hash of the secret.
    digest: [u8; 32],
}

impl StateContents {
    /// Decrypts a `state` that Curfew created for the purpose of `login`. Every replica with the same keys can
    /// decrypt it.
    fn decrypt(state: &str, login: &Login) -> Option<Self> {
        let bytes = login.key_ring.decrypt_text(login.purpose, state).ok()?;
        postcard::from_bytes(&bytes).ok()
    }
}

impl Attempt {
    /// Starts an attempt.
    ///
    /// # Errors
    /// [`KeyError`] if there is no key, or if the operating system returns no random numbers.
    pub fn new(
        login: &Login,
        provider: &str,
        target: &str,
        reauthenticate: bool,
        now: Timestamp,
    ) -> Result<Self, KeyError> {
        let secret = random_bytes::<SECRET_BYTES>()?;
        let contents = StateContents {
            provider: provider.to_owned(),
            target: target.to_owned(),
            started_at: now.as_millis(),
            reauthenticate,
            digest: derive_hash("secret", &secret),
        };
        let bytes = postcard::to_stdvec(&contents).map_err(|_| KeyError::Random)?;
        let state = login.key_ring.encrypt_text(login.purpose, &bytes)?;
        Ok(Self::from_contents(state, contents, secret))
    }

    /// Derives the nonce and the PKCE verifier from the secret.
    fn from_contents(state: String, contents: StateContents, secret: [u8; SECRET_BYTES]) -> Self {
        let encode_hash = |kind| URL_SAFE_NO_PAD.encode(derive_hash(kind, &secret));
        Self {
            provider: contents.provider,
            state,
            nonce: encode_hash("nonce"),
            verifier: encode_hash("verifier"),
            target: contents.target,
            started_at: Timestamp::from_millis(contents.started_at),
            reauthenticate: contents.reauthenticate,
            secret,
        }
    }

    /// Returns the name of the attempt cookie; `None` if `state` is invalid. The name contains the start of `state`,
    /// so the cookies of different attempts have different names.
    #[must_use]
    pub fn cookie_name(state: &str, secure: bool) -> Option<String> {
        let name_suffix = state.get(..8)?;
        let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let name = format!("{}{name_suffix}", Self::prefix(secure));
        name_suffix.bytes().all(is_name_byte).then_some(name)
    }

    /// Returns the prefix of the names of all attempt cookies. With `__Host-`, no other host can set such a cookie
    /// (RFC 6265bis section 4.1.3.2).
    #[must_use]
    pub const fn prefix(secure: bool) -> &'static str {
        if secure {
            "__Host-curfew-login-"
        } else {
            "curfew-login-"
        }
    }

    /// Returns the cookie value: the start time and the secret. The start time shows which attempts are the oldest, so
    /// that Curfew can delete their cookies if a browser has too many.
    #[must_use]
    pub fn cookie_value(&self) -> String {
        let time = self.started_at.as_millis().to_be_bytes();
        let bytes = [&time[time.len() - TIME_BYTES..], &self.secret].concat();
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Returns the names of all attempt cookies in a request, oldest first. Cookies with an invalid value come before
    /// all others.
    #[must_use]
    pub fn cookie_names(headers: &HeaderMap, secure: bool) -> Vec<&str> {
        let header_lines = headers.get_all(COOKIE).into_iter();
        let pairs = header_lines
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

    /// Returns the attempt that belongs to this `state`, if the request has the cookie of this attempt. If several
    /// cookies have the same name, only the cookie with the right secret counts.
    ///
    /// # Errors
    /// [`LoginError::NoMatchingAttempt`] if no cookie matches, or if the attempt has expired.
    pub fn find(
        headers: &HeaderMap,
        state: &str,
        login: &Login,
        now: Timestamp,
    ) -> Result<Self, LoginError> {
        let contents = StateContents::decrypt(state, login)
            .ok_or(LoginError::NoMatchingAttempt("invalid `state`"))?;
        let name = Self::cookie_name(state, login.secure);
        let name = name.ok_or(LoginError::NoMatchingAttempt("invalid `state`"))?;
        let mut values = cookie_values(headers, &name).peekable();
        if values.peek().is_none() {
            return Err(LoginError::NoMatchingAttempt("missing attempt cookie"));
        }
        let matches = |secret: &[u8; SECRET_BYTES]| {
            bool::from(derive_hash("secret", secret).ct_eq(&contents.digest))
        };
        let secret = values
            .filter_map(|value| split_cookie_value(value).map(|(_, secret)| secret))
            .find(matches)
            .ok_or(LoginError::NoMatchingAttempt(
                "attempt cookie with another secret",
            ))?;
        if now >= Timestamp::from_millis(contents.started_at).plus(ATTEMPT_LIFETIME) {
            return Err(LoginError::NoMatchingAttempt("the attempt has expired"));
        }
        Ok(Self::from_contents(state.to_owned(), contents, secret))
    }

    /// Returns the return address of an attempt, even if the attempt has expired or belongs to another browser.
    /// `None` if Curfew did not create this `state`.
    #[must_use]
    pub fn target_of(state: &str, login: &Login) -> Option<String> {
        StateContents::decrypt(state, login).map(|contents| contents.target)
    }
}

/// Derives the value `kind`, for example the nonce, from the secret. The derived values reveal nothing about the
/// secret or about each other.
fn derive_hash(kind: &str, secret: &[u8; SECRET_BYTES]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(format!("curfew attempt {kind} 1\0"));
    hash.update(secret);
    hash.finalize().into()
}

/// Splits a cookie value into the start time and the secret.
fn split_cookie_value(value: &[u8]) -> Option<([u8; TIME_BYTES], [u8; SECRET_BYTES])> {
    let bytes = URL_SAFE_NO_PAD.decode(value).ok()?;
    let (time, secret) = bytes.split_first_chunk()?;
    Some((*time, secret.try_into().ok()?))
}

/// The debug output omits the secret, because with the secret another browser could complete the sign-in.
impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempt")
            .field("provider", &self.provider)
            .field("started_at", &self.started_at)
            .field("reauthenticate", &self.reauthenticate)
            .finish_non_exhaustive()
    }
}
