//! Who takes too much is cut off, and nobody else notices.

use std::net::SocketAddr;

use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::curfew::{Curfew, Setup, client};
use crate::support::eventually;

/// Whether a new connection is kept: one that is refused is closed at once.
async fn is_kept(address: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let mut byte = [0];
    let reading = stream.read(&mut byte);
    let closed = tokio::time::timeout(std::time::Duration::from_millis(300), reading).await;
    closed.is_err().then_some(stream)
}

async fn refused(curfew: &Curfew, listener: &str) -> u64 {
    let (_, metrics) = curfew.ops("/metrics").await;
    let name = format!("curfew_connections_refused_total{{listener=\"{listener}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn too_many_connections_are_closed_at_once() {
    let curfew = Setup::memory()
        .set("LISTEN__SPOE", "127.0.0.1:0")
        .set("LISTEN__MAX_CONNECTIONS", "5")
        .start();
    let session = curfew.sign_in("alice").await;
    for (listener, address) in [
        ("check", curfew.check),
        ("grpc", curfew.grpc.unwrap()),
        ("spoe", curfew.spoe.unwrap()),
    ] {
        // A proxy's connection, which it keeps.
        let proxy = client();
        if listener == "check" {
            let url = format!("http://{address}/auth-request");
            assert_eq!(proxy.get(&url).send().await.unwrap().status(), 401);
        }
        let room = if listener == "check" { 4 } else { 5 };
        let mut held = Vec::new();
        for _ in 0..room {
            held.push(is_kept(address).await.unwrap());
        }
        for _ in 0..3 {
            assert!(is_kept(address).await.is_none(), "{listener}");
        }
        assert_eq!(refused(&curfew, listener).await, 3, "{listener}");
        // Others go on: on the connection that there is, and on the other listeners.
        if listener == "check" {
            let url = format!("http://{address}/auth-request");
            let request = proxy.get(&url).header("cookie", session.cookie());
            let request = request
                .header("x-original-url", "https://app.example.com/")
                .header("x-original-method", "GET");
            assert_eq!(request.send().await.unwrap().status(), 200);
        }
        assert_eq!(curfew.ops("/readyz").await.0, 200);
        assert_eq!(curfew.show(&session).await["state"], "live");
        held.pop();
        eventually("there is room again", async || {
            is_kept(address).await.is_some()
        })
        .await;
        drop(proxy);
    }
    let warnings = curfew
        .log()
        .matches("there are too many connections")
        .count();
    assert!((3..=6).contains(&warnings), "{warnings}: not one for each");
}

/// Streams that are opened and reset at once (CVE-2023-44487) cost the connection, and nobody else.
#[tokio::test]
async fn rapid_resets_cost_the_connection() {
    let curfew = Setup::memory().start();
    let session = curfew.sign_in("alice").await;
    for address in [curfew.check, curfew.grpc.unwrap()] {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
        let ended = tokio::spawn(connection);
        let mut refused = false;
        for _ in 0..20_000 {
            let request = Request::get("http://a/auth-request").body(()).unwrap();
            let Ok(ready) = send.clone().ready().await else {
                refused = true;
                break;
            };
            send = ready;
            let Ok((_, mut body)) = send.send_request(request, false) else {
                refused = true;
                break;
            };
            body.send_reset(h2::Reason::CANCEL);
            tokio::task::yield_now().await;
        }
        assert!(refused, "it went on for 20,000 resets at {address}");
        // With ENHANCE_YOUR_CALM, where that was read before the end.
        ended.await.unwrap().unwrap_err();
        assert_eq!(curfew.check(&session).await.0, 200);
    }
}

/// A head that never ends is cut off at its limit, whatever it is made of.
#[tokio::test]
async fn endless_heads_are_cut_off() {
    let curfew = Setup::memory().start();
    let session = curfew.sign_in("alice").await;
    for address in [curfew.check, curfew.admin, curfew.ops] {
        for line in ["cookie: a=b; ", "x-a: b\r\n"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream
                .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n")
                .await
                .unwrap();
            let chunk = line.repeat(1000);
            let mut sent = 0;
            // It may be written to for a while after it was closed.
            while sent < 64 << 20 && stream.write_all(chunk.as_bytes()).await.is_ok() {
                sent += chunk.len();
            }
            assert!(sent < 8 << 20, "{sent} bytes were taken at {address}");
        }
    }
    assert_eq!(curfew.check(&session).await.0, 200);
}
