mod aead;
mod deterministic;
mod encrypt;
mod sign_text;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Token;
use crate::session::SessionId;

pub use aead::{SEAL_OVERHEAD_BYTES, SealContext, UnsealError};

/// The keys for tokens: the first key signs tokens, and all keys verify tokens.
///
/// To rotate keys without signing anybody out, append the new key to the ring on every replica. Then move the new key
/// to the front on every replica. When all sessions with tokens of the old key have ended, remove the old key.
#[derive(Clone)]
pub struct KeyRing {
    keys: Vec<SigningKey>,
}

/// A key of the ring, with a prepared hash state.
#[derive(Clone)]
pub struct SigningKey {
    id: [u8; Token::KEY_ID_BYTES],
    mac: Hmac<Sha256>,
    /// The root key from which the encryption keys are derived.
    encryption: ring::hmac::Key,
}

/// The text is not a token, or no key of this ring signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a token that a key of this ring has signed")]
pub struct InvalidToken;

/// The reason why a key or a key ring is invalid. The text never contains the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not the base64 of 32 bytes.
    #[error("not a key: a key is 32 random bytes in base64; `curfew keygen` makes one")]
    NotAKey,
    /// The ring has no key.
    #[error("the key ring is empty; `curfew keygen` makes a key")]
    Empty,
    /// The ring has a key twice.
    #[error("the key ring has the same key twice")]
    DuplicateKey,
    /// The operating system returned no random bytes.
    #[error("could not get random numbers from the operating system")]
    Random,
}

impl SigningKey {
    /// The length of a key in bytes.
    const LEN: usize = 32;

    /// Parses a key from base64, in the standard or the URL-safe alphabet.
    ///
    /// # Errors
    /// [`KeyError::NotAKey`] unless the text is the base64 of exactly 32 bytes.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let bytes = STANDARD
            .decode(text)
            .or_else(|_| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')))
            .map_err(|_| KeyError::NotAKey)?;
        let bytes: [u8; Self::LEN] = bytes.try_into().map_err(|_| KeyError::NotAKey)?;
        Self::from_bytes(&bytes)
    }

    /// Generates a random key, as base64 for [`Self::parse`].
    ///
    /// # Errors
    /// [`KeyError::Random`] if the operating system returns no random numbers.
    pub fn generate() -> Result<String, KeyError> {
        random_bytes::<{ Self::LEN }>().map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
    }

    fn from_bytes(bytes: &[u8; Self::LEN]) -> Result<Self, KeyError> {
        let mut hash = Sha256::new();
        hash.update(b"curfew key id 1\0");
        hash.update(bytes);
        let digest: [u8; 32] = hash.finalize().into();
        let mut id = [0; Token::KEY_ID_BYTES];
        id.copy_from_slice(&digest[..Token::KEY_ID_BYTES]);
        let mac = Hmac::new_from_slice(bytes).map_err(|_| KeyError::NotAKey)?;
        Ok(Self {
            id,
            mac,
            encryption: aead::derive_root_key(bytes),
        })
    }

    /// The public ID of the key, such as `3f9c01d2a4b6`: the start of a hash, which does not reveal the key.
    #[must_use]
    pub fn public_id(&self) -> String {
        self.id.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn mac(&self, random: &[u8; Token::RANDOM_BYTES]) -> [u8; Token::MAC_BYTES] {
        let mut mac = self.mac.clone();
        mac.update(b"curfew token 1\0");
        mac.update(&self.id);
        mac.update(random);
        let full: [u8; 32] = mac.finalize().into_bytes().into();
        let mut truncated = [0; Token::MAC_BYTES];
        truncated.copy_from_slice(&full[..Token::MAC_BYTES]);
        truncated
    }
}

impl KeyRing {
    /// A key ring with these keys; the first key signs.
    ///
    /// # Errors
    /// [`KeyError::Empty`] without a key, [`KeyError::DuplicateKey`] for a duplicate.
    pub fn new(keys: Vec<SigningKey>) -> Result<Self, KeyError> {
        if keys.is_empty() {
            return Err(KeyError::Empty);
        }
        for (index, key) in keys.iter().enumerate() {
            if keys[..index].iter().any(|other| other.id == key.id) {
                return Err(KeyError::DuplicateKey);
            }
        }
        Ok(Self { keys })
    }

    /// The public IDs of the keys, the signing key first.
    pub fn public_ids(&self) -> impl Iterator<Item = String> {
        self.keys.iter().map(SigningKey::public_id)
    }

    /// Issues a new token, signed with the first key.
    ///
    /// # Errors
    /// [`KeyError::Random`] if the operating system returns no random numbers.
    pub fn issue(&self) -> Result<Token, KeyError> {
        let key = self.keys.first().ok_or(KeyError::Empty)?;
        let random = random_bytes()?;
        Ok(Token {
            key_id: key.id,
            random,
            mac: key.mac(&random),
        })
    }

    /// The session ID for a token, if a key of this ring signed it. The function compares the MAC in constant time,
    /// and does not use the store.
    ///
    /// # Errors
    /// [`InvalidToken`] if no key of this ring signed the text.
    pub fn verify(&self, text: &[u8]) -> Result<SessionId, InvalidToken> {
        let token = Token::parse(text).ok_or(InvalidToken)?;
        // The key ID is not secret, so the lookup need not take constant time.
        let key = self
            .keys
            .iter()
            .find(|key| key.id == token.key_id)
            .ok_or(InvalidToken)?;
        if bool::from(key.mac(&token.random).ct_eq(&token.mac)) {
            Ok(token.session_id())
        } else {
            Err(InvalidToken)
        }
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.public_ids()).finish()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public_id())
    }
}

/// Random bytes from the operating system.
///
/// # Errors
/// [`KeyError::Random`] if the operating system returns no random bytes.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| KeyError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn random_key() -> SigningKey {
        SigningKey::parse(&SigningKey::generate().unwrap()).unwrap()
    }

    fn ring(keys: &[&SigningKey]) -> KeyRing {
        KeyRing::new(keys.iter().map(|&key| key.clone()).collect()).unwrap()
    }

    #[test]
    fn an_issued_token_identifies_its_session() {
        let ring = ring(&[&random_key()]);
        let token = ring.issue().unwrap();
        let text = token.expose();
        assert_eq!(text.len(), Token::LEN);
        assert_eq!(ring.verify(text.as_bytes()), Ok(token.session_id()));
        assert_ne!(ring.issue().unwrap().session_id(), token.session_id());
    }

    #[test]
    fn key_rotation_keeps_sessions_valid() {
        let (old, new) = (random_key(), random_key());
        let token = ring(&[&old]).issue().unwrap();
        let text = token.expose();
        for rotated in [ring(&[&old, &new]), ring(&[&new, &old])] {
            assert_eq!(rotated.verify(text.as_bytes()), Ok(token.session_id()));
        }
        assert_eq!(ring(&[&new]).verify(text.as_bytes()), Err(InvalidToken));
    }

    #[test]
    fn parses_keys_in_both_base64_alphabets_only() {
        let bytes = [0xfb; 32];
        for text in [STANDARD.encode(bytes), URL_SAFE_NO_PAD.encode(bytes)] {
            assert_eq!(
                SigningKey::parse(&text).unwrap().public_id(),
                "b6a1700fa533"
            );
        }
        for bad in [
            "",
            "secret",
            "AAAA",
            &STANDARD.encode([1; 31]),
            &STANDARD.encode([1; 33]),
        ] {
            assert_eq!(SigningKey::parse(bad).unwrap_err(), KeyError::NotAKey);
        }
    }

    #[test]
    fn rejects_invalid_key_rings() {
        assert_eq!(KeyRing::new(vec![]).unwrap_err(), KeyError::Empty);
        let key = random_key();
        assert_eq!(
            KeyRing::new(vec![key.clone(), key]).unwrap_err(),
            KeyError::DuplicateKey
        );
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let ring = ring(&[&random_key()]);
        let token = ring.issue().unwrap();
        assert_eq!(format!("{token:?}"), "Token([redacted])");
        assert!(format!("{ring:?}").len() < 20);
    }

    proptest! {
        /// A token with one changed character or another length never verifies.
        #[test]
        fn a_changed_token_is_invalid(at in 0..Token::LEN, to in any::<u8>(), cut in 0..Token::LEN) {
            let ring = ring(&[&random_key()]);
            let text = ring.issue().unwrap().expose().into_bytes();
            let mut changed = text.clone();
            changed[at] = to;
            prop_assert_eq!(ring.verify(&changed).is_ok(), changed == text);
            prop_assert_eq!(ring.verify(&text[..cut]), Err(InvalidToken));
            prop_assert_eq!(ring.verify(&[&text[..], &[to]].concat()), Err(InvalidToken));
        }

        /// Arbitrary bytes are rejected without a panic.
        #[test]
        fn arbitrary_bytes_are_invalid(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(ring(&[&random_key()]).verify(&bytes), Err(InvalidToken));
        }
    }
}
