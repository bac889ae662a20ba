use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac;
use subtle::ConstantTimeEq;

use super::{InvalidToken, KeyError, KeyRing, SigningKey};
use crate::credential::Token;

/// The length of the MAC in bytes.
const MAC_BYTES: usize = 32;

impl KeyRing {
    /// Signs `data` for one purpose. The result contains `data` and a MAC with the first key, both in base64. Anybody
    /// can read `data`, but [`KeyRing::verify_text`] rejects a changed result.
    ///
    /// # Errors
    /// [`KeyError::Empty`] without a key.
    pub fn sign_text(&self, purpose: &str, data: &[u8]) -> Result<String, KeyError> {
        let key = self.keys.first().ok_or(KeyError::Empty)?;
        let mut signature = key.id.to_vec();
        signature.extend(key.sign_text(purpose, data));
        let [data, signature] = [data, &signature].map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        Ok(format!("{data}.{signature}"))
    }

    /// Returns the data of a text that a key of this ring signed for this purpose. The function compares the MAC in
    /// constant time.
    ///
    /// # Errors
    /// [`InvalidToken`] if no key of this ring signed the text for this purpose.
    pub fn verify_text(&self, purpose: &str, text: &str) -> Result<Vec<u8>, InvalidToken> {
        let (data, signature) = text.split_once('.').ok_or(InvalidToken)?;
        let decode = |text| URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidToken);
        let (data, signature) = (decode(data)?, decode(signature)?);
        let (id, mac) = signature
            .split_at_checked(Token::KEY_ID_BYTES)
            .ok_or(InvalidToken)?;
        let mut keys = self.keys.iter();
        let key = keys.find(|key| key.id == id).ok_or(InvalidToken)?;
        if bool::from(key.sign_text(purpose, &data).ct_eq(mac)) {
            Ok(data)
        } else {
            Err(InvalidToken)
        }
    }
}

impl SigningKey {
    fn sign_text(&self, purpose: &str, data: &[u8]) -> [u8; MAC_BYTES] {
        let mut mac = self.mac.clone();
        mac.update(b"curfew seal 1\0");
        mac.update(&self.id);
        mac.update(purpose.as_bytes());
        mac.update(b"\0");
        mac.update(data);
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ring() -> KeyRing {
        let key = SigningKey::parse(&SigningKey::generate().unwrap()).unwrap();
        KeyRing::new(vec![key]).unwrap()
    }

    #[test]
    fn a_signed_text_is_valid_for_one_ring_and_one_purpose() {
        let own_ring = ring();
        let text = own_ring.sign_text("a", b"sealed data").unwrap();
        assert_eq!(own_ring.verify_text("a", &text).unwrap(), b"sealed data");
        assert_eq!(own_ring.verify_text("b", &text), Err(InvalidToken));
        assert_eq!(ring().verify_text("a", &text), Err(InvalidToken));
        let token = own_ring.issue().unwrap().expose();
        assert_eq!(own_ring.verify_text("a", &token), Err(InvalidToken));
    }

    proptest! {
        /// A text with a changed character or another length is rejected.
        #[test]
        fn a_changed_text_is_rejected(at in 0..60_usize, to in "[A-Za-z0-9_.-]") {
            let ring = ring();
            let text = ring.sign_text("a", b"sealed data").unwrap();
            let mut changed = text.clone();
            changed.replace_range(at..=at, &to);
            prop_assert_eq!(ring.verify_text("a", &changed).is_ok(), changed == text);
            prop_assert_eq!(ring.verify_text("a", &text[..at]), Err(InvalidToken));
        }

        /// Arbitrary text is rejected without a panic.
        #[test]
        fn arbitrary_text_is_rejected(text in ".{0,200}") {
            prop_assert_eq!(ring().verify_text("a", &text), Err(InvalidToken));
        }
    }
}
