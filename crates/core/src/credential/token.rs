use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::derived_id::derive_id;
use crate::secret::REDACTED;
use crate::session::SessionId;

/// An opaque session token: the ID of the signing key, 256 random bits and a MAC.
///
/// The text of a token is `cfw1_` and 72 characters of unpadded base64url. The text is valid in a cookie, and secret
/// scanners can find it. [`Token::expose`] returns the text, but `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The ID of the signing key: the first bytes of its hash.
    pub(super) key_id: [u8; Self::KEY_ID_BYTES],
    /// The random part. The session ID depends only on this part.
    pub(super) random: [u8; Self::RANDOM_BYTES],
    /// Truncated HMAC-SHA-256 over the other two fields.
    pub(super) mac: [u8; Self::MAC_BYTES],
}

impl Token {
    /// The prefix of every token: its type and version.
    pub const PREFIX: &'static str = "cfw1_";
    /// The length of the key ID in bytes.
    pub(super) const KEY_ID_BYTES: usize = 6;
    /// The number of random bytes: 256 bits, although OWASP ASVS 5.0 7.2.3 requires only 128 bits.
    pub(super) const RANDOM_BYTES: usize = 32;
    /// The number of MAC bytes: 128 bits, which RFC 2104 section 5 accepts for SHA-256.
    pub(super) const MAC_BYTES: usize = 16;
    /// The total number of bytes. This number is a multiple of three, so that the base64 text has no unused bits.
    const BODY_BYTES: usize = Self::KEY_ID_BYTES + Self::RANDOM_BYTES + Self::MAC_BYTES;
    /// The number of characters of the base64 part.
    const ENCODED_CHARS: usize = Self::BODY_BYTES / 3 * 4;
    /// The number of characters of a complete token.
    pub const LEN: usize = Self::PREFIX.len() + Self::ENCODED_CHARS;

    /// Parses a token without verifying its MAC; `None` if the text is not a token.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let encoded = text.strip_prefix(Self::PREFIX.as_bytes())?;
        if encoded.len() != Self::ENCODED_CHARS {
            return None;
        }
        let mut body = [0; Self::BODY_BYTES];
        URL_SAFE_NO_PAD.decode_slice(encoded, &mut body).ok()?;
        let (key_id, rest) = body.split_first_chunk()?;
        let (random, mac) = rest.split_first_chunk()?;
        Some(Self {
            key_id: *key_id,
            random: *random,
            mac: mac.try_into().ok()?,
        })
    }

    /// The text of the token, for the client's cookie.
    #[must_use]
    pub fn expose(&self) -> String {
        let mut body = [0; Self::BODY_BYTES];
        body[..Self::KEY_ID_BYTES].copy_from_slice(&self.key_id);
        body[Self::KEY_ID_BYTES..][..Self::RANDOM_BYTES].copy_from_slice(&self.random);
        body[Self::KEY_ID_BYTES + Self::RANDOM_BYTES..].copy_from_slice(&self.mac);
        let mut text = String::with_capacity(Self::LEN);
        text.push_str(Self::PREFIX);
        URL_SAFE_NO_PAD.encode_string(body, &mut text);
        text
    }

    /// The ID of the session that this token belongs to: the first half of SHA-256 over its random part. The ID does
    /// not depend on the signing key.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        let mut hash = Sha256::new();
        hash.update(b"curfew session id 1\0");
        hash.update(self.random);
        let digest: [u8; 32] = hash.finalize().into();
        let mut id = [0; SessionId::LEN];
        id.copy_from_slice(&digest[..SessionId::LEN]);
        SessionId::from_bytes(id)
    }
}

/// The ID of an operator session in the console, derived from the random part of its cookie. No token and no other
/// credential has the same ID.
#[must_use]
pub fn operator_session_id(random: &[u8]) -> SessionId {
    derive_id("operator session", &[random])
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({REDACTED})")
    }
}
