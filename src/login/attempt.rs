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

/// How long a person has to sign in at the provider.
pub const ATTEMPT_LIFETIME: Duration = Duration::from_secs(600);

/// Bytes of an attempt's secret.
const SECRET_BYTES: usize = 32;
/// Bytes of the time in an attempt's cookie.
const TIME_BYTES: usize = 6;

/// One sign-in of one browser, from the redirect to the provider until its answer. Curfew stores nothing of it.
///
/// `state` holds all of it, encrypted. The answer is good only in the browser that has the attempt's secret, in a cookie
/// of its own for each attempt. The cookie is small, so many tabs can wait at the provider.
#[derive(Clone, PartialEq, Eq)]
pub struct Attempt {
    /// At which provider.
    pub provider: String,
    /// Comes back with the answer (CSRF; RFC 6749 section 10.12).
    pub state: String,
    /// Comes back in the ID token.
    pub nonce: String,
    /// Shows that who redeems the code is who asked for it (RFC 7636).
    pub verifier: String,
    /// Where the person wants to go.
    pub target: String,
    /// When it began.
    pub begun: Timestamp,
    /// Whether the person is to prove again who they are.
    pub again: bool,
    secret: [u8; SECRET_BYTES],
}

/// What the state holds.
#[derive(Serialize, Deserialize)]
struct Told {
    provider: String,
    target: String,
    /// Milliseconds since the epoch.
    begun: u64,
    again: bool,
    /// A hash of the secret.
    digest: [u8; 32],
}

impl Told {
    /// What a state holds that this process, or another with the same keys, has encrypted for the same purpose.
    fn open(state: &str, login: &Login) -> Option<Self> {
        let bytes = login.key_ring.decrypt_text(login.purpose, state).ok()?;
        postcard::from_bytes(&bytes).ok()
    }
}

impl Attempt {
    /// Begins one.
    ///
    /// # Errors
    /// [`KeyError`] without a key, and when the operating system gives no random numbers.
    pub fn new(
        login: &Login,
        provider: &str,
        target: &str,
        again: bool,
        now: Timestamp,
    ) -> Result<Self, KeyError> {
        let secret = random::<SECRET_BYTES>()?;
        let told = Told {
            provider: provider.to_owned(),
            target: target.to_owned(),
            begun: now.as_millis(),
            again,
            digest: derived("secret", &secret),
        };
        let bytes = postcard::to_stdvec(&told).map_err(|_| KeyError::Random)?;
        let state = login.key_ring.encrypt_text(login.purpose, &bytes)?;
        Ok(Self::of(state, told, secret))
    }

    fn of(state: String, told: Told, secret: [u8; SECRET_BYTES]) -> Self {
        let text = |kind| URL_SAFE_NO_PAD.encode(derived(kind, &secret));
        Self {
            provider: told.provider,
            state,
            nonce: text("nonce"),
            verifier: text("verifier"),
            target: told.target,
            begun: Timestamp::from_millis(told.begun),
            again: told.again,
            secret,
        }
    }

    /// The name of its cookie; each has one of its own, so that two tabs don't disturb each other.
    #[must_use]
    pub fn cookie_name(state: &str, secure: bool) -> Option<String> {
        let tag = state.get(..8)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let name = format!("{}{tag}", Self::prefix(secure));
        tag.bytes().all(plain).then_some(name)
    }

    /// What the names of all such cookies begin with. Another host can't set one with `__Host-`
    /// (RFC 6265bis section 4.1.3.2).
    #[must_use]
    pub const fn prefix(secure: bool) -> &'static str {
        if secure {
            "__Host-curfew-login-"
        } else {
            "curfew-login-"
        }
    }

    /// The value of its cookie: the time that it began, by which the oldest is found, and the secret.
    #[must_use]
    pub fn cookie_value(&self) -> String {
        let time = self.begun.as_millis().to_be_bytes();
        let bytes = [&time[time.len() - TIME_BYTES..], &self.secret].concat();
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The names of the attempts that a browser has, the oldest first. Cookies that are not readable come before them.
    #[must_use]
    pub fn names(headers: &HeaderMap, secure: bool) -> Vec<&str> {
        let lines = headers.get_all(COOKIE).into_iter();
        let pairs = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.split_once('='));
        let mut attempts: Vec<_> = pairs
            .map(|(name, value)| (name.trim(), value.trim()))
            .filter(|(name, _)| name.starts_with(Self::prefix(secure)))
            .map(|(name, value)| (parts(value.as_bytes()).map(|(time, _)| time), name))
            .collect();
        attempts.sort();
        attempts.dedup_by_key(|(_, name)| *name);
        attempts.into_iter().map(|(_, name)| name).collect()
    }

    /// The attempt that an answer with this `state` belongs to, by the cookies that came with it. Of several cookies of
    /// its name the one that belongs to the state counts.
    ///
    /// # Errors
    /// [`LoginError::NotAsked`] when there is none, or when it was too long ago.
    pub fn find(
        headers: &HeaderMap,
        state: &str,
        login: &Login,
        now: Timestamp,
    ) -> Result<Self, LoginError> {
        let told = Told::open(state, login).ok_or(LoginError::NotAsked("its state is none"))?;
        let name = Self::cookie_name(state, login.secure);
        let name = name.ok_or(LoginError::NotAsked("its state is none"))?;
        let mut values = cookie_values(headers, &name).peekable();
        if values.peek().is_none() {
            return Err(LoginError::NotAsked("there is no cookie of it"));
        }
        let is_its =
            |secret: &[u8; SECRET_BYTES]| bool::from(derived("secret", secret).ct_eq(&told.digest));
        let secret = values
            .filter_map(|value| parts(value).map(|(_, secret)| secret))
            .find(is_its)
            .ok_or(LoginError::NotAsked("its cookie is another"))?;
        if now >= Timestamp::from_millis(told.begun).plus(ATTEMPT_LIFETIME) {
            return Err(LoginError::NotAsked("it took too long"));
        }
        Ok(Self::of(state.to_owned(), told, secret))
    }

    /// Where the person of an attempt wanted to go, whichever browser began it, and however long ago. `None` for a state
    /// that is not Curfew's own.
    #[must_use]
    pub fn target_of(state: &str, login: &Login) -> Option<String> {
        Told::open(state, login).map(|told| told.target)
    }
}

/// A hash of the secret. None of a kind says anything about those of another.
fn derived(kind: &str, secret: &[u8; SECRET_BYTES]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(format!("curfew attempt {kind} 1\0"));
    hash.update(secret);
    hash.finalize().into()
}

/// The time and the secret in a cookie.
fn parts(value: &[u8]) -> Option<([u8; TIME_BYTES], [u8; SECRET_BYTES])> {
    let bytes = URL_SAFE_NO_PAD.decode(value).ok()?;
    let (time, secret) = bytes.split_first_chunk()?;
    Some((*time, secret.try_into().ok()?))
}

/// The secret signs somebody in, so nothing shows it.
impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempt")
            .field("provider", &self.provider)
            .field("begun", &self.begun)
            .field("again", &self.again)
            .finish_non_exhaustive()
    }
}
