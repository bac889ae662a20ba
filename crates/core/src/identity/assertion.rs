//! Signed assertions of identity. With an assertion, an application can verify that a request came through the proxy.

mod key;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::Identity;
use crate::policy::normalize_host;
use crate::session::{Session, Timestamp};

pub use key::{AssertionKey, AssertionKeyError};

/// The `typ` header of an assertion. It keeps applications from accepting another token as an assertion (RFC 8725
/// 3.11).
const ASSERTION_TYP: &str = "curfew-assertion+jwt";

/// Signs short-lived JSON Web Tokens with the identity of a session.
#[derive(Debug)]
pub struct AssertionSigner {
    /// The `iss` claim.
    pub issuer: String,
    /// The lifetime of an assertion.
    pub lifetime: Duration,
    /// The key that signs assertions.
    pub key: AssertionKey,
    /// Other published keys: future keys, and retired keys, with which applications verify older assertions.
    pub other_keys: Vec<AssertionKey>,
}

impl AssertionSigner {
    /// Signs the identity of a session for the application on a host.
    #[must_use]
    pub fn sign(
        &self,
        identity: &Identity<'_>,
        session: &Session,
        host: &str,
        now: Timestamp,
    ) -> String {
        let seconds = |at: Timestamp| at.as_millis() / 1000;
        let header =
            json!({ "alg": self.key.algorithm(), "kid": self.key.id(), "typ": ASSERTION_TYP });
        let claims = json!({
            "iss": self.issuer,
            "aud": normalize_host(host),
            "sub": identity.user,
            "sid": identity.id,
            "groups": identity.groups.collect::<Vec<_>>(),
            "policy": identity.policy,
            "auth_time": seconds(session.started),
            "iat": seconds(now),
            "exp": seconds(now.plus(self.lifetime)),
        });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let mut token = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.key.sign(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }

    /// The public keys as a JSON Web Key Set (RFC 7517).
    #[must_use]
    pub fn public_key_set(&self) -> Value {
        let keys = [&self.key].into_iter().chain(&self.other_keys);
        json!({ "keys": keys.map(AssertionKey::public_jwk).collect::<Vec<_>>() })
    }
}

#[cfg(test)]
mod tests;
