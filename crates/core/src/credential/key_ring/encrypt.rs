use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{InvalidToken, KeyError, KeyRing, SealContext, random_bytes};

/// The number of random bytes at the start of an encrypted text. The encryption key depends on these bytes.
const PREFIX_BYTES: usize = 16;

impl KeyRing {
    /// Encrypts and authenticates `data` for one purpose, as URL-safe base64. The result starts with random bytes, so
    /// nobody can predict its first 16 characters.
    ///
    /// # Errors
    /// [`KeyError::Empty`] without a key, [`KeyError::Random`] if the operating system returns no random numbers.
    pub fn encrypt_text(&self, purpose: &str, data: &[u8]) -> Result<String, KeyError> {
        let name = random_bytes::<PREFIX_BYTES>()?;
        let context = SealContext {
            purpose,
            name: &name,
        };
        let encrypted = self.encrypt(context, &[], data)?;
        Ok(URL_SAFE_NO_PAD.encode([&name[..], &encrypted].concat()))
    }

    /// Decrypts a result of [`KeyRing::encrypt_text`] for this purpose, with a key of this ring.
    ///
    /// # Errors
    /// [`InvalidToken`] if no key of this ring encrypted the text for this purpose.
    pub fn decrypt_text(&self, purpose: &str, text: &str) -> Result<Vec<u8>, InvalidToken> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidToken)?;
        let (name, encrypted) = bytes.split_at_checked(PREFIX_BYTES).ok_or(InvalidToken)?;
        let context = SealContext { purpose, name };
        self.decrypt(context, 0, encrypted)
            .map_err(|_| InvalidToken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::credential::SigningKey;

    fn random_key() -> SigningKey {
        SigningKey::parse(&SigningKey::generate().unwrap()).unwrap()
    }

    fn ring() -> KeyRing {
        KeyRing::new(vec![random_key()]).unwrap()
    }

    #[test]
    fn decrypts_only_with_the_same_ring_and_purpose() {
        let (old, new) = (random_key(), random_key());
        let own = KeyRing::new(vec![old.clone()]).unwrap();
        let text = own.encrypt_text("a", b"https://app.example.com/").unwrap();
        assert_eq!(
            own.decrypt_text("a", &text).unwrap(),
            b"https://app.example.com/"
        );
        assert_eq!(own.decrypt_text("b", &text), Err(InvalidToken));
        assert_eq!(ring().decrypt_text("a", &text), Err(InvalidToken));
        let rotated = KeyRing::new(vec![new, old]).unwrap();
        assert!(rotated.decrypt_text("a", &text).is_ok());
        // The ciphertext does not contain the plain text, and two ciphertexts of one text differ.
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        assert!(!bytes.windows(3).any(|part| part == b"app"));
        let again = own.encrypt_text("a", b"https://app.example.com/").unwrap();
        assert_ne!(text[..16], again[..16]);
    }

    proptest! {
        #[test]
        fn a_changed_text_does_not_decrypt(at in 0..50_usize, to in "[A-Za-z0-9_.-]") {
            let ring = ring();
            let text = ring.encrypt_text("a", b"encrypted").unwrap();
            let at = at % text.len();
            let mut changed = text.clone();
            changed.replace_range(at..=at, &to);
            prop_assert_eq!(ring.decrypt_text("a", &changed).is_ok(), changed == text);
            prop_assert_eq!(ring.decrypt_text("a", &text[..at]), Err(InvalidToken));
        }

        #[test]
        fn arbitrary_text_does_not_decrypt(text in ".{0,200}") {
            prop_assert_eq!(ring().decrypt_text("a", &text), Err(InvalidToken));
        }
    }
}
