use crate::cut_offs::subject_key;
use crate::session::{SessionId, Subject};

/// The Redis keys of Curfew. All of them begin with one prefix.
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

    /// Returns the key of a session's record: `{prefix}s:` and the 16 bytes of the session ID.
    pub(super) fn session(&self, id: SessionId) -> Vec<u8> {
        self.key(b"s:", id.as_bytes())
    }

    /// Returns the session ID in the key of a record.
    pub(super) fn parse_session_key(&self, key: &[u8]) -> Option<SessionId> {
        let name = key
            .strip_prefix(self.prefix.as_slice())?
            .strip_prefix(b"s:")?;
        Some(SessionId::from_bytes(name.try_into().ok()?))
    }

    /// Returns a `SCAN` pattern for the records of all sessions.
    pub(super) fn session_pattern(&self) -> Vec<u8> {
        let mut pattern = Vec::new();
        for byte in &self.prefix {
            if b"*?[]\\^".contains(byte) {
                pattern.push(b'\\');
            }
            pattern.push(*byte);
        }
        [&pattern, &b"s:*"[..]].concat()
    }

    /// Returns the key of the index that contains the sessions of a subject. The key is `{prefix}u:` and two bytes of
    /// [`subject_key`], so the index also contains sessions of other subjects.
    pub(super) fn index(&self, subject: &Subject) -> Vec<u8> {
        self.key(b"u:", &subject_key(subject)[..2])
    }

    /// Returns the key of the deadline queue. This key and [`Keys::events`] have the same hash tag, and therefore the
    /// same slot, so that one script can change both.
    pub(super) fn queue(&self) -> Vec<u8> {
        self.key(b"{q}", b"deadlines")
    }

    /// Returns the key of the Redis stream that contains the ended sessions.
    pub(super) fn events(&self) -> Vec<u8> {
        self.key(b"{q}", b"events")
    }

    /// Returns the key of the set that contains the cut-offs, the emergency revocations, and the log of their changes.
    pub(super) fn cut_offs(&self) -> Vec<u8> {
        self.key(b"not-before", b"")
    }

    /// Returns the name of the channel for invalidations.
    pub(super) fn invalidation_channel(&self) -> Vec<u8> {
        self.key(b"ends", b"")
    }

    /// Returns the key of the progress of a background job, or the key with which a replica reserves the job.
    pub(super) fn progress(&self, job: &str) -> Vec<u8> {
        self.key(b"progress:", job.as_bytes())
    }

    /// Returns the key of the timeline, with which replicas agree on decision time.
    pub(super) fn timeline(&self) -> Vec<u8> {
        self.key(b"timeline", b"")
    }

    /// Returns the key of the generation marker, which shows a loss of data.
    pub(super) fn generation(&self) -> Vec<u8> {
        self.key(b"generation", b"")
    }

    /// Returns the key of the mark in the slot of the hash tag `tag`. A missing mark shows a loss of data in a shard.
    pub(super) fn mark(&self, tag: &str) -> Vec<u8> {
        self.key(b"mark", format!("{{{tag}}}").as_bytes())
    }

    /// Returns the key of the hash with the times of checks for routes.
    pub(super) fn route_checks(&self) -> Vec<u8> {
        self.key(b"routes", b"")
    }

    /// Returns the key of the schema version.
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
    fn keys_are_distinct() {
        let keys = Keys::new("curfew:");
        let id = SessionId::from_bytes(*b"0123456789abcdef");
        assert_eq!(keys.session(id), b"curfew:s:0123456789abcdef");
        assert_eq!(keys.parse_session_key(&keys.session(id)), Some(id));
        assert_eq!(keys.parse_session_key(b"curfew:s:0123456789abcde"), None);
        assert_eq!(keys.parse_session_key(b"curfew:u:0123456789abcdef"), None);
        assert_eq!(keys.schema(), b"curfew:schema");
        assert_eq!(Keys::new("a*b[").session_pattern(), b"a\\*b\\[s:*");
        let (alice, bob) = (Subject::new("alice").unwrap(), Subject::new("bob").unwrap());
        assert_ne!(subject_key(&alice), subject_key(&bob));
        assert!(keys.index(&alice).starts_with(b"curfew:u:"));
        assert_eq!(keys.index(&alice).len(), 11);
    }
}
