use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::{InvalidToken, KeyError, KeyRing, SigningKey, random};
use crate::credential::Token;

impl KeyRing {
    /// Encrypts and authenticates `data` for one purpose, with ChaCha20-Poly1305 (RFC 8439), as URL-safe base64. The key
    /// is derived from the first key. The text begins with a random nonce, so its first 16 characters are unpredictable.
    ///
    /// # Errors
    /// [`KeyError::Empty`] without a key, [`KeyError::Random`] without random numbers.
    pub fn encrypt(&self, purpose: &str, data: &[u8]) -> Result<String, KeyError> {
        let key = self.keys.first().ok_or(KeyError::Empty)?;
        let nonce = random::<NONCE_LEN>()?;
        let mut encrypted = data.to_vec();
        key.cipher(purpose)
            .ok_or(KeyError::NotAKey)?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::empty(),
                &mut encrypted,
            )
            .map_err(|_| KeyError::NotAKey)?;
        Ok(URL_SAFE_NO_PAD.encode([&nonce[..], &key.id, &encrypted].concat()))
    }

    /// The data that [`KeyRing::encrypt`] encrypted for this purpose, with a key of this ring.
    ///
    /// # Errors
    /// [`InvalidToken`] for anything else.
    pub fn decrypt(&self, purpose: &str, text: &str) -> Result<Vec<u8>, InvalidToken> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidToken)?;
        let (nonce, rest) = bytes.split_first_chunk().ok_or(InvalidToken)?;
        let (id, encrypted) = rest.split_at_checked(Token::KEY_ID).ok_or(InvalidToken)?;
        let mut keys = self.keys.iter();
        let key = keys.find(|key| key.id == id).ok_or(InvalidToken)?;
        let mut encrypted = encrypted.to_vec();
        let data = key
            .cipher(purpose)
            .ok_or(InvalidToken)?
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::empty(),
                &mut encrypted,
            )
            .map_err(|_| InvalidToken)?;
        Ok(data.to_vec())
    }
}

impl SigningKey {
    /// A cipher with a key for this purpose alone.
    fn cipher(&self, purpose: &str) -> Option<LessSafeKey> {
        let mut mac = self.mac.clone();
        mac.update(b"curfew encryption 1\0");
        mac.update(&self.id);
        mac.update(purpose.as_bytes());
        let key: [u8; 32] = mac.finalize().into_bytes().into();
        UnboundKey::new(&CHACHA20_POLY1305, &key)
            .ok()
            .map(LessSafeKey::new)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> SigningKey {
        SigningKey::parse(&SigningKey::generate().unwrap()).unwrap()
    }

    fn ring() -> KeyRing {
        KeyRing::new(vec![key()]).unwrap()
    }

    #[test]
    fn only_the_ring_decrypts_and_for_one_purpose() {
        let (old, new) = (key(), key());
        let own = KeyRing::new(vec![old.clone()]).unwrap();
        let text = own.encrypt("a", b"https://app.example.com/").unwrap();
        assert_eq!(
            own.decrypt("a", &text).unwrap(),
            b"https://app.example.com/"
        );
        assert_eq!(own.decrypt("b", &text), Err(InvalidToken));
        assert_eq!(ring().decrypt("a", &text), Err(InvalidToken));
        let rotated = KeyRing::new(vec![new, old]).unwrap();
        assert!(rotated.decrypt("a", &text).is_ok());
        // Nothing of it can be read, and no two texts are alike.
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        assert!(!bytes.windows(3).any(|part| part == b"app"));
        let again = own.encrypt("a", b"https://app.example.com/").unwrap();
        assert_ne!(text[..16], again[..16]);
    }

    proptest! {
        #[test]
        fn a_changed_text_does_not_decrypt(at in 0..50_usize, to in "[A-Za-z0-9_.-]") {
            let ring = ring();
            let text = ring.encrypt("a", b"encrypted").unwrap();
            let at = at % text.len();
            let mut changed = text.clone();
            changed.replace_range(at..=at, &to);
            prop_assert_eq!(ring.decrypt("a", &changed).is_ok(), changed == text);
            prop_assert_eq!(ring.decrypt("a", &text[..at]), Err(InvalidToken));
        }

        #[test]
        fn noise_does_not_decrypt(text in ".{0,200}") {
            prop_assert_eq!(ring().decrypt("a", &text), Err(InvalidToken));
        }
    }
}
