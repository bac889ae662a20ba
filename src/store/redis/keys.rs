use sha2::{Digest, Sha256};

use crate::session::{SessionId, Subject};

/// The names of Curfew's keys in Redis, all under one prefix.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: Vec<u8>,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.as_bytes().to_vec(),
        }
    }

    /// A session's record: `{prefix}s:` and the 16 bytes of its name.
    pub(super) fn session(&self, id: SessionId) -> Vec<u8> {
        self.key(b"s:", id.as_bytes())
    }

    /// The index of a subject's sessions: `{prefix}u:` and 16 bytes of a hash of the subject, so
    /// that no personal data is in a key.
    pub(super) fn subject(&self, subject: &Subject) -> Vec<u8> {
        let mut hash = Sha256::new();
        hash.update(b"curfew subject 1\0");
        hash.update(subject.as_str());
        let digest: [u8; 32] = hash.finalize().into();
        self.key(b"u:", &digest[..16])
    }

    /// The version of the schema that the records follow.
    pub(super) fn schema(&self) -> Vec<u8> {
        self.key(b"schema", b"")
    }

    fn key(&self, kind: &[u8], name: &[u8]) -> Vec<u8> {
        [&self.prefix, kind, name].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_apart() {
        let keys = Keys::new("curfew:");
        let id = SessionId::from_bytes(*b"0123456789abcdef");
        assert_eq!(keys.session(id), b"curfew:s:0123456789abcdef");
        assert_eq!(keys.schema(), b"curfew:schema");
        let (alice, bob) = (Subject::new("alice").unwrap(), Subject::new("bob").unwrap());
        assert_ne!(keys.subject(&alice), keys.subject(&bob));
        assert!(keys.subject(&alice).starts_with(b"curfew:u:"));
    }
}
