//! An issuer of JSON Web Tokens. It writes its public key to a file, from which Curfew reads the key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::curfew::Setup;
use super::now;

const ISSUER: &str = "https://id.example.com";

pub struct Issuer {
    key_pair: Ed25519KeyPair,
    jwks_file: NamedTempFile,
}

impl Default for Issuer {
    fn default() -> Self {
        Self::new()
    }
}

impl Issuer {
    pub fn new() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let key_pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let public = URL_SAFE_NO_PAD.encode(key_pair.public_key().as_ref());
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": public });
        let jwks_file = NamedTempFile::new().unwrap();
        std::fs::write(jwks_file.path(), json!({ "keys": [key] }).to_string()).unwrap();
        Self {
            key_pair,
            jwks_file,
        }
    }

    /// Adds settings that make Curfew accept the JSON Web Tokens of this issuer in the cookie `id`.
    pub fn configure(&self, setup: Setup) -> Setup {
        let key = |name: &str| format!("JWT__ISSUERS__MAIN__{name}");
        setup
            .set(&key("ISSUER"), ISSUER)
            .set(&key("AUDIENCE"), "app")
            .set(&key("ALGORITHMS"), "EdDSA")
            .set(&key("JWKS_FILE"), self.jwks_file.path().to_str().unwrap())
            .set("JWT__COOKIE", "id")
    }

    /// Returns a cookie with a JSON Web Token of `alice`. This token is issued now, and its `auth_time` is
    /// `seconds_ago` seconds earlier.
    pub fn cookie(&self, sid: &str, seconds_ago: u64) -> String {
        let now = now().as_millis() / 1000;
        let claims = json!({
            "iss": ISSUER, "aud": "app", "sub": "alice", "sid": sid,
            "auth_time": now - seconds_ago, "iat": now, "exp": now + 3600,
        });
        format!("id={}", self.token(&claims))
    }

    fn token(&self, claims: &Value) -> String {
        let header = json!({ "alg": "EdDSA", "typ": "JWT" });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&header), part(claims));
        let signature = self.key_pair.sign(text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}
