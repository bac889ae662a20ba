use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};

/// The public keys of an issuer.
#[derive(Clone, Default)]
pub struct KeySet(Vec<Key>);

#[derive(Clone)]
struct Key {
    id: Option<String>,
    /// The only algorithm of the key; `None` if the key set does not restrict the algorithm.
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

/// The reason why a key set is unusable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// The text is neither a JSON Web Key Set (RFC 7517) nor a public key in PEM format.
    #[error("neither a JSON Web Key Set nor a public key in PEM")]
    Unreadable,
    /// No key of the set can verify signatures.
    #[error("no key that can verify signatures (RSA, P-256, P-384 or Ed25519)")]
    Empty,
}

/// The maximum number of keys that Curfew reads from a set.
const MAX_KEYS: usize = 100;

impl KeySet {
    /// Parses a JSON Web Key Set. Skips encryption keys, secrets and unsupported keys, so one key of a new type does
    /// not make the whole set unusable.
    ///
    /// # Errors
    /// [`KeySetError`] if the text is not a key set, or has no usable key.
    pub fn from_json(json: &[u8]) -> Result<Self, KeySetError> {
        let set: RawKeySet = serde_json::from_slice(json).map_err(|_| KeySetError::Unreadable)?;
        let keys = set.keys.into_iter().take(MAX_KEYS);
        let keys = keys.filter_map(|raw| parse_key(&serde_json::from_value(raw).ok()?));
        Self::from_keys(keys.collect())
    }

    /// Parses a file with a JSON Web Key Set, or with a public key in PEM format.
    ///
    /// # Errors
    /// [`KeySetError`] if the file contains neither of the two, or no usable key.
    pub fn from_file(bytes: &[u8]) -> Result<Self, KeySetError> {
        if bytes.trim_ascii_start().starts_with(b"{") {
            return Self::from_json(bytes);
        }
        let parsers = [
            DecodingKey::from_rsa_pem,
            DecodingKey::from_ec_pem,
            DecodingKey::from_ed_pem,
        ];
        let key = parsers.into_iter().find_map(|parse| parse(bytes).ok());
        let key = key.ok_or(KeySetError::Unreadable)?;
        Self::from_keys(vec![Key {
            id: None,
            algorithm: None,
            key,
        }])
    }

    fn from_keys(keys: Vec<Key>) -> Result<Self, KeySetError> {
        if keys.is_empty() {
            return Err(KeySetError::Empty);
        }
        Ok(Self(keys))
    }

    /// Returns the keys that may have signed a token with this algorithm. If the token has a key ID, the result
    /// contains only the keys with this ID and the keys without an ID.
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
                && key.key.family() == key_family(algorithm)
        });
        keys.map(|key| &key.key)
    }

    /// Returns whether the set has a key with this ID.
    #[must_use]
    pub fn knows(&self, id: &str) -> bool {
        self.0.iter().any(|key| key.id.as_deref() == Some(id))
    }
}

/// A key set whose keys are not parsed yet, so one unsupported key does not make the other keys unusable.
#[derive(serde::Deserialize)]
struct RawKeySet {
    keys: Vec<serde_json::Value>,
}

/// Parses one key; `None` if the key cannot verify signatures.
fn parse_key(jwk: &Jwk) -> Option<Key> {
    if matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption)) {
        return None;
    }
    // Curfew ignores a shared secret, because everybody can read a public key set.
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

/// Returns the key family of an algorithm.
const fn key_family(algorithm: Algorithm) -> AlgorithmFamily {
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
