//! Curfew disconnects a client that exceeds a limit, but other clients are not affected. Each open request takes a
//! permit (the right to be answered), and a listener has a fixed number of permits.

use std::net::SocketAddr;

use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::curfew::{Curfew, Setup, client};
use crate::support::redis::RedisServer;
use curfew::clock::Stopwatch;

use crate::support::eventually;

/// Connects, and returns the connection if it stays open. Curfew closes a refused connection at once.
async fn connect_if_accepted(address: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let mut byte = [0];
    let reading = stream.read(&mut byte);
    let closed = tokio::time::timeout(std::time::Duration::from_millis(300), reading).await;
    closed.is_err().then_some(stream)
}

async fn refused_connections(curfew: &Curfew, listener: &str) -> u64 {
    fetch_metric(curfew, "curfew_connections_refused_total", listener).await
}

async fn fetch_metric(curfew: &Curfew, name: &str, listener: &str) -> u64 {
    let (_, metrics) = curfew.get_ops("/metrics").await;
    let name = format!("{name}{{listener=\"{listener}\"}} ");
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
        // A proxy keeps this connection open.
        let proxy = client();
        if listener == "check" {
            let url = format!("http://{address}/auth-request");
            assert_eq!(proxy.get(&url).send().await.unwrap().status(), 401);
        }
        let remaining = if listener == "check" { 4 } else { 5 };
        let mut held_open = Vec::new();
        for _ in 0..remaining {
            held_open.push(connect_if_accepted(address).await.unwrap());
        }
        for _ in 0..3 {
            assert!(connect_if_accepted(address).await.is_none(), "{listener}");
        }
        assert_eq!(
            refused_connections(&curfew, listener).await,
            3,
            "{listener}"
        );
        // Open connections and other listeners are not affected.
        if listener == "check" {
            let url = format!("http://{address}/auth-request");
            let request = proxy.get(&url).header("cookie", session.cookie());
            let request = request
                .header("x-original-url", "https://app.example.com/")
                .header("x-original-method", "GET");
            assert_eq!(request.send().await.unwrap().status(), 200);
        }
        assert_eq!(curfew.get_ops("/readyz").await.0, 200);
        assert_eq!(curfew.fetch_session(&session).await["state"], "live");
        held_open.pop();
        eventually("a connection is accepted again", async || {
            connect_if_accepted(address).await.is_some()
        })
        .await;
        drop(proxy);
    }
    let warnings = curfew.log().matches("connection limit reached").count();
    assert!(
        (3..=6).contains(&warnings),
        "{warnings} warnings; each listener should have only a few, not one for each connection"
    );
}

/// A rapid reset attack (CVE-2023-44487) closes the attacker's connection, and affects no other client.
#[tokio::test]
async fn rapid_resets_close_the_connection() {
    let curfew = Setup::memory().start();
    let session = curfew.sign_in("alice").await;
    for address in [curfew.check, curfew.grpc.unwrap()] {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
        let ended = tokio::spawn(connection);
        let mut is_refused = false;
        for _ in 0..20_000 {
            let request = Request::get("http://a/auth-request").body(()).unwrap();
            let Ok(ready) = send.clone().ready().await else {
                is_refused = true;
                break;
            };
            send = ready;
            let Ok((_, mut body)) = send.send_request(request, false) else {
                is_refused = true;
                break;
            };
            body.send_reset(h2::Reason::CANCEL);
            tokio::task::yield_now().await;
        }
        assert!(
            is_refused,
            "the connection survived 20,000 resets at {address}"
        );
        // The client may see the error ENHANCE_YOUR_CALM, or only the closed connection.
        ended.await.unwrap().unwrap_err();
        assert_eq!(curfew.check(&session).await.0, 200);
    }
}

/// Curfew closes the connection if a request head is too large, because of a long header or of many headers.
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
            // Writes may succeed for a while after the peer has closed.
            while sent < 64 << 20 && stream.write_all(chunk.as_bytes()).await.is_ok() {
                sent += chunk.len();
            }
            assert!(sent < 8 << 20, "Curfew accepted {sent} bytes at {address}");
        }
    }
    assert_eq!(curfew.check(&session).await.0, 200);
}

/// While Redis hangs, Curfew answers excess requests with 503 at once, and not after their timeout.
#[tokio::test]
async fn excess_requests_are_shed_at_once() {
    let redis = RedisServer::start();
    let curfew = Setup::redis(&redis.url())
        .set("STORE__COMMAND_TIMEOUT", "5s")
        .set("STORE__CHECK_TIMEOUT", "5s")
        .set("STORE__NEAR_CACHE_SESSIONS", "0")
        .set("LISTEN__MAX_IN_FLIGHT", "3")
        .start();
    let curfew = std::sync::Arc::new(curfew);
    let session = curfew.sign_in("alice").await;
    let cookie = session.cookie();
    assert_eq!(curfew.check(&session).await.0, 200);
    redis.freeze();
    let mut held_open = Vec::new();
    for _ in 0..3 {
        let (curfew, cookie) = (std::sync::Arc::clone(&curfew), cookie.clone());
        held_open.push(tokio::spawn(async move {
            curfew.check_with_cookie(&cookie).await
        }));
    }
    eventually("three checks wait", async || {
        fetch_metric(&curfew, "curfew_requests_in_flight", "check").await == 3
    })
    .await;
    let stopwatch = Stopwatch::start();
    let overloaded = (503, "overloaded".to_owned());
    for cookie in [&*cookie, "session=forged", ""] {
        assert_eq!(curfew.check_with_cookie(cookie).await, overloaded);
    }
    // Browsers have a separate listener.
    let url = format!("http://{}/.curfew/warning.js", curfew.browser);
    assert_eq!(client().get(&url).send().await.unwrap().status(), 200);
    assert!(
        stopwatch.seconds() < 4.0,
        "the answers took {} s",
        stopwatch.seconds()
    );
    // Other listeners have separate limits.
    assert_eq!(curfew.get_ops("/livez").await.0, 200);
    assert_eq!(curfew.call("GET", "/api/v1/policies", None).await.0, 200);
    redis.thaw();
    for check in held_open {
        let (status, reason) = check.await.unwrap();
        assert!(
            status == 200 || reason == "store_unavailable",
            "{status} {reason}"
        );
    }
    eventually("checks are allowed again", async || {
        curfew.check(&session).await.0 == 200
    })
    .await;
    assert_eq!(
        fetch_metric(&curfew, "curfew_requests_in_flight", "check").await,
        0
    );
    assert_eq!(
        fetch_metric(&curfew, "curfew_requests_shed_total", "check").await,
        3
    );
    let warnings = curfew.log().matches("request limit reached").count();
    assert_eq!(warnings, 1);
    // No session ended.
    assert_eq!(curfew.fetch_session(&session).await["state"], "live");
}

/// Slow uploads of notices take no permits from other requests, because notices have a few permits of their own.
#[tokio::test]
async fn slow_uploads_take_no_permit_of_other_requests() {
    let curfew = Setup::memory().set("LISTEN__MAX_IN_FLIGHT", "32").start();
    let session = curfew.sign_in("alice").await;
    let mut held_open = Vec::new();
    for path in ["/oidc/backchannel-logout", "/ssf/events"]
        .iter()
        .cycle()
        .take(40)
    {
        let mut stream = TcpStream::connect(curfew.browser).await.unwrap();
        let request_text = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n");
        stream.write_all(request_text.as_bytes()).await.unwrap();
        held_open.push(stream);
    }
    eventually("two requests wait", async || {
        fetch_metric(&curfew, "curfew_requests_shed_total", "browser").await == 38
    })
    .await;
    assert_eq!(curfew.check(&session).await.0, 200);
    for _ in 0..40 {
        let request = client().get(format!("http://{}/.curfew/session", curfew.browser));
        let answer = request.header("cookie", session.cookie()).send().await;
        assert_eq!(answer.unwrap().status(), 200);
    }
}

/// An answer keeps its permit (one of a fixed number for each listener) until the client has read it.
#[tokio::test]
async fn unread_answers_hold_permits() {
    let curfew = Setup::memory().set("LISTEN__MAX_IN_FLIGHT", "20").start();
    let stream = TcpStream::connect(curfew.ops).await.unwrap();
    let mut builder = h2::client::Builder::new();
    let (mut send, connection) = builder
        .initial_window_size(0)
        .handshake::<_, bytes::Bytes>(stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut held_open = Vec::new();
    let mut busy_count = 0;
    for _ in 0..50 {
        let request = Request::get("http://a/metrics").body(()).unwrap();
        send = send.ready().await.unwrap();
        let (answer, _) = send.send_request(request, true).unwrap();
        let answer = answer.await.unwrap();
        busy_count += usize::from(answer.status() == 503);
        held_open.push(answer);
    }
    assert_eq!(busy_count, 30);
    let url = format!("http://{}/livez", curfew.ops);
    assert_eq!(client().get(&url).send().await.unwrap().status(), 200);
    drop(held_open);
    eventually("the listener answers again", async || {
        curfew.get_ops("/readyz").await.0 == 200
    })
    .await;
}

/// Returns the resident memory of the process in KiB.
pub fn resident_kib(curfew: &Curfew) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", curfew.process_id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

/// Each call with an incomplete message takes a permit, and the listener has a fixed number of permits. If no permit is
/// free, Curfew does not read the message of a call.
#[tokio::test]
async fn incomplete_messages_take_bounded_memory() {
    let curfew = Setup::memory().set("LISTEN__MAX_IN_FLIGHT", "100").start();
    let before_kib = resident_kib(&curfew);
    let mut held_open = Vec::new();
    for _ in 0..20 {
        let stream = TcpStream::connect(curfew.grpc.unwrap()).await.unwrap();
        let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..50 {
            let request = Request::post("http://a/envoy.service.auth.v3.Authorization/Check")
                .header("content-type", "application/grpc")
                .body(())
                .unwrap();
            send = send.ready().await.unwrap();
            let (answer, mut body) = send.send_request(request, false).unwrap();
            // This is half of a message with 100,000 bytes.
            let half_request = [&[0, 0, 1, 134, 160][..], &[b'x'; 50_000]].concat();
            // Sending fails if Curfew has already answered the call.
            let _ = body.send_data(half_request.into(), false);
            held_open.push((answer, body));
        }
    }
    eventually("all permits are taken", async || {
        fetch_metric(&curfew, "curfew_requests_in_flight", "grpc").await == 100
            && fetch_metric(&curfew, "curfew_requests_shed_total", "grpc").await == 900
    })
    .await;
    let growth_kib = resident_kib(&curfew).saturating_sub(before_kib);
    assert!(growth_kib < 48 << 10, "memory grew by {growth_kib} KiB");
    drop(held_open);
    eventually("all permits are free", async || {
        fetch_metric(&curfew, "curfew_requests_in_flight", "grpc").await == 0
    })
    .await;
}

/// Large cookies, incomplete heads and missing bodies take no more memory than the limits allow.
#[tokio::test]
async fn memory_stays_bounded() {
    let curfew = Setup::memory()
        .set("LISTEN__MAX_CONNECTIONS", "200")
        .start();
    let session = curfew.sign_in("alice").await;
    let current_kib = || resident_kib(&curfew);
    let before_kib = current_kib();
    let large_cookie = format!("a={}", "x".repeat(60 << 10));
    let half_request =
        format!("GET /auth-request HTTP/1.1\r\nhost: a\r\ncookie: {large_cookie}\r\n");
    let whole_request = format!(
        "POST /oidc/backchannel-logout HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\ncookie: {large_cookie}\r\n\r\na=b"
    );
    for (listener, address, request_text) in [
        ("check", curfew.check, &half_request),
        ("browser", curfew.browser, &whole_request),
    ] {
        let mut held_open = Vec::new();
        for _ in 0..400 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // Writing fails if Curfew has closed this connection because of the limit.
            let _ = stream.write_all(request_text.as_bytes()).await;
            held_open.push(stream);
        }
        let growth_kib = current_kib().saturating_sub(before_kib);
        assert!(
            growth_kib < 96 << 10,
            "memory grew by {growth_kib} KiB with 200 connections"
        );
        drop(held_open);
        eventually("a connection is accepted again", async || {
            fetch_metric(&curfew, "curfew_connections", listener).await < 20
        })
        .await;
        assert_eq!(curfew.check(&session).await.0, 200);
    }
    for _ in 0..2000 {
        assert_eq!(
            curfew.check_with_cookie(&large_cookie).await.1,
            "no_credential"
        );
    }
    let growth_kib = current_kib().saturating_sub(before_kib);
    assert!(
        growth_kib < 96 << 10,
        "memory grew by {growth_kib} KiB after large cookies"
    );
}
