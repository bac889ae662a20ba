use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, Signature,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A key for signing assertions. `Debug` shows only its ID.
pub struct AssertionKey {
    id: String,
    pair: SigningKeyPair,
}

enum SigningKeyPair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

/// The text is not a supported signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a private key in PEM (PKCS #8) for Ed25519 or P-256; \
     generate one with: openssl genpkey -algorithm ed25519"
)]
pub struct AssertionKeyError;

impl AssertionKey {
    /// Parses a key from PEM.
    ///
    /// # Errors
    /// [`AssertionKeyError`] unless the text is a PKCS #8 private key for Ed25519 or P-256.
    pub fn from_pem(pem: &[u8]) -> Result<Self, AssertionKeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| AssertionKeyError)?;
        let der = der.secret_pkcs8_der();
        // The file of an Ed25519 key may lack the public key, because OpenSSL writes the public key only for P-256.
        let pair = match Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            Ok(pair) => SigningKeyPair::Ed25519(pair),
            Err(_) => {
                let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair = EcdsaKeyPair::from_pkcs8(kind, der, &SystemRandom::new());
                SigningKeyPair::P256(pair.map_err(|_| AssertionKeyError)?)
            }
        };
        // The thumbprint of RFC 7638 is a hash of the required members, sorted by name.
        let thumbprint = Sha256::digest(pair.required_members().to_string());
        Ok(Self {
            id: URL_SAFE_NO_PAD.encode(thumbprint),
            pair,
        })
    }

    /// The key ID: the JWK thumbprint (RFC 7638).
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The `alg` value: `EdDSA` or `ES256`.
    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        match self.pair {
            SigningKeyPair::Ed25519(_) => "EdDSA",
            SigningKeyPair::P256(_) => "ES256",
        }
    }

    /// The public key as a JSON Web Key.
    pub(super) fn public_jwk(&self) -> Value {
        let mut key = self.pair.required_members();
        key["kid"] = json!(self.id);
        key["alg"] = json!(self.algorithm());
        key["use"] = json!("sig");
        key
    }

    pub(super) fn sign(&self, message: &[u8]) -> impl AsRef<[u8]> + use<> {
        match &self.pair {
            SigningKeyPair::Ed25519(pair) => SignatureBytes(Some(pair.sign(message))),
            // An ECDSA signature needs random numbers. If the operating system has none, the signature is empty, so
            // that every application rejects the assertion.
            SigningKeyPair::P256(pair) => {
                SignatureBytes(pair.sign(&SystemRandom::new(), message).ok())
            }
        }
    }
}

/// A signature; `None` if signing failed.
struct SignatureBytes(Option<Signature>);

impl AsRef<[u8]> for SignatureBytes {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], AsRef::as_ref)
    }
}

impl SigningKeyPair {
    /// The required members of the public JWK. `serde_json` sorts them by name, as the thumbprint requires.
    fn required_members(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Ed25519(pair) => {
                json!({ "crv": "Ed25519", "kty": "OKP", "x": text(pair.public_key().as_ref()) })
            }
            Self::P256(pair) => {
                // An uncompressed point: the byte 4, and the two coordinates.
                let point = pair.public_key().as_ref();
                let (x, y) = point[1..].split_at((point.len() - 1) / 2);
                json!({ "crv": "P-256", "kty": "EC", "x": text(x), "y": text(y) })
            }
        }
    }
}

impl fmt::Debug for AssertionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AssertionKey({})", self.id)
    }
}
