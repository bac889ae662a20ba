use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::str::FromStr;
use std::sync::LazyLock;

/// The ID of a session: 16 bytes, derived from its credential by a one-way function.
///
/// The session ID is the key of the record in the store, and the admin API shows it. It is not a credential, because
/// nobody can compute the credential from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId([u8; Self::LEN]);

impl SessionId {
    /// The length of a session ID in bytes.
    pub const LEN: usize = 16;

    /// A session ID from its bytes, for example from the store.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes of the session ID.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Display for SessionId {
    /// 32 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 2 * Self::LEN];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Hash for SessionId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

/// A hash map keyed by session ID.
pub type SessionMap<V> = HashMap<SessionId, V, SessionIdHashBuilder>;

/// Hashes session IDs for [`SessionMap`]. Session IDs are hashes already, so one multiplication with a secret of this
/// process is enough. Because of the secret, clients cannot choose IDs that collide.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionIdHashBuilder;

/// The hasher that [`SessionIdHashBuilder`] builds.
#[derive(Clone, Copy, Debug)]
pub struct SessionIdHasher(u64);

/// The random secret of this process.
static HASH_SECRET: LazyLock<[u64; 2]> = LazyLock::new(|| {
    let random = RandomState::new();
    [random.hash_one(0), random.hash_one(1)]
});

impl BuildHasher for SessionIdHashBuilder {
    type Hasher = SessionIdHasher;

    fn build_hasher(&self) -> SessionIdHasher {
        SessionIdHasher(HASH_SECRET[0])
    }
}

impl Hasher for SessionIdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            let word = u128::from(u64::from_le_bytes(word) ^ self.0);
            let product = word.wrapping_mul(u128::from(HASH_SECRET[1] | 1));
            self.0 = (product >> 64) as u64 ^ product as u64;
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The text is not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session ID must have 32 hexadecimal digits")]
pub struct ParseSessionIdError;

impl FromStr for SessionId {
    type Err = ParseSessionIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.as_bytes();
        if digits.len() != 2 * Self::LEN || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(ParseSessionIdError);
        }
        let mut bytes = [0; Self::LEN];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| ParseSessionIdError)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| ParseSessionIdError)?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_agree() {
        let id = SessionId::from_bytes(*b"\x00\x01curfew-session");
        let text = id.to_string();
        assert_eq!(text, "00016375726665772d73657373696f6e");
        assert_eq!(text.parse(), Ok(id));
    }

    #[test]
    fn session_id_hashes_are_spread() {
        let id = |number: u128| SessionId::from_bytes(number.to_be_bytes());
        let all = (0..1000).flat_map(|number| [id(number), id(number << 64)]);
        let hashes = all.map(|id| SessionIdHashBuilder.hash_one(id));
        let low: std::collections::HashSet<u64> = hashes.map(|hash| hash % 4096).collect();
        assert!(low.len() > 1200, "{}", low.len());
    }

    #[test]
    fn rejects_text_that_is_not_a_session_id() {
        for text in [
            "",
            "00",
            &"g".repeat(32),
            &"+".repeat(32),
            &"é".repeat(16),
            &"0".repeat(33),
        ] {
            assert_eq!(
                text.parse::<SessionId>(),
                Err(ParseSessionIdError),
                "{text}"
            );
        }
    }
}
