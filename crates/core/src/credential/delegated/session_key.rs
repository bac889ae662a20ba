use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode;

use crate::credential::cookie_values;

/// The value that identifies a session of another authorization service. The value does not change until the next
/// sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionKey {
    /// A cookie of the client, or only the part of the cookie's value before a delimiter.
    Cookie {
        /// The cookie's name.
        name: String,
        /// Curfew uses only the part of the value before this delimiter. With `None`, Curfew uses the whole value.
        delimiter: Option<char>,
    },
    /// A response header.
    Header(HeaderName),
    /// A claim of the token in a response header, as a dotted path.
    Claim(String),
}

/// The cookie that identifies the session has several different values, or an empty or invalid value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmbiguousCookie;

impl SessionKey {
    /// The value of the cookie that identifies the session; `None` without such a cookie, or if the session key is
    /// not a cookie.
    ///
    /// # Errors
    /// `AmbiguousCookie` for several different values, an empty value, or a value with a byte that RFC 6265 (4.1.1)
    /// does not allow. Servers read such a byte in different ways, but a session must have only one ID.
    pub fn find_cookie<'a>(
        &self,
        headers: &'a HeaderMap,
    ) -> Result<Option<&'a [u8]>, AmbiguousCookie> {
        let Self::Cookie { name, .. } = self else {
            return Ok(None);
        };
        let mut values = cookie_values(headers, name);
        let Some(first) = values.next() else {
            return Ok(None);
        };
        if first.is_empty() || !first.iter().all(is_cookie_octet) || values.any(|it| it != first) {
            return Err(AmbiguousCookie);
        }
        Ok(Some(first))
    }

    /// The name of the cookie that identifies the session; `None` for other session keys.
    #[must_use]
    pub fn cookie(&self) -> Option<&str> {
        match self {
            Self::Cookie { name, .. } => Some(name),
            Self::Header(_) | Self::Claim(_) => None,
        }
    }

    /// The part of a cookie's value that identifies the session: percent-decoded, and only up to the delimiter. Some
    /// servers decode cookies, so the encoded and the plain form of a value must give the same session.
    pub(super) fn key_in_cookie<'a>(&self, value: &'a [u8]) -> Cow<'a, [u8]> {
        let decoded: Cow<'a, [u8]> = percent_decode(value).into();
        let Self::Cookie {
            delimiter: Some(delimiter),
            ..
        } = self
        else {
            return decoded;
        };
        let mut utf8 = [0; 4];
        let delimiter = delimiter.encode_utf8(&mut utf8).as_bytes();
        let end = decoded
            .windows(delimiter.len())
            .position(|window| window == delimiter);
        match end {
            Some(end) => Cow::Owned(decoded[..end].to_vec()),
            None => decoded,
        }
    }
}

/// Whether a byte is valid in a cookie's value. RFC 6265 allows quotes around a value, but some servers remove the
/// quotes. Therefore Curfew rejects a value with quotes.
const fn is_cookie_octet(byte: &u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}
