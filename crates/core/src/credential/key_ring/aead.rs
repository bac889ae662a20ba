//! Encryption for records in the store, because an attacker may be able to read or change the store.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac::{HMAC_SHA256, Key, Tag, sign};

use super::{KeyError, KeyRing, SigningKey, random_bytes};

/// The number of bytes of the key ID in a sealed (encrypted and authenticated) text.
pub(super) const SHORT_KEY_ID_BYTES: usize = 2;
/// The number of random bytes in a nonce. Eight bytes are enough, because every [`SealContext`] has its own key, which
/// encrypts only a few texts.
const NONCE_BYTES: usize = 8;
/// The length of the authentication tag in bytes.
const TAG_BYTES: usize = 16;

/// The number of bytes that sealing adds to a text.
pub const SEAL_OVERHEAD_BYTES: usize = SHORT_KEY_ID_BYTES + NONCE_BYTES + TAG_BYTES;

/// The reason why a sealed text cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsealError {
    /// No key of the ring has the key ID of the text.
    #[error("sealed with a key that is not in the key ring")]
    UnknownKey,
    /// The text was modified, or sealed for another purpose or name.
    #[error("modified, or sealed for another purpose")]
    Forged,
}

/// The context of a sealed text. A text that was sealed for another purpose or name cannot be decrypted.
#[derive(Clone, Copy, Debug)]
pub struct SealContext<'a> {
    /// The kind of the text, such as `record 3`.
    pub purpose: &'a str,
    /// The name of the text, for example a session ID or a Redis key.
    pub name: &'a [u8],
}

/// The truncated key ID in sealed texts.
pub type ShortKeyId = [u8; SHORT_KEY_ID_BYTES];

impl KeyRing {
    /// Encrypts and authenticates `plaintext` with the first key (AES-256-GCM, NIST SP 800-38D). The result starts with
    /// `head`, which is authenticated but not encrypted. Each context has its own derived key (HMAC-SHA-256), so a
    /// random 64-bit nonce is enough for the few texts of a context.
    ///
    /// # Errors
    /// [`KeyError::Empty`] without a key, [`KeyError::Random`] if the operating system returns no random numbers.
    pub fn encrypt(
        &self,
        context: SealContext<'_>,
        head: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let key = self.keys.first().ok_or(KeyError::Empty)?;
        let nonce = random_bytes::<NONCE_BYTES>()?;
        let mut text = Vec::with_capacity(head.len() + plaintext.len() + SEAL_OVERHEAD_BYTES);
        text.extend_from_slice(head);
        text.extend_from_slice(&key.id[..SHORT_KEY_ID_BYTES]);
        text.extend_from_slice(&nonce);
        let start = text.len();
        text.extend_from_slice(plaintext);
        let (authenticated, secret) = text.split_at_mut(start);
        let tag = key
            .cipher(context)?
            .seal_in_place_separate_tag(padded_nonce(&nonce), Aad::from(&*authenticated), secret)
            .map_err(|_| KeyError::NotAKey)?;
        text.extend_from_slice(tag.as_ref());
        Ok(text)
    }

    /// Decrypts a result of [`KeyRing::encrypt`] with any key of this ring. The context and the length of the head
    /// must be the same as for the encryption.
    ///
    /// # Errors
    /// [`UnsealError`] with the reason.
    pub fn decrypt(
        &self,
        context: SealContext<'_>,
        head: usize,
        text: &[u8],
    ) -> Result<Vec<u8>, UnsealError> {
        let start = head + SHORT_KEY_ID_BYTES + NONCE_BYTES;
        let (authenticated, secret) = text.split_at_checked(start).ok_or(UnsealError::Forged)?;
        let (id, nonce) = authenticated[head..].split_at(SHORT_KEY_ID_BYTES);
        let mut error = UnsealError::UnknownKey;
        // Two keys can have the same truncated ID.
        for key in self
            .keys
            .iter()
            .filter(|key| key.id[..SHORT_KEY_ID_BYTES] == *id)
        {
            let mut secret = secret.to_vec();
            let key = key.cipher(context).map_err(|_| UnsealError::Forged)?;
            let opened =
                key.open_in_place(padded_nonce(nonce), Aad::from(authenticated), &mut secret);
            match opened.map(|plaintext| plaintext.len()) {
                Ok(length) => {
                    secret.truncate(length);
                    return Ok(secret);
                }
                Err(_) => error = UnsealError::Forged,
            }
        }
        Err(error)
    }

    /// Whether a text with a head of `head` bytes is sealed with the first key.
    #[must_use]
    pub fn is_sealed_with_first_key(&self, head: usize, text: &[u8]) -> bool {
        short_id(head, text).is_some_and(|id| {
            let first = self.keys.first();
            first.is_some_and(|key| key.id[..SHORT_KEY_ID_BYTES] == id)
        })
    }

    /// The ID of the key that sealed a text with a head of `head` bytes; `None` if the text is too short. If the key is
    /// not in the ring, the ID is truncated and followed by `(unknown)`.
    #[must_use]
    pub fn sealing_key_id(&self, head: usize, text: &[u8]) -> Option<String> {
        let id = short_id(head, text)?;
        let known = self
            .keys
            .iter()
            .find(|key| key.id[..SHORT_KEY_ID_BYTES] == id);
        Some(known.map_or_else(
            || format!("{:02x}{:02x} (unknown)", id[0], id[1]),
            SigningKey::public_id,
        ))
    }
}

/// The truncated key ID of a text with a head of `head` bytes; `None` if the text is too short.
fn short_id(head: usize, text: &[u8]) -> Option<ShortKeyId> {
    text.get(head..)?.first_chunk().copied()
}

/// Fills a nonce with zeros up to the length that the cipher requires.
fn padded_nonce(nonce: &[u8]) -> Nonce {
    let mut all = [0; NONCE_LEN];
    all[..nonce.len().min(NONCE_LEN)].copy_from_slice(&nonce[..nonce.len().min(NONCE_LEN)]);
    Nonce::assume_unique_for_key(all)
}

/// Derives the root key, from which all encryption keys of one signing key are derived.
pub(super) fn derive_root_key(key: &[u8; SigningKey::LEN]) -> Key {
    let derived = sign(&Key::new(HMAC_SHA256, key), b"curfew encryption 1\0");
    Key::new(HMAC_SHA256, derived.as_ref())
}

impl SigningKey {
    /// The encryption key for one purpose and name.
    fn cipher(&self, context: SealContext<'_>) -> Result<LessSafeKey, KeyError> {
        let key = UnboundKey::new(&AES_256_GCM, self.derive_key(context).as_ref());
        key.map(LessSafeKey::new).map_err(|_| KeyError::NotAKey)
    }

    /// The key bytes for one purpose and name.
    pub(super) fn derive_key(&self, context: SealContext<'_>) -> Tag {
        let mut hmac = ring::hmac::Context::with_key(&self.encryption);
        hmac.update(context.purpose.as_bytes());
        hmac.update(b"\0");
        hmac.update(context.name);
        hmac.sign()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn random_key() -> SigningKey {
        SigningKey::parse(&SigningKey::generate().unwrap()).unwrap()
    }

    const RECORD: SealContext<'_> = SealContext {
        purpose: "record 3",
        name: b"0123456789abcdef",
    };

    #[test]
    fn a_text_opens_only_with_its_purpose_name_and_key() {
        let (old, new) = (random_key(), random_key());
        let ring = KeyRing::new(vec![old.clone()]).unwrap();
        let text = ring.encrypt(RECORD, b"\x03", b"alice").unwrap();
        assert_eq!(text.len(), 1 + 5 + SEAL_OVERHEAD_BYTES);
        assert!(!text.windows(5).any(|window| window == b"alice"));
        assert_eq!(ring.decrypt(RECORD, 1, &text).unwrap(), b"alice");
        assert!(ring.is_sealed_with_first_key(1, &text));
        let rotated = KeyRing::new(vec![new.clone(), old.clone()]).unwrap();
        assert_eq!(rotated.decrypt(RECORD, 1, &text).unwrap(), b"alice");
        assert!(!rotated.is_sealed_with_first_key(1, &text));
        assert_eq!(rotated.sealing_key_id(1, &text), Some(old.public_id()));
        let removed = KeyRing::new(vec![new]).unwrap();
        assert_eq!(
            removed.decrypt(RECORD, 1, &text),
            Err(UnsealError::UnknownKey)
        );
        assert!(
            removed
                .sealing_key_id(1, &text)
                .unwrap()
                .ends_with("(unknown)")
        );
        for other in [
            SealContext {
                purpose: "record 4",
                ..RECORD
            },
            SealContext {
                name: b"fedcba9876543210",
                ..RECORD
            },
        ] {
            assert_eq!(ring.decrypt(other, 1, &text), Err(UnsealError::Forged));
        }
        assert_ne!(
            ring.encrypt(RECORD, b"\x03", b"alice").unwrap(),
            text,
            "each result should have its own nonce"
        );
    }

    proptest! {
        /// A text with a changed byte or another length does not open.
        #[test]
        fn a_changed_text_does_not_open(at in 0..32_usize, bit in 0..8_u8, cut in 0..32_usize) {
            let ring = KeyRing::new(vec![random_key()]).unwrap();
            let text = ring.encrypt(RECORD, b"\x03", b"alice").unwrap();
            let mut changed = text.clone();
            changed[at] ^= 1 << bit;
            prop_assert!(ring.decrypt(RECORD, 1, &changed).is_err());
            prop_assert!(ring.decrypt(RECORD, 1, &text[..cut]).is_err());
            prop_assert!(ring.decrypt(RECORD, 1, &[&text[..], b"x"].concat()).is_err());
        }
    }
}
