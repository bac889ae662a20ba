//! What must hold of bytes that Redis sends, for the fuzz targets.

use super::{ends, info, record, stored};
use crate::session::{SessionId, State, Timestamp};

const ID: SessionId = SessionId::from_bytes(*b"0123456789abcdef");

/// The key's expiry, and the record: one that can be read can be written again, and is read the same then.
pub fn record(data: &[u8]) {
    let Some((expiry, bytes)) = data.split_first_chunk() else {
        return;
    };
    let expiry = Timestamp::from_millis(u64::from_be_bytes(*expiry));
    let Ok(session) = record::decode(ID, bytes, expiry) else {
        return;
    };
    let again = record::decode(ID, &record::encode(ID, &session), expiry);
    assert_eq!(again.as_ref(), Ok(&session));
    let other = SessionId::from_bytes(*b"fedcba9876543210");
    let version = record::version(bytes);
    assert!(version == Some(1) || record::decode(other, bytes, expiry).is_err());
    if session.state == State::Live {
        assert!(session.last_seen <= expiry);
    }
}

/// A message on the channel on which ends are told.
pub fn message(data: &[u8]) {
    if let Some(message) = ends::Message::decode(data) {
        assert_eq!(ends::Message::decode(&message.encode()), Some(message));
    }
}

/// What a server answers to a question for a session, in either version of its protocol.
pub fn reply(data: &[u8]) {
    let Ok(value) = redis::parse_redis_value(data) else {
        return;
    };
    if let Ok(text) = redis::from_redis_value_ref::<String>(&value) {
        let _ = info::advice(&text, false);
        let _ = info::advice(&text, true);
    }
    let answer = redis::from_redis_value::<(i64, Option<Vec<u8>>)>(value);
    if let Ok((expiry, bytes)) = answer {
        let missing = bytes.is_none();
        if let Ok(found) = stored(ID, expiry, bytes) {
            assert!(found.is_none() || (!missing && expiry >= 0));
        }
    }
}
