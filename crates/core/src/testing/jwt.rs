//! An identity provider that signs arbitrary tokens.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256,
};
use serde_json::{Value, json};

use crate::credential::jwt::{ClaimNames, Issuer, KeySet, LogoutScope};

/// The issuer of the test tokens: their `iss` claim.
pub const ISSUER: &str = "https://id.example.com/realms/main";
/// The OAuth client ID: the `aud` claim of the issuer's tokens.
pub const AUDIENCE: &str = "app";

/// A signing key with its key ID.
pub struct SigningKey {
    /// The key ID: the `kid` header of tokens that are signed with the key.
    pub id: String,
    pair: TestKeyPair,
}

enum TestKeyPair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rsa(rsa::KeyPair),
}

impl SigningKey {
    /// Generates an Ed25519 key.
    pub fn ed25519(id: &str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        Self::of(id, TestKeyPair::Ed25519(pair))
    }

    /// Generates a P-256 key.
    pub fn p256(id: &str) -> Self {
        let (kind, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).unwrap();
        Self::of(id, TestKeyPair::P256(pair))
    }

    /// Returns the same RSA key for every call, because the generation of an RSA key takes seconds.
    pub fn rsa(id: &str) -> Self {
        let der = include_bytes!("rsa-2048-for-tests.der");
        Self::of(id, TestKeyPair::Rsa(rsa::KeyPair::from_der(der).unwrap()))
    }

    fn of(id: &str, pair: TestKeyPair) -> Self {
        Self {
            id: id.to_owned(),
            pair,
        }
    }

    /// The default algorithm of the key.
    pub fn algorithm(&self) -> &'static str {
        match self.pair {
            TestKeyPair::Ed25519(_) => "EdDSA",
            TestKeyPair::P256(_) => "ES256",
            TestKeyPair::Rsa(_) => "RS256",
        }
    }

    /// The public key as a JSON Web Key.
    pub fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match &self.pair {
            TestKeyPair::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref()) })
            }
            TestKeyPair::P256(pair) => {
                let point = pair.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..]) })
            }
            TestKeyPair::Rsa(pair) => {
                let public = rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({ "kty": "RSA", "n": text(&public.n), "e": text(&public.e) })
            }
        };
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk
    }

    /// Signs a token with exactly this header and these claims.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let text = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", text(header), text(claims));
        let signature = self.signature(header["alg"].as_str().unwrap_or(""), message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn signature(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            TestKeyPair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            TestKeyPair::P256(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            TestKeyPair::Rsa(pair) => {
                let padding: &'static dyn ring::signature::RsaEncoding = match algorithm {
                    "PS256" => &RSA_PSS_SHA256,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, message, &mut signature)
                    .unwrap();
                signature
            }
        }
    }

    /// Signs a token with a typical header.
    pub fn token(&self, claims: &Value) -> String {
        let header = json!({ "alg": self.algorithm(), "kid": self.id, "typ": "JWT" });
        self.sign(&header, claims)
    }
}

/// Returns a key set with the public keys of these signing keys.
pub fn key_set(keys: &[&SigningKey]) -> KeySet {
    let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
    KeySet::from_json(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

/// Returns the requirements for tokens of [`ISSUER`].
pub fn issuer() -> Issuer {
    Issuer {
        issuer: ISSUER.to_owned(),
        audiences: vec![AUDIENCE.to_owned()],
        algorithms: vec![jsonwebtoken::Algorithm::EdDSA],
        typ: None,
        leeway: Duration::ZERO,
        accepts_iat: false,
        logout_scope: LogoutScope::default(),
        claims: ClaimNames {
            session: vec!["sid".to_owned()],
            subject: "sub".to_owned(),
            groups: "groups".to_owned(),
            email: "email".to_owned(),
        },
    }
}
