//! Deterministic encryption: equal texts have equal results, so the store can keep the results as members of a set.

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};

use super::aead::{SHORT_KEY_ID_BYTES, SealContext, UnsealError};
use super::{KeyError, KeyRing, SigningKey};

/// The length of a nonce in bytes (RFC 8452).
const NONCE_BYTES: usize = 12;

impl KeyRing {
    /// Encrypts and authenticates `plaintext` with the first key (AES-256-GCM-SIV, RFC 8452). The result starts with
    /// `head`, which is authenticated but not encrypted. The nonce is fixed, so an observer learns the length of a
    /// text and which texts are equal, but nothing else. Each context has its own derived key (HMAC-SHA-256).
    ///
    /// # Errors
    /// [`KeyError::Empty`] without a key.
    pub fn encrypt_deterministic(
        &self,
        context: SealContext<'_>,
        head: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let key = self.keys.first().ok_or(KeyError::Empty)?;
        let mut text = [head, &key.id[..SHORT_KEY_ID_BYTES]].concat();
        let (msg, aad) = (plaintext, &text[..]);
        let secret = key
            .deterministic_cipher(context)?
            .encrypt(&Nonce::from([0; NONCE_BYTES]), Payload { msg, aad })
            .map_err(|_| KeyError::NotAKey)?;
        text.extend(secret);
        Ok(text)
    }

    /// Decrypts a result of [`KeyRing::encrypt_deterministic`] with any key of this ring. The context and the length
    /// of the head must be the same as for the encryption.
    ///
    /// # Errors
    /// [`UnsealError`] with the reason.
    pub fn decrypt_deterministic(
        &self,
        context: SealContext<'_>,
        head: usize,
        text: &[u8],
    ) -> Result<Vec<u8>, UnsealError> {
        let (aad, msg) = text
            .split_at_checked(head + SHORT_KEY_ID_BYTES)
            .ok_or(UnsealError::Forged)?;
        let mut error = UnsealError::UnknownKey;
        // Two keys can have the same truncated ID.
        for key in self
            .keys
            .iter()
            .filter(|key| key.id[..SHORT_KEY_ID_BYTES] == aad[head..])
        {
            let key = key
                .deterministic_cipher(context)
                .map_err(|_| UnsealError::Forged)?;
            match key.decrypt(&Nonce::from([0; NONCE_BYTES]), Payload { msg, aad }) {
                Ok(plaintext) => return Ok(plaintext),
                Err(_) => error = UnsealError::Forged,
            }
        }
        Err(error)
    }
}

impl SigningKey {
    fn deterministic_cipher(&self, context: SealContext<'_>) -> Result<Aes256GcmSiv, KeyError> {
        let key = self.derive_key(context);
        Aes256GcmSiv::new_from_slice(key.as_ref()).map_err(|_| KeyError::NotAKey)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULE: SealContext<'_> = SealContext {
        purpose: "rule 1",
        name: b"curfew:not-before",
    };

    fn random_key() -> SigningKey {
        SigningKey::parse(&SigningKey::generate().unwrap()).unwrap()
    }

    #[test]
    fn encryption_is_deterministic_and_bound_to_its_purpose() {
        let (old, new) = (random_key(), random_key());
        let ring = KeyRing::new(vec![old.clone()]).unwrap();
        let text = ring
            .encrypt_deterministic(RULE, b"x", b"the group")
            .unwrap();
        assert_eq!(
            ring.encrypt_deterministic(RULE, b"x", b"the group")
                .unwrap(),
            text
        );
        assert!(!text.windows(5).any(|window| window == b"group"));
        assert_eq!(
            ring.decrypt_deterministic(RULE, 1, &text).unwrap(),
            b"the group"
        );
        assert_ne!(
            ring.encrypt_deterministic(RULE, b"x", b"the groups")
                .unwrap(),
            text
        );
        let rotated = KeyRing::new(vec![new.clone(), old]).unwrap();
        assert_eq!(
            rotated.decrypt_deterministic(RULE, 1, &text).unwrap(),
            b"the group"
        );
        assert_ne!(
            rotated
                .encrypt_deterministic(RULE, b"x", b"the group")
                .unwrap(),
            text
        );
        let removed = KeyRing::new(vec![new]).unwrap();
        assert_eq!(
            removed.decrypt_deterministic(RULE, 1, &text),
            Err(UnsealError::UnknownKey)
        );
        for other in [
            SealContext {
                purpose: "rule 2",
                ..RULE
            },
            SealContext {
                name: b"other:not-before",
                ..RULE
            },
        ] {
            assert_eq!(
                ring.decrypt_deterministic(other, 1, &text),
                Err(UnsealError::Forged)
            );
        }
    }

    /// The test vector is in RFC 8452, appendix C.2 (AES-256-GCM-SIV).
    #[test]
    fn the_cipher_matches_the_rfc_test_vector() {
        let mut key = [0; 32];
        key[0] = 1;
        let mut nonce = [0; NONCE_BYTES];
        nonce[0] = 3;
        let cipher = Aes256GcmSiv::new_from_slice(&key).unwrap();
        let plaintext: &[u8] = &[1, 0, 0, 0, 0, 0, 0, 0];
        let text = cipher.encrypt(&Nonce::from(nonce), plaintext).unwrap();
        let hex: String = text.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "c2ef328e5c71c83b843122130f7364b761e0b97427e3df28");
    }

    proptest! {
        /// A text with a changed byte or another length does not decrypt.
        #[test]
        fn a_changed_text_does_not_decrypt(at in 0..28_usize, bit in 0..8_u8) {
            let ring = KeyRing::new(vec![random_key()]).unwrap();
            let text = ring.encrypt_deterministic(RULE, b"x", b"the group").unwrap();
            let mut changed = text.clone();
            changed[at] ^= 1 << bit;
            prop_assert!(ring.decrypt_deterministic(RULE, 1, &changed).is_err());
            prop_assert!(ring.decrypt_deterministic(RULE, 1, &text[..at]).is_err());
            prop_assert!(ring.decrypt_deterministic(RULE, 1, &[&text[..], b"x"].concat()).is_err());
        }
    }
}
