//! Encodes and decodes the record of a session.
//!
//! A live record does not contain `last_seen`, because Curfew can compute it: the expiry of the key minus the
//! retention. A tombstone contains `last_seen`, because the expiry of a tombstone counts from the end of the session.

mod plain;
mod sealed;

use super::format::Format;
use crate::StoreError;
use crate::credential::KeyRing;
use crate::session::{Session, SessionId, Timestamp};

/// The record version that this program writes when all replicas support it.
pub(super) const VERSION: u8 = sealed::VERSION;

/// The error that [`decode`] returns for a record of another session.
pub(super) const MISPLACED: StoreError = StoreError::Unreadable("it belongs to another session");

/// Returns the version of a record, even if the record is unreadable.
pub(super) fn version(bytes: &[u8]) -> Option<u8> {
    bytes.first().copied()
}

/// Returns the session without the parts that the format cannot store. A plain record has no details, so it contains
/// no refresh token.
pub(super) fn fit_to_format(session: &Session, format: Format) -> Session {
    let mut session = session.clone();
    if format == Format::Plain {
        session.retention = session.retention.saturating_sub(session.margin);
        session.margin = std::time::Duration::ZERO;
        session.details = None;
    }
    session
}

/// Encodes a session that [`fit_to_format`] returned for this format.
///
/// # Errors
/// [`StoreError::Unavailable`] when the operating system returns no random numbers.
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

/// Decodes the record of a session. `expiry` is the expiry of its key. `accepts_plain` is `true` only during an
/// upgrade, because anybody with access to Redis can write a plain record.
///
/// # Errors
/// [`StoreError::Unreadable`] for a record that [`encode`] did not write, and [`MISPLACED`] for the record of another
/// session.
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
        Some(version) if version > sealed::VERSION => {
            Err(StoreError::Unreadable("its version is not supported"))
        }
        Some(_) if !accepts_plain => Err(StoreError::Unreadable(
            "it is not encrypted, although the upgrade is finished",
        )),
        Some(_) => plain::decode(id, bytes, expiry),
    }
}

/// Returns whether a record must be sealed again, because another key is now the first of the ring.
pub(super) fn is_outdated(bytes: &[u8], key_ring: &KeyRing) -> bool {
    version(bytes) == Some(sealed::VERSION)
        && !key_ring.is_sealed_with_first_key(sealed::HEADER_BYTES, bytes)
}

/// Returns the name of the key that seals a record, for display.
pub(super) fn key_name(bytes: &[u8], key_ring: &KeyRing) -> Option<String> {
    let is_sealed = version(bytes) == Some(sealed::VERSION);
    is_sealed
        .then(|| key_ring.sealing_key_id(sealed::HEADER_BYTES, bytes))
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

    /// Curfew writes plain records while a replica runs that does not support encrypted records.
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
            let session = fit_to_format(&session, format);
            let record = encode(id, &session, format, &ring).unwrap();
            assert!(!record.windows(10).any(|part| part == b"refresh-me"));
            let read = decode(id, &record, session.expiry_with_margin(), true, &ring).unwrap();
            assert_eq!(read.details.is_some(), has_token);
        }
    }
}
