use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode;

use crate::credential::cookie_values;

/// What names a session of another authorization service: what stays the same for as long as nobody
/// signs in anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionKey {
    /// A cookie of the client, or what it holds before a character.
    Cookie {
        /// The cookie's name.
        name: String,
        /// The character that ends what counts; all of it counts where there is none.
        until: Option<char>,
    },
    /// A header of the answer.
    Header(HeaderName),
    /// A claim of the token in a header of the answer; dots lead into objects.
    Claim(String),
}

/// The client's cookies don't say which session is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

impl SessionKey {
    /// The cookie that names the session, byte for byte; `None` where there is none, or where it is not a
    /// cookie that names it.
    ///
    /// # Errors
    /// `Ambiguous` for several that differ, and for one with a byte that cookies don't have (RFC
    /// 6265, 4.1.1): some servers would read it differently, and a session must not have two names.
    pub fn presented<'a>(&self, headers: &'a HeaderMap) -> Result<Option<&'a [u8]>, Ambiguous> {
        let Self::Cookie { name, .. } = self else {
            return Ok(None);
        };
        let mut values = cookie_values(headers, name);
        let Some(first) = values.next() else {
            return Ok(None);
        };
        if first.is_empty() || !first.iter().all(is_cookie_octet) || values.any(|it| it != first) {
            return Err(Ambiguous);
        }
        Ok(Some(first))
    }

    /// The name of the cookie that names the session, where one does.
    #[must_use]
    pub fn cookie(&self) -> Option<&str> {
        match self {
            Self::Cookie { name, .. } => Some(name),
            Self::Header(_) | Self::Claim(_) => None,
        }
    }

    /// What counts of a cookie's value. Some servers decode percent-encoding, others don't: for those it
    /// makes another session, which they don't know.
    pub(super) fn of_cookie<'a>(&self, value: &'a [u8]) -> Cow<'a, [u8]> {
        let decoded: Cow<'a, [u8]> = percent_decode(value).into();
        let Self::Cookie {
            until: Some(until), ..
        } = self
        else {
            return decoded;
        };
        let mut written = [0; 4];
        let until = until.encode_utf8(&mut written).as_bytes();
        let end = decoded
            .windows(until.len())
            .position(|window| window == until);
        match end {
            Some(end) => Cow::Owned(decoded[..end].to_vec()),
            None => decoded,
        }
    }
}

/// Whether a byte may be in a cookie's value. Quotes may stand around it by the RFC; some servers take
/// them away, and nobody needs them.
const fn is_cookie_octet(byte: &u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}
