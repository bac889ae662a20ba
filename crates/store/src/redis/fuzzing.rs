//! Tests that the fuzz targets call. Each test decodes arbitrary bytes as if Redis had sent them.

use std::sync::LazyLock;

use super::connection::info;
use super::cut_offs::log as cut_off_log;
use super::cut_offs::rule::{self, RuleMember};
use super::format::Format;
use super::invalidation::Message;
use super::{combine_replies, record};
use crate::credential::{KeyRing, SealContext, SigningKey};
use crate::cut_offs::CutOffs;
use crate::session::{SessionId, State, Timestamp};

const ID: SessionId = SessionId::from_bytes(*b"0123456789abcdef");

/// A key ring with a fixed key.
static KEY_RING: LazyLock<Option<KeyRing>> = LazyLock::new(|| {
    let key = SigningKey::parse(&"A".repeat(43)).ok()?;
    KeyRing::new(vec![key]).ok()
});

/// Tests the decoding of records. `data` is the expiry of a key, followed by a record. The function tests the bytes
/// as a record, and as the content of a sealed record. Encoding and decoding must not change a readable record.
pub fn record(data: &[u8]) {
    let (Some((expiry, bytes)), Some(key_ring)) = (data.split_first_chunk(), &*KEY_RING) else {
        return;
    };
    let expiry = Timestamp::from_millis(u64::from_be_bytes(*expiry));
    check_record(bytes, expiry, Format::Plain, key_ring);
    let context = SealContext {
        purpose: "record 3",
        name: ID.as_bytes(),
    };
    let sealed = key_ring.encrypt(context, b"\x0301", bytes);
    check_record(
        &sealed.unwrap_or_default(),
        expiry,
        Format::Sealed,
        key_ring,
    );
}

/// Tests that a readable record is unchanged after encoding and decoding. Also tests that Curfew rejects the record for
/// another session (except a record of version 1), and rejects a plain record after the upgrade.
fn check_record(bytes: &[u8], expiry: Timestamp, format: Format, key_ring: &KeyRing) {
    let decode = |id, bytes: &[u8]| record::decode(id, bytes, expiry, true, key_ring);
    let Ok(session) = decode(ID, bytes) else {
        return;
    };
    let encoded = record::encode(ID, &session, format, key_ring);
    assert_eq!(
        decode(ID, &encoded.unwrap_or_default()).as_ref(),
        Ok(&session)
    );
    let other = SessionId::from_bytes(*b"fedcba9876543210");
    let version = record::version(bytes);
    assert!(version == Some(1) || decode(other, bytes).is_err());
    assert!(record::decode(ID, bytes, expiry, false, key_ring).is_err() || version == Some(3));
    if session.state == State::Live {
        assert!(session.last_seen <= expiry);
    }
}

/// Tests the decoding of a message on the channel for invalidations.
pub fn message(data: &[u8]) {
    if let Some(message) = Message::decode(data) {
        assert_eq!(Message::decode(&message.encode()), Some(message));
    }
}

/// Tests the decoding of a server's reply, in RESP2 or RESP3.
pub fn reply(data: &[u8]) {
    let Ok(value) = redis::parse_redis_value(data) else {
        return;
    };
    if let Ok(text) = redis::from_redis_value_ref::<String>(&value) {
        let _ = info::recommendations(&text, false);
        let _ = info::recommendations(&text, true);
    }
    if let Ok(members) = redis::from_redis_value_ref::<Vec<cut_off_log::Member>>(&value) {
        let table = CutOffs::new(100);
        let head = |last| cut_off_log::Head { last, epoch: None };
        let mut progress = cut_off_log::ReadProgress::default();
        progress.apply_changes(head(1), &[], &table);
        progress.apply_changes(head(2), &members, &table);
        if let Some(page) = progress.next_page() {
            progress.apply_page(page, &members, &table);
        }
        members.iter().for_each(check_member);
    }
    let answer = redis::from_redis_value::<(i64, Option<Vec<u8>>)>(value);
    if let Ok((expiry, bytes)) = answer {
        let is_missing = bytes.is_none();
        let Some(key_ring) = &*KEY_RING else { return };
        let decode = |bytes: &[u8], expiry| record::decode(ID, bytes, expiry, true, key_ring);
        if let Ok(found) = combine_replies(expiry, bytes, decode) {
            assert!(found.is_none() || (!is_missing && expiry >= 0));
        }
    }
}

/// Tests a member of the set of cut-offs. If the member is an emergency revocation, encoding and decoding must not
/// change it, in either format.
fn check_member(member: &cut_off_log::Member) {
    const KEY: &[u8] = b"curfew:not-before";
    let Some(key_ring) = &*KEY_RING else { return };
    let RuleMember::Rule(rule, _) = rule::parse(member, KEY, key_ring) else {
        return;
    };
    for (format, is_current) in [(Format::Plain, false), (Format::Sealed, true)] {
        let encoded = rule::encode(&rule.conditions, format, KEY, key_ring).unwrap_or_default();
        assert_eq!(
            rule::parse(&(encoded, member.1), KEY, key_ring),
            RuleMember::Rule(rule.clone(), is_current)
        );
    }
}
