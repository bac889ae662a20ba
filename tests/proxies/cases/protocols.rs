//! WebSocket, event streams, gRPC and protocol upgrades.

use tokio::io::AsyncWriteExt;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::Harness;
use crate::web_socket::{exchange, open, read_until, web_socket_lines};

pub async fn web_socket(harness: &mut Harness) {
    let html = "Accept: text/html\r\n";
    let upgrade = web_socket_lines("websocket");
    for header_lines in ["", html, "Cookie: __Host-session=x\r\n"] {
        let lines = format!("{upgrade}{header_lines}");
        let (_, answer) = open(harness.proxy.address, "/socket", &lines).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        harness.assert_application_not_reached();
    }
    let session = harness.curfew.sign_in("alice").await;
    harness.tap.take();
    let lines = format!("{upgrade}Cookie: {}\r\n", session.cookie());
    let (mut stream, answer) = open(harness.proxy.address, "/socket", &lines).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let backend_request = harness.backend.take_one();
    assert_eq!(backend_request.header_values("x-session-user"), ["alice"]);
    let (_, check_bytes) = harness.tap.take();
    assert!(!String::from_utf8_lossy(&check_bytes).contains(" 101 "));
    for _ in 0..2 {
        exchange(&mut stream).await;
    }
}

/// If a proxy forwarded an upgrade to h2c, a client could send later requests through this connection without a
/// check.
pub async fn no_other_upgrade(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    for target in ["/private", "/sign-in"] {
        for upgrade in ["h2c", "H2C", "websocket, h2c", "h2c, websocket"] {
            let mut stream = harness.connect().await;
            let request = format!(
                "GET {target} HTTP/1.1\r\nHost: app.example.com\r\nCookie: {}\r\n\
                 Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\n\
                 HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
                session.cookie()
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let answer = read_until(&mut stream, "\r\n\r\n").await;
            assert!(!answer.contains(" 101 "), "upgraded to {upgrade}: {answer}");
            for backend_request in harness.backend.take() {
                assert!(
                    !backend_request.headers.contains_key("upgrade"),
                    "{backend_request:?}"
                );
            }
        }
    }
}

pub async fn event_stream(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    let mut stream = harness.connect().await;
    let request = format!(
        "GET /events HTTP/1.1\r\nHost: app.example.com\r\nAccept: text/event-stream\r\nCookie: {}\r\n\r\n",
        session.cookie()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, "data: 1\n\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // The backend writes the second event after the client has read the first.
    harness.backend.send_second_event();
    read_until(&mut stream, "data: 2\n\n").await;
    harness.backend.take_one();
    let answer = harness
        .send("GET", "/events", &[("accept", "text/event-stream")])
        .await;
    harness.assert_denied(&answer, "no_credential");
}

pub async fn grpc_denial(harness: &mut Harness) {
    let url = format!("http://{}", harness.proxy.http2);
    let channel = tonic::transport::Endpoint::from_shared(url)
        .unwrap()
        .origin("http://app.example.com".parse().unwrap())
        .connect()
        .await
        .unwrap();
    let mut client = HealthClient::new(channel);
    let status = client
        .check(HealthCheckRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unauthenticated, "{status:?}");
    harness.assert_application_not_reached();
}
