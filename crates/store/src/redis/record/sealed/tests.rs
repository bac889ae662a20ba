use proptest::prelude::*;

use super::*;
use crate::credential::{SEAL_OVERHEAD_BYTES, SigningKey};

const ID: SessionId = SessionId::from_bytes(*b"0123456789abcdef");

fn ring(letter: u8) -> KeyRing {
    // The last of the 43 base64 characters encodes only four bits, so only some letters are valid there.
    let text = char::from(letter).to_string().repeat(42) + "A";
    KeyRing::new(vec![SigningKey::parse(&text).unwrap()]).unwrap()
}

fn session() -> Session {
    Session {
        subject: Subject::new("alice").unwrap(),
        attributes: Attributes::default(),
        policy: PolicyName::new("default").unwrap(),
        remembered: false,
        binding: Binding::default(),
        started: Timestamp::from_millis(1_795_426_200_000),
        last_seen: Timestamp::from_millis(1_795_426_200_000),
        deadline: Timestamp::from_millis(1_795_426_200_000 + 43_200_000),
        retention: Duration::from_secs(4500) + CLOCK_MARGIN,
        margin: CLOCK_MARGIN,
        details: None,
        state: State::Live,
    }
}

fn any_details() -> impl Strategy<Value = Option<Arc<Details>>> {
    let text = || proptest::option::of("[ -~]{0,20}".prop_map(Arc::from));
    let details = (
        proptest::option::of(any::<IpAddr>()),
        (text(), text(), text()),
        proptest::option::of((0_u64..1 << 43).prop_map(Timestamp::from_millis)),
        (text(), text(), text(), text()),
        proptest::option::of("[ -~]{0,20}".prop_map(Secret::new)),
        proptest::option::of(any_revalidation()),
    );
    proptest::option::of(details.prop_map(
        |(address, texts, auth_time, others, token, revalidation)| {
            Arc::new(Details {
                address,
                user_agent: texts.0,
                host: texts.1,
                auth_time,
                provider_session: texts.2,
                service_kind: others.0,
                service_name: others.1,
                home_region: others.2,
                ended_by: others.3,
                refresh_token: token,
                revalidation,
            })
        },
    ))
}

fn any_revalidation() -> impl Strategy<Value = Revalidation> {
    let time = || (0_u64..1 << 43).prop_map(Timestamp::from_millis);
    let registration = any::<[u8; Registration::LEN]>().prop_map(Registration::from_bytes);
    (registration, time(), time(), 0_u8..8).prop_map(
        |(registration, confirmed, leased_until, claims)| Revalidation {
            registration,
            confirmed,
            leased_until,
            in_id_token: ClaimsInToken::from_bits(claims),
        },
    )
}

fn any_session() -> impl Strategy<Value = Session> {
    (
        0_u64..4_000_000_000_000,
        0_u64..43_200_000,
        proptest::collection::vec("[a-z]{1,8}", 0..4),
        proptest::option::of((0..EndReason::ALL.len(), 0_u64..43_200_000)),
        (any::<bool>(), any::<bool>()),
        proptest::option::of((any::<IpAddr>(), 1_u8..=128)),
        proptest::option::of(any::<[u8; UserAgentHash::LEN]>()),
        any_details(),
    )
        .prop_map(
            |(started, seen, groups, end, (remembered, margin), network, user_agent, details)| {
                let started = Timestamp::from_millis(started);
                let groups = groups.iter().map(String::as_str);
                let mut session = Session {
                    attributes: Attributes::from_sorted([("groups", groups)]).unwrap(),
                    remembered,
                    binding: Binding {
                        network: network.map(|(address, bits)| Network::of(address, bits)),
                        user_agent: user_agent.map(UserAgentHash::from_bytes),
                    },
                    started,
                    last_seen: started.plus(Duration::from_millis(seen)),
                    deadline: started.plus(Duration::from_millis(43_200_000)),
                    margin: if margin { CLOCK_MARGIN } else { Duration::ZERO },
                    details: details.filter(|details| **details != Details::default()),
                    ..session()
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
fn a_record_without_attributes_is_small() {
    let record = encode(ID, &session(), &ring(b'A')).unwrap();
    // Redis adds four bytes, so the record fits into an allocation of 80 bytes.
    assert!(record.len() <= 76, "{} bytes", record.len());
}

#[test]
fn a_record_reveals_nothing_of_the_session() {
    let mut session = session();
    session.attributes =
        Attributes::from_sorted([("email", ["alice@example.com"]), ("groups", ["admins"])])
            .unwrap();
    let record = encode(ID, &session, &ring(b'A')).unwrap();
    for word in ["alice", "admins", "email", "default"] {
        let found = record
            .windows(word.len())
            .any(|part| part == word.as_bytes());
        assert!(!found, "{word}");
    }
}

/// A person who can read Redis cannot use a refresh token. After the session end, the record has no token.
#[test]
fn a_refresh_token_is_sealed_and_gone_after_the_end() {
    let mut session = session();
    let details = Details {
        host: Some("app.example.com".into()),
        refresh_token: Some(Secret::new("refresh-me".to_owned())),
        ..Details::default()
    };
    session.details = Some(Arc::new(details));
    let ring = ring(b'A');
    let contains_token = |session: &Session| {
        let record = encode(ID, session, &ring).unwrap();
        let has_token = |bytes: &[u8]| bytes.windows(10).any(|part| part == b"refresh-me");
        assert!(!has_token(&record));
        has_token(
            &ring
                .decrypt(seal_context(&ID), HEADER_BYTES, &record)
                .unwrap(),
        )
    };
    assert!(contains_token(&session));
    assert!(!format!("{session:?}").contains("refresh-me"));
    session.end(EndReason::Revoked, session.started);
    assert!(!contains_token(&session));
    let details = session.details.unwrap();
    let host = Details::of_sign_in(Some("app.example.com".into()), None);
    assert_eq!(Some(details), host);
}

#[test]
fn a_record_of_another_session_is_refused() {
    let record = encode(ID, &session(), &ring(b'A')).unwrap();
    let expiry = session().expiry_with_margin();
    let other = SessionId::from_bytes(*b"fedcba9876543210");
    assert_eq!(decode(other, &record, expiry, &ring(b'A')), Err(MISPLACED));
    // Somebody copied the record to another session, and put the ID of that session into the header.
    let mut moved = record;
    moved[1..HEADER_BYTES].copy_from_slice(&other.as_bytes()[..ID_PREFIX_BYTES]);
    let refused = decode(other, &moved, expiry, &ring(b'A')).unwrap_err();
    assert!(refused.to_string().contains("changed outside"), "{refused}");
}

/// A later version of Curfew may write unknown fields.
#[test]
fn rejects_unknown_restricting_fields_and_ignores_others() {
    let ring = ring(b'A');
    let record = encode(ID, &session(), &ring).unwrap();
    let plain = ring
        .decrypt(seal_context(&ID), HEADER_BYTES, &record)
        .unwrap();
    let decode_with_field = |number: u8| {
        let mut body: RecordBody<'_> = postcard::from_bytes(&plain).unwrap();
        body.fields.push((number, b"?"));
        let plain = postcard::to_stdvec(&body).unwrap();
        let header = &record[..HEADER_BYTES];
        let record = ring.encrypt(seal_context(&ID), header, &plain).unwrap();
        decode(ID, &record, session().expiry_with_margin(), &ring)
    };
    assert_eq!(decode_with_field(201).unwrap(), session());
    assert!(decode_with_field(200).is_err());
}

proptest! {
    #[test]
    fn decodes_encoded_records(session in any_session()) {
        let record = encode(ID, &session, &ring(b'A')).unwrap();
        prop_assert!(record.len() > SEAL_OVERHEAD_BYTES);
        let read = decode(ID, &record, session.expiry_with_margin(), &ring(b'A'));
        prop_assert_eq!(read.unwrap(), session);
        prop_assert!(decode(ID, &record, Timestamp::default(), &ring(b'B')).is_err());
    }

    /// A late touch moves the expiry of a tombstone, but does not change its content.
    #[test]
    fn a_tombstone_does_not_depend_on_its_expiry(session in any_session(), expiry in 0_u64..1 << 43) {
        prop_assume!(session.state != State::Live);
        let record = encode(ID, &session, &ring(b'A')).unwrap();
        let read = decode(ID, &record, Timestamp::from_millis(expiry), &ring(b'A'));
        prop_assert_eq!(read.unwrap(), session);
    }

    /// Nobody can change a byte of a record without the key.
    #[test]
    fn a_changed_record_is_refused(session in any_session(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut record = encode(ID, &session, &ring(b'A')).unwrap();
        let at = at.index(record.len());
        record[at] ^= 1 << bit;
        prop_assert!(decode(ID, &record, session.expiry_with_margin(), &ring(b'A')).is_err());
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), expiry in any::<u64>()) {
        let _ = decode(ID, &bytes, Timestamp::from_millis(expiry), &ring(b'A'));
        let header = [&[VERSION][..], &ID.as_bytes()[..ID_PREFIX_BYTES], &bytes].concat();
        prop_assert!(decode(ID, &header, Timestamp::from_millis(expiry), &ring(b'A')).is_err());
    }
}
