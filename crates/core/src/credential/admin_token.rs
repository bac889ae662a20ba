//! Admin tokens as configured: name, hash and rights.

use std::fmt;

use super::derived_id::derive_id;

/// A right of an admin token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Read sessions, policies and recordings.
    Read,
    /// End sessions.
    Revoke,
    /// Start sessions.
    Create,
}

impl Right {
    /// Every right.
    pub const ALL: [Self; 3] = [Self::Read, Self::Revoke, Self::Create];

    /// The word in the configuration and in audit events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Revoke => "revoke",
            Self::Create => "create",
        }
    }

    /// The right with this name; `None` if no right has this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|right| right.as_str() == name)
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An admin token as configured: with the hash of the token, but without the token itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedToken {
    /// The name in audit events and in the console.
    pub name: String,
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// The rights of the token; never empty.
    pub rights: Vec<Right>,
}

impl NamedToken {
    /// A token without a configured name. The token has all rights, and its name is the first eight hexadecimal
    /// digits of its hash.
    #[must_use]
    pub fn unnamed(hash: [u8; 32]) -> Self {
        let digits = hash[..4].iter().map(|byte| format!("{byte:02x}"));
        Self {
            name: digits.collect(),
            hash,
            rights: Right::ALL.to_vec(),
        }
    }

    /// The fingerprint of the token: 16 bytes of a hash of [`NamedToken::hash`], in hexadecimal. If an operator signs
    /// in with the token, the session record contains the fingerprint, so that Curfew can find the token in the
    /// configuration. The fingerprint does not reveal the token.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        derive_id("admin token", &[&self.hash]).to_string()
    }

    /// Whether the token has this right.
    #[must_use]
    pub fn has_right(&self, right: Right) -> bool {
        self.rights.contains(&right)
    }

    /// Whether a text is a valid name: 1 to 64 characters out of `A-Z`, `a-z`, `0-9`, `.`, `-` and `_`.
    #[must_use]
    pub fn is_valid_name(text: &str) -> bool {
        (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
    }
}
