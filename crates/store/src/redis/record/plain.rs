//! Plain (not encrypted) records of versions 1 and 2: a version, a state, four bytes of the session ID, and the rest in
//! the postcard encoding. Curfew can always decode these records. It writes them only while a replica runs that can
//! read no other version.
//!
//! The four bytes tie the record to its session. Pipelined clients had bugs that assigned a reply to the wrong
//! request (redis-py CVE-2023-28858). With these bytes, Curfew rejects such a reply and does not use the session of
//! another person.
//!
//! The optional parts follow only if a session has one of them: the "remember me" flag and the binding.
//!
//! A live record does not contain `last_seen`, because Curfew can compute it: the expiry of the key minus the
//! retention. A tombstone contains `last_seen`, because the expiry of a tombstone counts from the end of the session.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::MISPLACED;
use crate::StoreError;
use crate::session::{
    Attributes, Binding, End, EndReason, Network, PolicyName, Session, SessionId, State, Subject,
    Timestamp, UserAgentHash,
};

/// The version that this module writes. The module also reads version 1. Records of version 1 contain no bytes of the
/// session ID, and their sessions are not in the deadline queue.
const VERSION: u8 = 2;

/// Bytes of the session ID in the record.
const ID_PREFIX_BYTES: usize = 4;

const LIVE: u8 = 0;

/// Returns the state byte of a tombstone.
const fn state_code(reason: EndReason) -> u8 {
    match reason {
        EndReason::IdleTimeout => 1,
        EndReason::AbsoluteTimeout => 2,
        EndReason::Revoked => 3,
        EndReason::SignedOut => 4,
    }
}

/// Returns the reason to write into a record of version 2. This reason is never `signed_out`, because older programs
/// reject a record with this reason.
const fn version_2_reason(reason: EndReason) -> EndReason {
    match reason {
        EndReason::SignedOut => EndReason::Revoked,
        other => other,
    }
}

/// The required parts of a record. Times and durations are in milliseconds.
#[derive(Serialize, Deserialize)]
struct RecordBody<'a> {
    started: u64,
    /// The time from the start to the deadline.
    lifetime: u64,
    retention: u64,
    policy: &'a str,
    subject: &'a str,
    #[serde(borrow)]
    attributes: Vec<(&'a str, Vec<&'a str>)>,
    /// The times of the last activity and of the session end; only in a tombstone.
    last_seen_and_end: Option<(u64, u64)>,
}

/// Optional parts: remember-me and the binding.
#[derive(Default, PartialEq, Eq, Serialize, Deserialize)]
struct Extras {
    remembered: bool,
    /// An address and its prefix length.
    network: Option<(IpAddr, u8)>,
    user_agent: Option<[u8; UserAgentHash::LEN]>,
}

/// Encodes a session.
pub(super) fn encode(id: SessionId, session: &Session) -> Vec<u8> {
    let (state, last_seen_and_end) = match session.state {
        State::Live => (LIVE, None),
        State::Ended(end) => {
            let last_seen = session.last_seen.as_millis();
            let reason = version_2_reason(end.reason);
            (state_code(reason), Some((last_seen, end.at.as_millis())))
        }
    };
    let attributes = session.attributes.iter();
    let body = RecordBody {
        started: session.started.as_millis(),
        lifetime: millis(session.deadline.since(session.started)),
        retention: millis(session.retention),
        policy: session.policy.as_str(),
        subject: session.subject.as_str(),
        attributes: attributes
            .map(|(name, values)| (name, values.collect()))
            .collect(),
        last_seen_and_end,
    };
    let network = session.binding.network;
    let extras = Extras {
        remembered: session.remembered,
        network: network.map(|network| (network.address(), network.bits())),
        user_agent: session.binding.user_agent.map(|hash| *hash.as_bytes()),
    };
    let head = [&[VERSION, state], id_prefix(&id)].concat();
    let record = postcard::to_extend(&body, head);
    let record = match extras == Extras::default() {
        true => record,
        false => record.and_then(|record| postcard::to_extend(&extras, record)),
    };
    // Serialization into memory does not fail. If it did, readers would reject the empty record.
    record.unwrap_or_default()
}

/// Returns the bytes of the session ID that the record contains.
fn id_prefix(id: &SessionId) -> &[u8] {
    &id.as_bytes()[..ID_PREFIX_BYTES]
}

/// Decodes the record of a session. `expiry` is the expiry of its key.
///
/// # Errors
/// [`StoreError::Unreadable`] for a record that [`encode`] does not write, and [`MISPLACED`] for the record of
/// another session.
pub(super) fn decode(
    id: SessionId,
    bytes: &[u8],
    expiry: Timestamp,
) -> Result<Session, StoreError> {
    let [version, state, rest @ ..] = bytes else {
        return Err(StoreError::Unreadable("it is too short"));
    };
    let body = match *version {
        1 => rest,
        VERSION => match rest.split_first_chunk::<ID_PREFIX_BYTES>() {
            Some((found, body)) if found == id_prefix(&id) => body,
            Some(_) => return Err(MISPLACED),
            None => return Err(StoreError::Unreadable("it is too short")),
        },
        _ => {
            return Err(StoreError::Unreadable("its version is not supported"));
        }
    };
    let (body, rest) = postcard::take_from_bytes::<RecordBody<'_>>(body)
        .map_err(|_| StoreError::Unreadable("it is damaged"))?;
    let extras = if rest.is_empty() {
        Extras::default()
    } else {
        let (extras, rest) = postcard::take_from_bytes::<Extras>(rest)
            .map_err(|_| StoreError::Unreadable("it has trailing bytes"))?;
        if !rest.is_empty() || extras == Extras::default() {
            return Err(StoreError::Unreadable("it has trailing bytes"));
        }
        extras
    };
    let invalid_name = || StoreError::Unreadable("it contains an invalid name");
    let retention = Duration::from_millis(body.retention);
    let started = Timestamp::from_millis(body.started);
    let (last_seen, state) = match body.last_seen_and_end {
        None if *state == LIVE => (expiry.minus(retention), State::Live),
        Some((last_seen, at)) => {
            let reason = EndReason::ALL.into_iter().find(|reason| {
                state_code(*reason) == *state && version_2_reason(*reason) == *reason
            });
            let reason = reason.ok_or(StoreError::Unreadable("its state is unknown"))?;
            let end = End {
                reason,
                at: Timestamp::from_millis(at),
            };
            (Timestamp::from_millis(last_seen), State::Ended(end))
        }
        None => {
            return Err(StoreError::Unreadable(
                "it lacks the time of the session end",
            ));
        }
    };
    Ok(Session {
        subject: Subject::new(body.subject).map_err(|_| invalid_name())?,
        attributes: Attributes::from_sorted(body.attributes).map_err(|_| invalid_name())?,
        policy: PolicyName::new(body.policy).map_err(|_| invalid_name())?,
        remembered: extras.remembered,
        binding: Binding {
            network: extras
                .network
                .map(|(address, bits)| Network::of(address, bits)),
            user_agent: extras.user_agent.map(UserAgentHash::from_bytes),
        },
        started,
        last_seen,
        deadline: started.plus(Duration::from_millis(body.lifetime)),
        retention,
        margin: Duration::ZERO,
        details: None,
        state,
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: SessionId = SessionId::from_bytes(*b"0123456789abcdef");

    fn session(started: u64, seen: u64, attributes: &[&str]) -> Session {
        Session {
            subject: Subject::new("alice").unwrap(),
            attributes: Attributes::from_sorted([("groups", attributes.iter().copied())]).unwrap(),
            policy: PolicyName::new("default").unwrap(),
            remembered: false,
            binding: Binding::default(),
            started: Timestamp::from_millis(started),
            last_seen: Timestamp::from_millis(started + seen),
            deadline: Timestamp::from_millis(started + 43_200_000),
            retention: Duration::from_secs(4500),
            margin: Duration::ZERO,
            details: None,
            state: State::Live,
        }
    }

    fn any_session() -> impl Strategy<Value = Session> {
        (
            0_u64..4_000_000_000_000,
            0_u64..43_200_000,
            proptest::collection::vec("[a-z]{1,8}", 0..4),
            proptest::option::of((0_usize..3, 0_u64..43_200_000)),
            (
                any::<bool>(),
                proptest::option::of((any::<IpAddr>(), 1_u8..=128)),
            ),
            proptest::option::of(any::<[u8; UserAgentHash::LEN]>()),
        )
            .prop_map(
                |(started, seen, groups, end, (remembered, network), user_agent)| {
                    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
                    let mut session = session(started, seen, &groups);
                    session.remembered = remembered;
                    session.binding = Binding {
                        network: network.map(|(address, bits)| Network::of(address, bits)),
                        user_agent: user_agent.map(UserAgentHash::from_bytes),
                    };
                    if let Some((reason, after)) = end {
                        let at = session.started.plus(Duration::from_millis(after));
                        session.end(EndReason::ALL[reason], at);
                    }
                    session
                },
            )
    }

    #[test]
    fn a_record_is_small() {
        let session = Session {
            attributes: Attributes::default(),
            ..session(1_795_426_200_000, 0, &[])
        };
        assert!(
            encode(ID, &session).len() <= 44,
            "{} bytes",
            encode(ID, &session).len()
        );
    }

    #[test]
    fn rejects_malformed_records() {
        let expiry = Timestamp::from_millis(2_000_000_000_000);
        let good = encode(ID, &session(1_795_426_200_000, 0, &["admin"]));
        assert!(decode(ID, &good, expiry).is_ok());
        let mut newer = good.clone();
        newer[0] = VERSION + 1;
        let mut ended_without_end = good.clone();
        ended_without_end[1] = state_code(EndReason::Revoked);
        for bad in [
            &b""[..],
            b"\x01",
            b"hello world",
            &newer,
            &ended_without_end,
            &good[..9],
        ] {
            assert!(
                matches!(decode(ID, bad, expiry), Err(StoreError::Unreadable(_))),
                "{bad:?}"
            );
        }
        assert!(decode(ID, &[&good[..], b"x"].concat(), expiry).is_err());
    }

    /// The previous version of Curfew can read only the state bytes 0 to 3, and `signed_out` is 4.
    #[test]
    fn a_sign_out_is_written_as_a_revocation() {
        let mut ended = session(1_795_426_200_000, 0, &[]);
        ended.end(EndReason::SignedOut, ended.started);
        let record = encode(ID, &ended);
        assert_eq!(record[1], state_code(EndReason::Revoked));
    }

    /// Converts a record to the format of version 1.
    fn to_version_1(record: &[u8]) -> Vec<u8> {
        [&[1, record[1]], &record[2 + ID_PREFIX_BYTES..]].concat()
    }

    #[test]
    fn a_record_of_another_session_is_refused() {
        let expiry = Timestamp::from_millis(2_000_000_000_000);
        let record = encode(ID, &session(1_795_426_200_000, 0, &[]));
        let other = SessionId::from_bytes(*b"fedcba9876543210");
        assert_eq!(
            decode(other, &record, expiry).unwrap_err().to_string(),
            MISPLACED.to_string()
        );
    }

    proptest! {
        #[test]
        fn decodes_records_of_version_1(session in any_session()) {
            let record = to_version_1(&encode(ID, &session));
            prop_assert_eq!(decode(ID, &record, session.expires()).unwrap(), session);
        }

        #[test]
        fn decodes_encoded_records(session in any_session()) {
            let read = decode(ID, &encode(ID, &session), session.expires()).unwrap();
            prop_assert_eq!(read, session);
        }

        /// A late touch moves the expiry of a tombstone, but does not change its content.
        #[test]
        fn a_tombstone_does_not_depend_on_its_expiry(session in any_session(), expiry in 0_u64..1 << 43) {
            prop_assume!(session.state != State::Live);
            let read = decode(ID, &encode(ID, &session), Timestamp::from_millis(expiry)).unwrap();
            prop_assert_eq!(read, session);
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), expiry in any::<u64>()) {
            let _ = decode(ID, &bytes, Timestamp::from_millis(expiry));
            let _ = decode(ID, &[&[1, LIVE][..], &bytes].concat(), Timestamp::from_millis(expiry));
            let _ = decode(ID, &[&[VERSION, LIVE][..], b"0123", &bytes].concat(), Timestamp::from_millis(expiry));
        }
    }
}
