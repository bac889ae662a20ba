//! Tests the SPOE agent with a raw peer.

use curfew::clock::Stopwatch;

use crate::spop::*;
use crate::support::curfew::{Curfew, Setup, CreatedSession};
use crate::support::eventually;

fn start() -> Curfew {
    Setup::memory().set("LISTEN__SPOE", "127.0.0.1:0").start()
}

/// Returns the message that HAProxy sends with `deploy/haproxy/curfew-spoe.conf`.
fn check(lines: &[(&str, &str)]) -> Vec<u8> {
    let arguments = [
        ("method", text("GET")),
        ("scheme", text("https")),
        ("host", text("app.example.com")),
        ("path", text("/")),
        ("headers", headers(lines)),
        ("policy", Value::Null),
    ];
    message("check", &arguments)
}

/// Sends a check of the session, and asserts that the agent allows it.
async fn assert_allowed(peer: &mut Peer, session: &CreatedSession) {
    let check_message = check(&[("cookie", &session.cookie())]);
    peer.send(&frame(NOTIFY, 1, (7, 1), &check_message)).await;
    let ack = peer.receive().await.unwrap();
    assert_eq!((ack.kind, ack.ids), (ACK, (7, 1)));
    assert_eq!(ack.variables()["verdict"], text("allow"));
}

#[tokio::test]
async fn handshake_checks_and_disconnect() {
    let curfew = start();
    let session = curfew.sign_in("alice").await;
    let mut peer = Peer::connect(curfew.spoe.unwrap()).await;
    peer.send(&hello(16_380, "1.0,2.0")).await;
    let answer = peer.receive().await.unwrap();
    assert_eq!(answer.kind, AGENT_HELLO);
    let hello_pairs = answer.pairs();
    assert_eq!(hello_pairs["version"], text("2.0"));
    assert_eq!(hello_pairs["max-frame-size"], Value::Number(16_380));
    assert_eq!(hello_pairs["capabilities"], text("pipelining"));

    let cookie = session.cookie();
    peer.send(&frame(
        NOTIFY,
        1,
        (300, 4000),
        &check(&[("cookie", &cookie)]),
    ))
    .await;
    let ack = peer.receive().await.unwrap();
    assert_eq!((ack.kind, ack.ids), (ACK, (300, 4000)));
    let set = ack.variables();
    assert_eq!(set["verdict"], text("allow"));
    assert_eq!(set["status"], Value::Number(200));
    assert_eq!(set["user"], text("alice"));
    assert_eq!(set["id"], text(&session.id));

    let goodbye = pairs(&[("status-code", Value::Number(0)), ("message", text("bye"))]);
    peer.send(&frame(HAPROXY_DISCONNECT, 1, (0, 0), &goodbye))
        .await;
    let answer = peer.receive().await.unwrap();
    assert_eq!(answer.kind, AGENT_DISCONNECT);
    assert_eq!(answer.pairs()["status-code"], Value::Number(0));
    assert!(peer.receive().await.is_none());
    curfew.stop().await;
}

#[tokio::test]
async fn concurrent_checks_are_answered_separately() {
    let curfew = start();
    let mut peer = Peer::connect_and_greet(curfew.spoe.unwrap()).await;
    let mut sent = Vec::new();
    for number in 0..600 {
        let subject = format!("user-{}", number % 3);
        let session = match sent.get(number % 3) {
            Some(session) if number >= 3 => CreatedSession::clone(session),
            _ => {
                let session = curfew.sign_in(&subject).await;
                sent.push(session.clone());
                session
            }
        };
        let check_message = check(&[("cookie", &session.cookie())]);
        peer.send(&frame(NOTIFY, 1, (number as u64, 1), &check_message))
            .await;
    }
    for _ in 0..600 {
        let ack = peer.receive().await.unwrap();
        let subject = format!("user-{}", ack.ids.0 % 3);
        assert_eq!(ack.variables()["user"], text(&subject));
    }
}

#[tokio::test]
async fn a_health_check_is_answered_and_closed() {
    let curfew = start();
    let mut peer = Peer::connect(curfew.spoe.unwrap()).await;
    let payload = pairs(&[
        ("supported-versions", text("2.0")),
        ("max-frame-size", Value::Number(16_380)),
        ("capabilities", text("")),
        ("healthcheck", Value::True),
    ]);
    peer.send(&frame(HAPROXY_HELLO, 1, (0, 0), &payload)).await;
    assert_eq!(peer.receive().await.unwrap().kind, AGENT_HELLO);
    assert!(peer.receive().await.is_none());
}

/// The agent closes the connection with a protocol violation, and sends a reason. It closes no other connection.
#[tokio::test]
async fn a_protocol_violation_closes_the_connection() {
    let curfew = start();
    let agent = curfew.spoe.unwrap();
    let session = curfew.sign_in("alice").await;
    let mut bystander = Peer::connect_and_greet(agent).await;
    let no_versions = pairs(&[
        ("max-frame-size", Value::Number(16_380)),
        ("capabilities", text("")),
    ]);
    let good = check(&[("cookie", &session.cookie())]);
    for (what, greeted, bytes) in [
        (
            "a check before the greeting",
            false,
            frame(NOTIFY, 1, (1, 1), &good),
        ),
        ("a version we don't speak", false, hello(16_380, "1.0")),
        ("a frame size that is too small", false, hello(100, "2.0")),
        (
            "no versions",
            false,
            frame(HAPROXY_HELLO, 1, (0, 0), &no_versions),
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
        ("a second greeting", true, hello(16_380, "2.0")),
        ("an agent's frame", true, frame(ACK, 1, (1, 1), &[])),
        ("an unknown type", true, frame(77, 1, (1, 1), &[])),
        ("a fragment", true, frame(NOTIFY, 0, (1, 1), &good)),
        (
            "a message that is cut off",
            true,
            frame(NOTIFY, 1, (1, 1), &good[..good.len() - 5]),
        ),
        (
            "a message and noise",
            true,
            frame(NOTIFY, 1, (1, 1), &[&good[..], &[0xff; 9]].concat()),
        ),
    ] {
        let mut peer = if greeted {
            Peer::connect_and_greet(agent).await
        } else {
            Peer::connect(agent).await
        };
        peer.send(&bytes).await;
        let Some(answer) = peer.receive().await else {
            panic!("{what}: the agent closed the connection without a disconnect frame");
        };
        assert_eq!(answer.kind, AGENT_DISCONNECT, "{what}: {answer:?}");
        assert_ne!(answer.pairs()["status-code"], Value::Number(0), "{what}");
        assert!(peer.receive().await.is_none(), "{what}");
        assert_allowed(&mut bystander, &session).await;
    }
}

/// The checks before an invalid frame belong to other clients, so the agent answers them.
#[tokio::test]
async fn an_invalid_frame_fails_no_other_check() {
    let curfew = start();
    let session = curfew.sign_in("alice").await;
    let check_message = frame(NOTIFY, 1, (1, 1), &check(&[("cookie", &session.cookie())]));
    for broken in [
        frame(77, 1, (1, 1), &[]),
        frame(NOTIFY, 1, (2, 1), &[0xff; 9]),
    ] {
        for _ in 0..30 {
            let mut peer = Peer::connect_and_greet(curfew.spoe.unwrap()).await;
            peer.send(&[&check_message[..], &broken].concat()).await;
            let ack = peer.receive().await.unwrap();
            assert_eq!((ack.kind, ack.ids), (ACK, (1, 1)));
            assert_eq!(ack.variables()["verdict"], text("allow"));
            assert_eq!(peer.receive().await.unwrap().kind, AGENT_DISCONNECT);
        }
    }
}

#[tokio::test]
async fn unknown_messages_set_no_variables() {
    let curfew = start();
    let session = curfew.sign_in("alice").await;
    let mut peer = Peer::connect_and_greet(curfew.spoe.unwrap()).await;
    let other = message("log", &[("path", text("/"))]);
    peer.send(&frame(NOTIFY, 1, (1, 1), &other)).await;
    assert!(peer.receive().await.unwrap().variables().is_empty());
    // This frame has the unknown message and a known message.
    let both = [other, check(&[("cookie", &session.cookie())])].concat();
    peer.send(&frame(NOTIFY, 1, (2, 1), &both)).await;
    let set = peer.receive().await.unwrap().variables();
    assert_eq!(set["verdict"], text("allow"));
    // The agent denies a message without arguments.
    peer.send(&frame(NOTIFY, 1, (3, 1), &message("check", &[])))
        .await;
    let set = peer.receive().await.unwrap().variables();
    assert_eq!(set["verdict"], text("deny"));
    assert_eq!(set["reason"], text("malformed_request"));
}

#[tokio::test]
async fn headers_of_64_kilobytes_fit_in_one_frame() {
    let curfew = start();
    let session = curfew.sign_in("alice").await;
    let mut peer = Peer::connect_and_greet(curfew.spoe.unwrap()).await;
    let long = "x".repeat(64 * 1024);
    let check_message = check(&[("x-long", &long), ("cookie", &session.cookie())]);
    peer.send(&frame(NOTIFY, 1, (1, 1), &check_message)).await;
    let set = peer.receive().await.unwrap().variables();
    assert_eq!(set["verdict"], text("allow"));
}

#[tokio::test]
async fn an_oversized_answer_keeps_the_connection() {
    let curfew = start();
    let groups = ["x", "y", "z"].map(|group| group.repeat(1000));
    let groups = serde_json::json!({ "groups": groups });
    let long = curfew.sign_in_with("alice", groups).await;
    let short = curfew.sign_in("bob").await;
    let mut peer = Peer::connect(curfew.spoe.unwrap()).await;
    peer.send(&hello(1500, "2.0")).await;
    assert_eq!(peer.receive().await.unwrap().kind, AGENT_HELLO);
    for (id, session) in [(1, &long), (2, &short)] {
        let check_message = check(&[("cookie", &session.cookie())]);
        peer.send(&frame(NOTIFY, 1, (id, 1), &check_message)).await;
    }
    for _ in 0..2 {
        let ack = peer.receive().await.unwrap();
        match ack.ids.0 {
            1 => assert!(ack.variables().is_empty()),
            _ => assert_eq!(ack.variables()["user"], text("bob")),
        }
    }
}

#[tokio::test]
async fn stopping_disconnects_idle_peers() {
    let curfew = start();
    let session = curfew.sign_in("alice").await;
    let mut peer = Peer::connect_and_greet(curfew.spoe.unwrap()).await;
    let _silent = Peer::connect(curfew.spoe.unwrap()).await;
    assert_allowed(&mut peer, &session).await;
    let waited = Stopwatch::start();
    curfew.stop().await;
    assert!(waited.seconds() < 5.0, "{}", waited.seconds());
    let answer = peer.receive().await.unwrap();
    assert_eq!(answer.kind, AGENT_DISCONNECT);
    assert!(peer.receive().await.is_none());
}

/// While the process is draining, HAProxy's health checks fail, so HAProxy uses another server. The agent still
/// answers checks, and closes each connection after an answer.
#[tokio::test]
async fn draining_fails_health_checks_and_ends_connections_after_an_answer() {
    let curfew = Setup::memory()
        .set("LISTEN__SPOE", "127.0.0.1:0")
        .set("SHUTDOWN_DELAY", "3s")
        .start();
    let agent = curfew.spoe.unwrap();
    let session = curfew.sign_in("alice").await;
    let mut before = Peer::connect_and_greet(agent).await;
    assert_allowed(&mut before, &session).await;
    curfew.signal("TERM");
    eventually("Curfew is draining", async || {
        curfew.get_ops("/readyz").await.0 == 503
    })
    .await;
    let mut health = Peer::connect(agent).await;
    let payload = pairs(&[
        ("supported-versions", text("2.0")),
        ("max-frame-size", Value::Number(16_380)),
        ("capabilities", text("")),
        ("healthcheck", Value::True),
    ]);
    health
        .send(&frame(HAPROXY_HELLO, 1, (0, 0), &payload))
        .await;
    assert_eq!(health.receive().await.unwrap().kind, AGENT_DISCONNECT);
    let mut after = Peer::connect_and_greet(agent).await;
    for peer in [&mut before, &mut after] {
        assert_allowed(peer, &session).await;
        assert_eq!(peer.receive().await.unwrap().kind, AGENT_DISCONNECT);
        assert!(peer.receive().await.is_none());
    }
    curfew.stop().await;
}
