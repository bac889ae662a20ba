use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::session::{Session, SessionId, Timestamp};

/// A position in the list of a subject's sessions. The list is sorted by the latest possible expiry of the record,
/// then by the session ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub(super) expires: Timestamp,
    pub(super) id: SessionId,
}

impl Cursor {
    /// A position before all sessions.
    pub(super) const FIRST: Self = Self {
        expires: Timestamp::from_millis(0),
        id: SessionId::from_bytes([0; SessionId::LEN]),
    };

    /// Returns the position of a session. The position does not change while the session is live.
    #[must_use]
    pub fn of(id: SessionId, session: &Session) -> Self {
        Self {
            expires: session.expires_at_latest(),
            id,
        }
    }
}

const CURSOR_BYTES: usize = 8 + SessionId::LEN;

impl fmt::Display for Cursor {
    /// Writes 32 characters of base64url.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; CURSOR_BYTES];
        bytes[..8].copy_from_slice(&self.expires.as_millis().to_be_bytes());
        bytes[8..].copy_from_slice(self.id.as_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// The text is not a valid cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid cursor: copy `next` from the previous page")]
pub struct ParseCursorError;

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ParseCursorError)?;
        let (expires, id) = bytes.split_first_chunk::<8>().ok_or(ParseCursorError)?;
        let id = <[u8; SessionId::LEN]>::try_from(id).map_err(|_| ParseCursorError)?;
        Ok(Self {
            expires: Timestamp::from_millis(u64::from_be_bytes(*expires)),
            id: SessionId::from_bytes(id),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_a_formatted_cursor() {
        let cursor = Cursor {
            expires: Timestamp::from_millis(77),
            id: SessionId::from_bytes([7; 16]),
        };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "x", "AAAA", &"A".repeat(33), &"A".repeat(36)] {
            assert_eq!(bad.parse::<Cursor>(), Err(ParseCursorError), "{bad}");
        }
    }
}
