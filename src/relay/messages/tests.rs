use proptest::prelude::*;

use super::*;

/// Encodes a masked frame. `first` is the first byte of the header.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [7, 0, 255, 42];
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    let key = mask.iter().cycle();
    bytes.extend(payload.iter().zip(key).map(|(byte, key)| byte ^ key));
    bytes
}

fn is_ping(message: &[u8]) -> bool {
    message == b"ping"
}

/// Scans the bytes in chunks, and returns whether a chunk counts.
fn counts(bytes: &[u8], chunk: usize) -> bool {
    let mut messages = ClientMessages::default();
    let mut counts = false;
    for bytes in bytes.chunks(chunk) {
        counts |= messages.scan(bytes, Some(is_ping));
    }
    counts
}

#[test]
fn heartbeats_do_not_count_in_any_chunks() {
    let long = [b'p'; MAX_HEARTBEAT_BYTES + 1];
    let cases: [(&str, Vec<u8>, bool); 12] = [
        ("a heartbeat", frame(0x81, b"ping"), false),
        ("another message", frame(0x81, b"pinG"), true),
        ("an empty message", frame(0x82, b""), true),
        (
            "a heartbeat in two frames",
            [frame(0x01, b"pi"), frame(0x80, b"ng")].concat(),
            false,
        ),
        (
            "a heartbeat in two frames, with a ping between them",
            [frame(0x01, b"pi"), frame(0x89, b"x"), frame(0x80, b"ng")].concat(),
            false,
        ),
        ("a begun message", frame(0x01, b"pin"), false),
        (
            "a continued message",
            [frame(0x01, b"ping"), frame(0x80, b"x")].concat(),
            true,
        ),
        ("a compressed heartbeat", frame(0xc1, b"ping"), true),
        ("a control frame", frame(0x8a, b"x"), false),
        ("a long message", frame(0x02, &long), true),
        (
            "two heartbeats",
            [frame(0x81, b"ping"), frame(0x81, b"ping")].concat(),
            false,
        ),
        (
            "a message between heartbeats",
            [
                frame(0x81, b"ping"),
                frame(0x81, b"x"),
                frame(0x81, b"ping"),
            ]
            .concat(),
            true,
        ),
    ];
    for (name, bytes, expected) in cases {
        for chunk in [1, 2, 3, 7, 100, bytes.len()] {
            assert_eq!(
                counts(&bytes, chunk),
                expected,
                "{name} in chunks of {chunk}"
            );
        }
    }
}

/// A long upload in one message counts from its first part to its last part, so that it does not look idle.
#[test]
fn each_part_of_a_long_message_counts() {
    let mut messages = ClientMessages::default();
    let bytes = frame(0x82, &[b'x'; 3 * MAX_HEARTBEAT_BYTES]);
    for (index, bytes) in bytes.chunks(1000).enumerate() {
        assert!(messages.scan(bytes, Some(is_ping)), "part {index}");
        assert!(messages.kept_bytes() == 0);
    }
    assert!(!messages.scan(&frame(0x81, b"ping"), Some(is_ping)));
}

/// Without a list of heartbeats, no bytes are kept.
#[test]
fn all_data_counts_without_heartbeats() {
    let mut messages = ClientMessages::default();
    let none = None::<fn(&[u8]) -> bool>;
    assert!(messages.scan(&frame(0x81, b"ping")[..7], none));
    assert!(messages.kept_bytes() == 0);
    assert!(!messages.scan(&[], none));
}

proptest! {
    /// A list of heartbeats can appear while a message is open. No input makes the reader panic or keep more than one
    /// short message.
    #[test]
    fn memory_is_bounded(
        chunks in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..200)), 0..60),
    ) {
        let mut messages = ClientMessages::default();
        for (has_list, bytes) in chunks {
            messages.scan(&bytes, has_list.then_some(is_ping));
            prop_assert!(messages.kept_bytes() <= MAX_HEARTBEAT_BYTES);
        }
    }
}
