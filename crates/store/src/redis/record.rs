//! A session's record as bytes.
//!
//! A live record does not hold `last_seen`: that is the key's expiry less the retention. A
//! tombstone does, because its expiry counts from its end.

mod plain;
mod sealed;

use super::format::Format;
use crate::StoreError;
use crate::credential::KeyRing;
use crate::session::{Session, SessionId, Timestamp};

/// The version of the records that this program writes when all replicas know it.
pub(super) const VERSION: u8 = sealed::VERSION;

/// What [`decode`] says of a record that belongs to another session.
pub(super) const MISPLACED: StoreError = StoreError::Unreadable("it is another session's");

/// The version of a record, whether it can be read or not.
pub(super) fn version(bytes: &[u8]) -> Option<u8> {
    bytes.first().copied()
}

/// The session as a record of this format can hold it. A record that is not encrypted has no details, and so no refresh
/// token.
pub(super) fn fitted(session: &Session, format: Format) -> Session {
    let mut session = session.clone();
    if format == Format::Plain {
        session.retention = session.retention.saturating_sub(session.margin);
        session.margin = std::time::Duration::ZERO;
        session.details = None;
    }
    session
}

/// The bytes to store for a session that is [`fitted`] to the format.
///
/// # Errors
/// [`StoreError::Unavailable`] when the operating system gives no random numbers.
pub(super) fn encode(
    id: SessionId,
    session: &Session,
    format: Format,
    key_ring: &KeyRing,
) -> Result<Vec<u8>, StoreError> {
    match format {
        Format::Plain => Ok(plain::encode(id, session)),
        Format::Sealed => sealed::encode(id, session, key_ring),
    }
}

/// Reads the record of a session, whose key expires at `expiry`. `accepts_plain` is for the time of an upgrade: anybody
/// with access to Redis can write a record of an older version.
///
/// # Errors
/// [`StoreError::Unreadable`] for anything that [`encode`] does not write, and [`MISPLACED`] for
/// what it writes for another session.
pub(super) fn decode(
    id: SessionId,
    bytes: &[u8],
    expiry: Timestamp,
    accepts_plain: bool,
    key_ring: &KeyRing,
) -> Result<Session, StoreError> {
    match version(bytes) {
        None => Err(StoreError::Unreadable("it is too short")),
        Some(sealed::VERSION) => sealed::decode(id, bytes, expiry, key_ring),
        Some(version) if version > sealed::VERSION => Err(StoreError::Unreadable(
            "it has a version this program does not know",
        )),
        Some(_) if !accepts_plain => Err(StoreError::Unreadable(
            "it is not encrypted, and all records are since the upgrade",
        )),
        Some(_) => plain::decode(id, bytes, expiry),
    }
}

/// Whether a record has to be sealed again: another key of the ring is the first one now.
pub(super) fn is_outdated(bytes: &[u8], key_ring: &KeyRing) -> bool {
    version(bytes) == Some(sealed::VERSION) && !key_ring.is_current(sealed::HEADER_BYTES, bytes)
}

/// The key that a record is sealed under, for people.
pub(super) fn key_name(bytes: &[u8], key_ring: &KeyRing) -> Option<String> {
    let is_sealed = version(bytes) == Some(sealed::VERSION);
    is_sealed
        .then(|| key_ring.sealed_under(sealed::HEADER_BYTES, bytes))
        .flatten()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::credential::SigningKey;
    use crate::secret::Secret;
    use crate::session::Details;
    use crate::testing::{START, session_of};

    /// While a program runs that knows no encrypted records.
    #[test]
    fn a_plain_record_has_no_refresh_token() {
        let id = SessionId::from_bytes([7; SessionId::LEN]);
        let key = SigningKey::parse(&SigningKey::generate().unwrap()).unwrap();
        let ring = KeyRing::new(vec![key]).unwrap();
        let mut session = session_of("alice", START);
        session.details = Some(Arc::new(Details {
            refresh_token: Some(Secret::new("refresh-me".to_owned())),
            ..Details::default()
        }));
        for (format, has_token) in [(Format::Plain, false), (Format::Sealed, true)] {
            let session = fitted(&session, format);
            let record = encode(id, &session, format, &ring).unwrap();
            assert!(!record.windows(10).any(|part| part == b"refresh-me"));
            let read = decode(id, &record, session.kept_until(), true, &ring).unwrap();
            assert_eq!(read.details.is_some(), has_token);
        }
    }
}
