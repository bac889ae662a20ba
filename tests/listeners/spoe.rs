//! Tests the SPOE agent with a raw peer.

use curfew::clock::Stopwatch;

use crate::spop::*;
use crate::support::curfew::{CreatedSession, Curfew, Setup};
use crate::support::eventually;

fn start_with_spoe() -> Curfew {
    Setup::memory().set("LISTEN__SPOE", "127.0.0.1:0").start()
}

/// Returns the message that HAProxy sends with `deploy/haproxy/curfew-spoe.conf`.
fn encode_check(header_pairs: &[(&str, &str)]) -> Vec<u8> {
    let arguments = [
        ("method", text_value("GET")),
        ("scheme", text_value("https")),
        ("host", text_value("app.example.com")),
        ("path", text_value("/")),
        ("headers", encode_headers(header_pairs)),
        ("policy", Value::Null),
    ];
    encode_message("check", &arguments)
}

/// Sends a check of the session, and asserts that the agent allows it.
async fn assert_allowed(peer: &mut Peer, session: &CreatedSession) {
    let check_message = encode_check(&[("cookie", &session.cookie())]);
    peer.send(&encode_frame(NOTIFY, 1, (7, 1), &check_message))
        .await;
    let ack = peer.receive().await.unwrap();
    assert_eq!((ack.kind, ack.ids), (ACK, (7, 1)));
    assert_eq!(ack.decode_variables()["verdict"], text_value("allow"));
}

#[tokio::test]
async fn a_connection_serves_a_handshake_checks_and_a_disconnect() {
    let curfew = start_with_spoe();
    let session = curfew.sign_in("alice").await;
    let mut peer = Peer::connect(curfew.spoe.unwrap()).await;
    peer.send(&encode_hello(16_380, "1.0,2.0")).await;
    let answer = peer.receive().await.unwrap();
    assert_eq!(answer.kind, AGENT_HELLO);
    let hello_pairs = answer.decode_pairs();
    assert_eq!(hello_pairs["version"], text_value("2.0"));
    assert_eq!(hello_pairs["max-frame-size"], Value::Number(16_380));
    assert_eq!(hello_pairs["capabilities"], text_value("pipelining"));

    let cookie = session.cookie();
    peer.send(&encode_frame(
        NOTIFY,
        1,
        (300, 4000),
        &encode_check(&[("cookie", &cookie)]),
    ))
    .await;
    let ack = peer.receive().await.unwrap();
    assert_eq!((ack.kind, ack.ids), (ACK, (300, 4000)));
    let variables = ack.decode_variables();
    assert_eq!(variables["verdict"], text_value("allow"));
    assert_eq!(variables["status"], Value::Number(200));
    assert_eq!(variables["user"], text_value("alice"));
    assert_eq!(variables["id"], text_value(&session.id));

    let disconnect_pairs = encode_pairs(&[
        ("status-code", Value::Number(0)),
        ("message", text_value("bye")),
    ]);
    peer.send(&encode_frame(
        HAPROXY_DISCONNECT,
        1,
        (0, 0),
        &disconnect_pairs,
    ))
    .await;
    let answer = peer.receive().await.unwrap();
    assert_eq!(answer.kind, AGENT_DISCONNECT);
    assert_eq!(answer.decode_pairs()["status-code"], Value::Number(0));
    assert!(peer.receive().await.is_none());
    curfew.stop().await;
}

#[tokio::test]
async fn concurrent_checks_are_answered_separately() {
    let curfew = start_with_spoe();
    let mut peer = Peer::connect_and_greet(curfew.spoe.unwrap()).await;
    let mut sessions = Vec::new();
    for number in 0..600 {
        let subject = format!("user-{}", number % 3);
        let session = match sessions.get(number % 3) {
            Some(session) if number >= 3 => CreatedSession::clone(session),
            _ => {
                let session = curfew.sign_in(&subject).await;
                sessions.push(session.clone());
                session
            }
        };
        let check_message = encode_check(&[("cookie", &session.cookie())]);
        peer.send(&encode_frame(NOTIFY, 1, (number as u64, 1), &check_message))
            .await;
    }
    for _ in 0..600 {
        let ack = peer.receive().await.unwrap();
        let subject = format!("user-{}", ack.ids.0 % 3);
        assert_eq!(ack.decode_variables()["user"], text_value(&subject));
    }
}

#[tokio::test]
async fn a_health_check_is_answered_and_its_connection_closed() {
    let curfew = start_with_spoe();
    let mut peer = Peer::connect(curfew.spoe.unwrap()).await;
    let payload = encode_pairs(&[
        ("supported-versions", text_value("2.0")),
        ("max-frame-size", Value::Number(16_380)),
        ("capabilities", text_value("")),
        ("healthcheck", Value::True),
    ]);
    peer.send(&encode_frame(HAPROXY_HELLO, 1, (0, 0), &payload))
        .await;
    assert_eq!(peer.receive().await.unwrap().kind, AGENT_HELLO);
    assert!(peer.receive().await.is_none());
}

/// If a peer violates the protocol, the agent sends the reason, and closes this connection. It closes no other
/// connection.
#[tokio::test]
async fn a_protocol_violation_closes_the_connection() {
    let curfew = start_with_spoe();
    let agent = curfew.spoe.unwrap();
    let session = curfew.sign_in("alice").await;
    let mut bystander = Peer::connect_and_greet(agent).await;
    let no_versions = encode_pairs(&[
        ("max-frame-size", Value::Number(16_380)),
        ("capabilities", text_value("")),
    ]);
    let valid_check = encode_check(&[("cookie", &session.cookie())]);
    for (what, is_greeted, bytes) in [
        (
            "a check before the greeting",
            false,
            encode_frame(NOTIFY, 1, (1, 1), &valid_check),
        ),
        ("an unsupported version", false, encode_hello(16_380, "1.0")),
        (
            "a frame size that is too small",
            false,
            encode_hello(100, "2.0"),
        ),
        (
            "no versions",
            false,
            encode_frame(HAPROXY_HELLO, 1, (0, 0), &no_versions),
        ),
        ("an empty frame", false, vec![0, 0, 0, 0]),
        (
            "an HTTP client",
            false,
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        ),
        (
            "a frame that is too long",
            true,
            vec![0x7f, 0xff, 0xff, 0xff, 3],
        ),
        ("a second greeting", true, encode_hello(16_380, "2.0")),
        ("an agent's frame", true, encode_frame(ACK, 1, (1, 1), &[])),
        ("an unknown type", true, encode_frame(77, 1, (1, 1), &[])),
        (
            "a fragment",
            true,
            encode_frame(NOTIFY, 0, (1, 1), &valid_check),
        ),
        (
            "a truncated message",
            true,
            encode_frame(NOTIFY, 1, (1, 1), &valid_check[..valid_check.len() - 5]),
        ),
        (
            "a message and noise",
            true,
            encode_frame(NOTIFY, 1, (1, 1), &[&valid_check[..], &[0xff; 9]].concat()),
        ),
    ] {
        let mut peer = if is_greeted {
            Peer::connect_and_greet(agent).await
        } else {
            Peer::connect(agent).await
        };
        peer.send(&bytes).await;
        let Some(answer) = peer.receive().await else {
            panic!("{what}: the agent closed the connection without a disconnect frame");
        };
        assert_eq!(answer.kind, AGENT_DISCONNECT, "{what}: {answer:?}");
        assert_ne!(
            answer.decode_pairs()["status-code"],
            Value::Number(0),
            "{what}"
        );
        assert!(peer.receive().await.is_none(), "{what}");
        assert_allowed(&mut bystander, &session).await;
    }
}

/// The checks before an invalid frame belong to other clients, so the agent answers them.
#[tokio::test]
async fn an_invalid_frame_fails_no_other_check() {
    let curfew = start_with_spoe();
    let session = curfew.sign_in("alice").await;
    let check_message = encode_frame(
        NOTIFY,
        1,
        (1, 1),
        &encode_check(&[("cookie", &session.cookie())]),
    );
    for broken in [
        encode_frame(77, 1, (1, 1), &[]),
        encode_frame(NOTIFY, 1, (2, 1), &[0xff; 9]),
    ] {
        for _ in 0..30 {
            let mut peer = Peer::connect_and_greet(curfew.spoe.unwrap()).await;
            peer.send(&[&check_message[..], &broken].concat()).await;
            let ack = peer.receive().await.unwrap();
            assert_eq!((ack.kind, ack.ids), (ACK, (1, 1)));
            assert_eq!(ack.decode_variables()["verdict"], text_value("allow"));
            assert_eq!(peer.receive().await.unwrap().kind, AGENT_DISCONNECT);
        }
    }
}

#[tokio::test]
async fn unknown_messages_set_no_variables() {
    let curfew = start_with_spoe();
    let session = curfew.sign_in("alice").await;
    let mut peer = Peer::connect_and_greet(curfew.spoe.unwrap()).await;
    let unknown_message = encode_message("log", &[("path", text_value("/"))]);
    peer.send(&encode_frame(NOTIFY, 1, (1, 1), &unknown_message))
        .await;
    assert!(peer.receive().await.unwrap().decode_variables().is_empty());
    // This frame has the unknown message and a known message.
    let both = [
        unknown_message,
        encode_check(&[("cookie", &session.cookie())]),
    ]
    .concat();
    peer.send(&encode_frame(NOTIFY, 1, (2, 1), &both)).await;
    let variables = peer.receive().await.unwrap().decode_variables();
    assert_eq!(variables["verdict"], text_value("allow"));
    // The agent denies a message without arguments.
    peer.send(&encode_frame(
        NOTIFY,
        1,
        (3, 1),
        &encode_message("check", &[]),
    ))
    .await;
    let variables = peer.receive().await.unwrap().decode_variables();
    assert_eq!(variables["verdict"], text_value("deny"));
    assert_eq!(variables["reason"], text_value("malformed_request"));
}

#[tokio::test]
async fn headers_of_64_kilobytes_fit_in_one_frame() {
    let curfew = start_with_spoe();
    let session = curfew.sign_in("alice").await;
    let mut peer = Peer::connect_and_greet(curfew.spoe.unwrap()).await;
    let long = "x".repeat(64 * 1024);
    let check_message = encode_check(&[("x-long", &long), ("cookie", &session.cookie())]);
    peer.send(&encode_frame(NOTIFY, 1, (1, 1), &check_message))
        .await;
    let variables = peer.receive().await.unwrap().decode_variables();
    assert_eq!(variables["verdict"], text_value("allow"));
}

#[tokio::test]
async fn an_oversized_answer_keeps_the_connection() {
    let curfew = start_with_spoe();
    let groups = ["x", "y", "z"].map(|group| group.repeat(1000));
    let groups = serde_json::json!({ "groups": groups });
    let long = curfew.sign_in_with("alice", groups).await;
    let short = curfew.sign_in("bob").await;
    let mut peer = Peer::connect(curfew.spoe.unwrap()).await;
    peer.send(&encode_hello(1500, "2.0")).await;
    assert_eq!(peer.receive().await.unwrap().kind, AGENT_HELLO);
    for (id, session) in [(1, &long), (2, &short)] {
        let check_message = encode_check(&[("cookie", &session.cookie())]);
        peer.send(&encode_frame(NOTIFY, 1, (id, 1), &check_message))
            .await;
    }
    for _ in 0..2 {
        let ack = peer.receive().await.unwrap();
        match ack.ids.0 {
            1 => assert!(ack.decode_variables().is_empty()),
            _ => assert_eq!(ack.decode_variables()["user"], text_value("bob")),
        }
    }
}

#[tokio::test]
async fn stopping_disconnects_idle_peers() {
    let curfew = start_with_spoe();
    let session = curfew.sign_in("alice").await;
    let mut peer = Peer::connect_and_greet(curfew.spoe.unwrap()).await;
    let _silent = Peer::connect(curfew.spoe.unwrap()).await;
    assert_allowed(&mut peer, &session).await;
    let stopwatch = Stopwatch::start();
    curfew.stop().await;
    assert!(stopwatch.seconds() < 5.0, "{}", stopwatch.seconds());
    let answer = peer.receive().await.unwrap();
    assert_eq!(answer.kind, AGENT_DISCONNECT);
    assert!(peer.receive().await.is_none());
}

/// While the process stops gracefully, HAProxy's health checks fail, so HAProxy uses another server. The agent
/// still answers checks, and closes each connection after an answer.
#[tokio::test]
async fn draining_fails_health_checks_and_ends_connections_after_an_answer() {
    let curfew = Setup::memory()
        .set("LISTEN__SPOE", "127.0.0.1:0")
        .set("SHUTDOWN_DELAY", "3s")
        .start();
    let agent = curfew.spoe.unwrap();
    let session = curfew.sign_in("alice").await;
    let mut early_peer = Peer::connect_and_greet(agent).await;
    assert_allowed(&mut early_peer, &session).await;
    curfew.signal("TERM");
    eventually("Curfew is draining", async || {
        curfew.get_ops("/readyz").await.0 == 503
    })
    .await;
    let mut health_peer = Peer::connect(agent).await;
    let payload = encode_pairs(&[
        ("supported-versions", text_value("2.0")),
        ("max-frame-size", Value::Number(16_380)),
        ("capabilities", text_value("")),
        ("healthcheck", Value::True),
    ]);
    health_peer
        .send(&encode_frame(HAPROXY_HELLO, 1, (0, 0), &payload))
        .await;
    assert_eq!(health_peer.receive().await.unwrap().kind, AGENT_DISCONNECT);
    let mut late_peer = Peer::connect_and_greet(agent).await;
    for peer in [&mut early_peer, &mut late_peer] {
        assert_allowed(peer, &session).await;
        assert_eq!(peer.receive().await.unwrap().kind, AGENT_DISCONNECT);
        assert!(peer.receive().await.is_none());
    }
    curfew.stop().await;
}
