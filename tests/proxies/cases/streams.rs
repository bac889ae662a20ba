//! Streams that the proxy sends to Curfew's proxy listener end with their session.

use crate::harness::Harness;
use crate::web_socket::{exchange, is_from_curfew, open, read_rest, read_until, web_socket_lines};

pub async fn web_socket_ends(harness: &mut Harness) {
    harness.restart_with_streams().await;
    for upgrade in ["websocket", "WebSocket", "WEBSOCKET"] {
        for (age, reason) in [(None, "revoked"), (Some("15m"), "idle_timeout")] {
            let session = harness.curfew.sign_in("alice").await;
            let cookie = format!("Cookie: {}\r\n", session.cookie());
            let lines = web_socket_lines(upgrade) + &cookie;
            let (mut stream, head) = open(harness.proxy.address, "/socket", &lines).await;
            assert!(head.starts_with("HTTP/1.1 101 "), "{upgrade}: {head}");
            assert!(is_from_curfew(&harness.backend.take_one()), "{upgrade}");
            exchange(&mut stream).await;
            match age {
                None => harness.curfew.revoke(&session).await,
                Some(age) => harness.curfew.age(&session, age).await,
            }
            // A Close frame with the code 1008, a policy violation (RFC 6455, section 7.4.1).
            let length = u8::try_from(2 + reason.len()).unwrap();
            let close = [&[0x88, length, 0x03, 0xf0], reason.as_bytes()].concat();
            assert_eq!(read_rest(&mut stream).await, close, "{upgrade}");
            let (_, head) = open(harness.proxy.address, "/socket", &lines).await;
            assert!(head.starts_with("HTTP/1.1 401 "), "{upgrade}: {head}");
            harness.assert_application_not_reached();
        }
    }
    harness.restart_with_replacements(&[]).await;
}

pub async fn event_stream_ends(harness: &mut Harness) {
    harness.restart_with_streams().await;
    for accept in ["text/event-stream", "Text/Event-Stream;q=0.9, */*"] {
        let session = harness.curfew.sign_in("alice").await;
        let lines = format!("Accept: {accept}\r\nCookie: {}\r\n", session.cookie());
        let (mut stream, head) = open(harness.proxy.address, "/events", &lines).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{accept}: {head}");
        assert!(is_from_curfew(&harness.backend.take_one()), "{accept}");
        read_until(&mut stream, "data: 1\n\n").await;
        harness.curfew.revoke(&session).await;
        // The end of the chunked body. The connection stays open.
        read_until(&mut stream, "0\r\n\r\n").await;
        let (_, head) = open(harness.proxy.address, "/events", &lines).await;
        assert!(head.starts_with("HTTP/1.1 401 "), "{accept}: {head}");
        harness.assert_application_not_reached();
    }
    harness.restart_with_replacements(&[]).await;
}
