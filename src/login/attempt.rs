use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::{Login, LoginError};
use crate::credential::{KeyError, cookie_values, random};
use crate::session::Timestamp;

/// How long a person has to sign in at the provider.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// One try of one browser to sign in. It is sealed in a cookie of that browser; nothing is kept here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    #[serde(with = "millis")]
    pub begun: Timestamp,
    /// Whether the person is to prove again who they are.
    pub again: bool,
}

impl Attempt {
    /// A new one.
    ///
    /// # Errors
    /// [`KeyError::Random`] when the operating system gives no random numbers.
    pub fn new(
        provider: &str,
        target: &str,
        again: bool,
        now: Timestamp,
    ) -> Result<Self, KeyError> {
        let secret = || random::<32>().map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        Ok(Self {
            provider: provider.to_owned(),
            state: secret()?,
            nonce: secret()?,
            verifier: secret()?,
            target: target.to_owned(),
            begun: now,
            again,
        })
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

    /// The value of its cookie.
    ///
    /// # Errors
    /// [`KeyError`] when there is no key.
    pub fn seal(&self, login: &Login) -> Result<String, KeyError> {
        let bytes = serde_json::to_vec(self).map_err(|_| KeyError::Random)?;
        login.key_ring.seal(login.purpose, &bytes)
    }

    /// The attempt that an answer with this `state` belongs to, by the cookies that came with it.
    ///
    /// # Errors
    /// [`LoginError::NotAsked`] when there is none, or when it was too long ago.
    pub fn find(
        headers: &http::HeaderMap,
        state: &str,
        login: &Login,
        now: Timestamp,
    ) -> Result<Self, LoginError> {
        let name = Self::cookie_name(state, login.secure);
        let name = name.ok_or(LoginError::NotAsked("its state is none"))?;
        let mut values = cookie_values(headers, &name);
        let (value, others) = (values.next(), values.next());
        let value = match (value, others) {
            (Some(value), None) => std::str::from_utf8(value).ok(),
            (None, _) => return Err(LoginError::NotAsked("there is no cookie of it")),
            (Some(_), Some(_)) => None,
        };
        let open = |text| login.key_ring.open(login.purpose, text).ok();
        let attempt: Option<Self> = value
            .and_then(open)
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let attempt = attempt.ok_or(LoginError::NotAsked("its cookie is none of ours"))?;
        if !bool::from(attempt.state.as_bytes().ct_eq(state.as_bytes())) {
            return Err(LoginError::NotAsked("its state is another"));
        }
        if now >= attempt.begun.plus(PATIENCE) {
            return Err(LoginError::NotAsked("it took too long"));
        }
        Ok(attempt)
    }
}

/// Times as numbers.
mod millis {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::session::Timestamp;

    pub(super) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(at.as_millis())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        u64::deserialize(from).map(Timestamp::from_millis)
    }
}
