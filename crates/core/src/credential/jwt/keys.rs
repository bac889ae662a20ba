use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};

/// The public keys of an issuer.
#[derive(Clone, Default)]
pub struct KeySet(Vec<Key>);

#[derive(Clone)]
struct Key {
    id: Option<String>,
    /// The one algorithm that it is for, where it says so.
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

/// Not the public keys of an issuer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not a JSON Web Key Set (RFC 7517), nor a public key in PEM.
    #[error("not a JSON Web Key Set, nor a public key in PEM")]
    Unreadable,
    /// None of the keys can be used for signatures here.
    #[error("it has no key for signatures by RSA, P-256, P-384 or Ed25519")]
    Empty,
}

/// The most keys of a set that are looked at.
const MOST: usize = 100;

impl KeySet {
    /// Reads a JSON Web Key Set. Keys that are for encryption, of a kind that is not supported, or
    /// secrets are left out: a newer provider must not lock everybody out by one strange key.
    ///
    /// # Errors
    /// [`KeySetError`] for what is none, or has no key of use.
    pub fn from_json(json: &[u8]) -> Result<Self, KeySetError> {
        let set: RawSet = serde_json::from_slice(json).map_err(|_| KeySetError::Unreadable)?;
        let keys = set.keys.into_iter().take(MOST);
        let keys = keys.filter_map(|raw| key(&serde_json::from_value(raw).ok()?));
        Self::of(keys.collect())
    }

    /// Reads a file: a JSON Web Key Set, or a public key in PEM.
    ///
    /// # Errors
    /// As for [`KeySet::from_json`].
    pub fn from_file(bytes: &[u8]) -> Result<Self, KeySetError> {
        if bytes.trim_ascii_start().starts_with(b"{") {
            return Self::from_json(bytes);
        }
        let readers = [
            DecodingKey::from_rsa_pem,
            DecodingKey::from_ec_pem,
            DecodingKey::from_ed_pem,
        ];
        let key = readers.into_iter().find_map(|read| read(bytes).ok());
        let key = key.ok_or(KeySetError::Unreadable)?;
        Self::of(vec![Key {
            id: None,
            algorithm: None,
            key,
        }])
    }

    fn of(keys: Vec<Key>) -> Result<Self, KeySetError> {
        if keys.is_empty() {
            return Err(KeySetError::Empty);
        }
        Ok(Self(keys))
    }

    /// The keys that a token may be signed with, by its key id and algorithm. Without an id that is
    /// every key for the algorithm; with one it is that key, or those without any.
    pub(super) fn candidates<'a>(
        &'a self,
        id: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a DecodingKey> {
        let keys = self.0.iter().filter(move |key| {
            let id_fits = match (id, &key.id) {
                (Some(wanted), Some(id)) => wanted == id,
                _ => true,
            };
            id_fits
                && key.algorithm.is_none_or(|only| only == algorithm)
                && key.key.family() == family(algorithm)
        });
        keys.map(|key| &key.key)
    }

    /// Whether a key of this id is there.
    #[must_use]
    pub fn knows(&self, id: &str) -> bool {
        self.0.iter().any(|key| key.id.as_deref() == Some(id))
    }
}

/// A key set as it comes: a key that is not understood must not hide the others.
#[derive(serde::Deserialize)]
struct RawSet {
    keys: Vec<serde_json::Value>,
}

fn key(jwk: &Jwk) -> Option<Key> {
    if matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption)) {
        return None;
    }
    // A secret in a set that anybody can read is none.
    if matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_)) {
        return None;
    }
    let algorithm = match &jwk.common.key_algorithm {
        None => None,
        Some(algorithm) => Some(algorithm.to_string().parse().ok()?),
    };
    Some(Key {
        id: jwk.common.key_id.clone(),
        algorithm,
        key: DecodingKey::from_jwk(jwk).ok()?,
    })
}

/// The kind of key that an algorithm needs.
const fn family(algorithm: Algorithm) -> AlgorithmFamily {
    match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => AlgorithmFamily::Hmac,
        Algorithm::ES256 | Algorithm::ES384 => AlgorithmFamily::Ec,
        Algorithm::EdDSA => AlgorithmFamily::Ed,
        _ => AlgorithmFamily::Rsa,
    }
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids = self.0.iter().map(|key| key.id.as_deref().unwrap_or("-"));
        f.debug_list().entries(ids).finish()
    }
}
