use proptest::prelude::*;

use super::*;

fn heartbeats(items: &[&str]) -> Heartbeats {
    Heartbeats::parse(items.iter().copied()).unwrap()
}

/// Messages that each preset ignores, and messages that count. `tests/streams/heartbeats/` has recordings of whole
/// connections.
#[test]
fn presets_ignore_heartbeats_and_nothing_else() {
    type Messages = &'static [&'static [u8]];
    let cases: &[(&str, Messages, Messages)] = &[
        (
            "centrifuge",
            &[b"{}", b"", b"\0", br#"{"id":4,"method":7}"#, br#"{"id": 4, "ping": {}}"#, br#"{"ping":{},"id":4}"#],
            &[br#"{"send":{"data":{}},"id":3}"#, br#"{"id":4,"publish":{}}"#, b"{}\n{\"id\":1}", b"\0\0"],
        ),
        (
            "ddp",
            &[br#"{"msg":"pong"}"#, br#"{"msg":"ping","id":"7"}"#],
            &[br#"{"msg":"method","id":"0"}"#, br#"{"msg":"pong"} "#],
        ),
        (
            "engine.io",
            &[b"2", b"3", b"2probe", b"3probe", b"5", b"6"],
            &[b"4hello", b"40", b"", b"2x", b"22", b"3\n", b"0", b"1"],
        ),
        (
            "graphql-ws",
            &[br#"{"type":"ping"}"#, br#"{ "type": "pong", "payload": {"at": 3} }"#, br#"{"type":"ka"}"#],
            &[br#"{"id":"1","type":"subscribe","payload":{}}"#, br#"{"type":"complete","id":"1"}"#,
              br#"{"type":"ping","payload":{"a":{"b":1}},"more":1}"#],
        ),
        (
            "jupyter",
            &[
                br#"{"header":{"msg_id":"a","msg_type":"kernel_info_request"},"channel":"shell"}"#,
                b"\x06\0\0shell{\"msg_type\":\"comm_info_request\",\"v\":1}{}{}",
                b"\x01\x05awareness",
            ],
            &[
                br#"{"header":{"msg_type":"execute_request"},"content":{"code":"\"msg_type\":\"kernel_info_request\""}}"#,
                br#"["stdin","ls"]"#,
                b"\0\x02change",
            ],
        ),
        (
            "mqtt",
            &[b"\xc0\0", b"\x40\x02\0\x01", b"\x62\x02\0\x01"],
            &[b"\x30\x08\0\x01ahello", b"\xc0\0\xc0", b"\x82\x06\0\x01\0\x01a\0", b"\xe0\0"],
        ),
        (
            "phoenix",
            &[
                br#"[null,"4","phoenix","heartbeat",{}]"#,
                br#"{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"4"}"#,
                br#"{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"4","join_ref":null}"#,
            ],
            &[
                br#"["3","6","room:lobby","say",{"text":"[null,\"4\",\"phoenix\",\"heartbeat\",{}]"}]"#,
                br#"{"topic":"room","event":"heartbeat","payload":{},"ref":"4"}"#,
            ],
        ),
        (
            "pusher",
            &[br#"{"event":"pusher:ping","data":{}}"#, br#"{"event":"pusher:pong"}"#],
            &[br#"{"event":"client-typing","data":{}}"#, br#"{"event":"pusher:subscribe","data":{}}"#],
        ),
        (
            "signalr",
            &[b"{\"type\":6}\x1e", b"{\"type\":6}\x1e{\"type\":6}\x1e", b"\x02\x91\x06"],
            &[b"{\"type\":1}\x1e", b"{\"type\":6}\x1e{\"type\":1}\x1e", b"\x02\x91\x06\x0f", b"{\"type\":6}"],
        ),
        ("socket.io", &[b"2", b"3"], &[b"42[\"say\"]"]),
        ("stomp", &[b"\n", b"\r\n", b"[\"\\n\"]"], &[b"SEND\n\n\0", b"\nSEND\n\n\0"]),
        ("yjs", &[b"\x01state", b"\0\0\x01\0", b"\0\x01\x02\0\0"], &[b"\0\x02change", b"\0\x01\x05other"]),
    ];
    let tested: Vec<_> = cases.iter().map(|(name, ..)| *name).collect();
    assert_eq!(tested, preset_names().collect::<Vec<_>>());
    for (name, ignored, counted) in cases {
        let preset = heartbeats(&[name]);
        for message in *ignored {
            assert!(
                preset.matches(message),
                "{name}: {}",
                message.escape_ascii()
            );
        }
        for message in *counted {
            assert!(
                !preset.matches(message),
                "{name}: {}",
                message.escape_ascii()
            );
        }
    }
}

#[test]
fn every_pattern_of_a_preset_is_valid() {
    for name in preset_names() {
        let compiled = presets::patterns(name).unwrap();
        assert_eq!(compiled.len(), presets::pattern_count(name), "{name}");
    }
}

#[test]
fn a_pattern_must_match_the_whole_message() {
    let own = heartbeats(&["/ping|keepalive[0-9]*/"]);
    for message in ["ping", "keepalive", "keepalive12"] {
        assert!(own.matches(message.as_bytes()), "{message}");
    }
    for message in ["", "pin", "xping", "pingx", "ping\n", "keepalive1x"] {
        assert!(!own.matches(message.as_bytes()), "{message}");
    }
    assert!(heartbeats(&[r"/a.b\xff/"]).matches(b"a\nb\xff"));
    assert!(heartbeats(&["/(?i)PING/"]).matches(b"ping"));
    assert!(heartbeats(&["//"]).matches(b""));
}

#[test]
fn a_long_message_is_never_a_heartbeat() {
    let own = heartbeats(&["/a+/"]);
    assert!(own.matches(&[b'a'; MAX_HEARTBEAT_BYTES]));
    assert!(!own.matches(&[b'a'; MAX_HEARTBEAT_BYTES + 1]));
}

#[test]
fn invalid_items_are_refused_with_the_reason() {
    for (item, expected) in [
        (
            "soket.io",
            "`soket.io` is not a preset: use one of centrifuge, ddp",
        ),
        (
            "ping",
            "or a regular expression between slashes, such as `/ping/`",
        ),
        ("/ping", "is not a preset"),
        ("/", "is not a preset"),
        (
            "/(/",
            "`(` is not a valid regular expression: unclosed group",
        ),
        ("/a)|(b/", "is not a valid regular expression"),
        ("/(?:a{1000}){1000}/", "is not a valid regular expression"),
        (
            "/.*/",
            "`.*` matches every message: use `stream_activity: off` instead",
        ),
        ("/.+|x/", "matches every message"),
    ] {
        let error = Heartbeats::parse([item]).unwrap_err().to_string();
        assert!(error.contains(expected), "{item}: {error}");
        assert!(!error.contains('\n'), "{item}: {error}");
    }
}

#[test]
fn a_union_ignores_the_heartbeats_of_both() {
    let (a, b) = (
        heartbeats(&["socket.io"]),
        heartbeats(&["/ping/", "engine.io"]),
    );
    let both = a.clone().union(&b);
    assert!(both.matches(b"3") && both.matches(b"ping") && !both.matches(b"x"));
    assert_eq!(both, b.clone().union(&a));
    assert_eq!(both, b, "the presets have the same patterns");
}

proptest! {
    /// No message makes a preset panic, and no message of a person is in a preset of another protocol by chance.
    #[test]
    fn random_messages_are_not_heartbeats_of_text_protocols(message in "[a-zA-Z]{7,200}") {
        let all: Vec<_> = preset_names().collect();
        prop_assert!(!heartbeats(&all).matches(message.as_bytes()));
    }
}
