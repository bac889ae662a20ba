//! Clients that do not read answers or send too much cannot harm Curfew. On every listener, memory stays bounded, and
//! the client receives the answer that refuses its request.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::limits::resident_kib;
use crate::support::curfew::{Curfew, Setup, client};
use crate::support::eventually;

const CHECK: &str = "GET /auth-request HTTP/1.1\r\nhost: a\r\nx-original-url: https://app.example.com/\r\n\
                     x-original-method: GET\r\n\r\n";

/// Returns the name and address of each listener with HTTP/1.1, and its request with the largest answer.
fn http_listeners(curfew: &Curfew) -> [(&'static str, SocketAddr, &'static str); 4] {
    [
        ("check", curfew.check, CHECK),
        (
            "browser",
            curfew.browser,
            "GET /.curfew/warning.js HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        (
            "admin",
            curfew.admin,
            "GET /api/v1/openapi.json HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        (
            "ops",
            curfew.ops,
            "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
    ]
}

/// If a client pipelines requests and reads no answer, Curfew stops reading its requests.
#[tokio::test]
async fn a_client_that_does_not_read_takes_no_memory() {
    let curfew = Setup::memory().start();
    let session = curfew.sign_in("alice").await;
    for (name, address, request) in http_listeners(&curfew) {
        let before_kib = resident_kib(&curfew);
        let mut stream = TcpStream::connect(address).await.unwrap();
        let chunk = request.repeat(500);
        let mut sent = 0;
        // Writes requests until Curfew reads no more.
        while sent < 100 << 20 {
            let writing = stream.write_all(chunk.as_bytes());
            match tokio::time::timeout(Duration::from_secs(2), writing).await {
                Ok(Ok(())) => sent += chunk.len(),
                _ => break,
            }
        }
        let growth_kib = resident_kib(&curfew).saturating_sub(before_kib);
        println!(
            "{name}: {} KiB of requests accepted, memory grew by {growth_kib} KiB",
            sent >> 10
        );
        assert!(sent < 32 << 20, "{name}: Curfew accepted {sent} bytes");
        assert!(
            growth_kib < 16 << 10,
            "{name}: memory grew by {growth_kib} KiB"
        );
        assert_eq!(curfew.check(&session).await.0, 200);
    }
}

/// An HTTP/2 client opens as many HTTP/2 streams as the listener allows, and reads no answers.
#[tokio::test]
async fn an_http_2_client_that_does_not_read_takes_no_memory() {
    let curfew = Setup::memory().start();
    for (name, address, request) in http_listeners(&curfew) {
        let before_kib = resident_kib(&curfew);
        let path = request.split(' ').nth(1).unwrap();
        let mut pending_answers = Vec::new();
        for _ in 0..20 {
            let stream = TcpStream::connect(address).await.unwrap();
            let mut builder = h2::client::Builder::new();
            let (mut send, connection) = builder
                .initial_window_size(0)
                .handshake::<_, bytes::Bytes>(stream)
                .await
                .unwrap();
            tokio::spawn(connection);
            for _ in 0..200 {
                let request = http::Request::get(format!("http://a{path}"))
                    .body(())
                    .unwrap();
                let ready = tokio::time::timeout(Duration::from_millis(200), send.ready()).await;
                let Ok(Ok(ready)) = ready else { break };
                send = ready;
                let Ok((answer, _)) = send.send_request(request, true) else {
                    break;
                };
                pending_answers.push(answer);
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let growth_kib = resident_kib(&curfew).saturating_sub(before_kib);
        println!(
            "{name}: {} requests, memory grew by {growth_kib} KiB",
            pending_answers.len()
        );
        assert!(
            growth_kib < 96 << 10,
            "{name}: memory grew by {growth_kib} KiB with 20 connections"
        );
    }
}

/// Sends `request`, and reads everything until the connection closes.
async fn send_and_read_all(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(10), reading).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn every_refusal_reaches_the_client() {
    let curfew = Setup::memory().start();
    let many_headers: String = (0..200)
        .map(|number| format!("x-{number}: x\r\n"))
        .collect();
    let large_header = format!("x: {}\r\n", "y".repeat(200_000));
    for (name, address, valid_request) in http_listeners(&curfew) {
        for (head, status) in [
            (
                format!("GET / HTTP/1.1\r\nhost: a\r\n{many_headers}\r\n"),
                "431",
            ),
            (
                format!("GET / HTTP/1.1\r\nhost: a\r\n{large_header}\r\n"),
                "431",
            ),
            ("GET / HTTP/1.1\r\nhost a\r\n\r\n".to_owned(), "400"),
            ("nonsense\r\n\r\n".to_owned(), "400"),
        ] {
            let answer = send_and_read_all(address, head.as_bytes()).await;
            let expected = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&expected), "{name} {head:.40}: {answer}");
            // The client also receives the refusal if it sends a complete request first.
            let two_requests = format!("{valid_request}{head}");
            let answer = send_and_read_all(address, two_requests.as_bytes()).await;
            assert!(answer.contains(&expected), "{name} {head:.40}: {answer}");
        }
        // Curfew answers a complete request even if the head of the next request is incomplete.
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(format!("{valid_request}G").as_bytes())
            .await
            .unwrap();
        let mut bytes = [0; 9];
        let reading = tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut bytes));
        reading.await.unwrap().unwrap();
        assert_eq!(&bytes, b"HTTP/1.1 ", "{name}");
    }
}

/// Some proxies send the client's body with the check, but the body does not change the answer.
#[tokio::test]
async fn the_body_of_a_check_is_read_and_ignored() {
    let curfew = Setup::memory().start();
    let session = curfew.sign_in("alice").await;
    let client = client();
    for size in [50_000, 2_000_000, 20_000_000] {
        for (path, cookie, status) in [
            ("/auth-request", session.cookie(), 200),
            ("/forward-auth", session.cookie(), 200),
            ("/ext-authz/a", session.cookie(), 200),
            ("/auth-request", "a=b".to_owned(), 401),
            ("/nonesuch", "a=b".to_owned(), 404),
        ] {
            let prefix = if path.starts_with("/auth") {
                "original"
            } else {
                "forwarded"
            };
            let request = client
                .post(format!("http://{}{path}", curfew.check))
                .header("cookie", cookie)
                .header(format!("x-{prefix}-method"), "POST")
                .header("x-original-url", "https://app.example.com/")
                .header("host", "app.example.com")
                .body("x".repeat(size));
            let request = match prefix {
                "forwarded" => request
                    .header("x-forwarded-host", "app.example.com")
                    .header("x-forwarded-uri", "/"),
                _ => request,
            };
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), status, "{path} {size}");
        }
    }
    // If the body is larger than the drain limit (the number of bytes that Curfew reads and discards), the client still
    // receives the answer, and the connection closes.
    let head = CHECK.replace("\r\n\r\n", "\r\ncontent-length: 100000000\r\n\r\n");
    let mut stream = TcpStream::connect(curfew.check).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let sending = async {
        let chunk = vec![b'x'; 1 << 20];
        for _ in 0..100 {
            if writer.write_all(&chunk).await.is_err() {
                break;
            }
        }
    };
    let mut answer = [0; 13];
    let (_, read) = tokio::join!(
        tokio::time::timeout(Duration::from_secs(20), sending),
        reader.read_exact(&mut answer)
    );
    read.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401 ");
}

#[tokio::test]
async fn unknown_methods_are_answered() {
    let curfew = Setup::memory().start();
    let session = curfew.sign_in("alice").await;
    for (name, address, _) in http_listeners(&curfew) {
        for request in [
            "CONNECT app.example.com:443 HTTP/1.1\r\nhost: app.example.com:443\r\n\r\n",
            "BREW / HTTP/1.1\r\nhost: a\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
            "TRACE / HTTP/1.1\r\nhost: a\r\n\r\n",
        ] {
            let request = request.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
            let answer = send_and_read_all(address, request.as_bytes()).await;
            let status = answer.get(9..12).unwrap_or_default();
            assert!(
                ["303", "400", "401", "404", "405"].contains(&status),
                "{name} {request}: {answer}"
            );
        }
    }
    // Curfew reads the method of the request from `X-Original-Method`, so the method of the check itself does not
    // matter.
    let request = CHECK.replace("GET /", "BREW /").replace(
        "\r\n\r\n",
        &format!(
            "\r\ncookie: {}\r\nconnection: close\r\n\r\n",
            session.cookie()
        ),
    );
    let answer = send_and_read_all(curfew.check, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn forged_tokens_do_not_fill_the_log() {
    let curfew = Setup::memory().set("LOG__FILTER", "info").start();
    for _ in 0..3_000 {
        let (status, reason) = curfew.check_with_cookie("__Host-session=cfw1_forged").await;
        assert_eq!((status, &*reason), (401, "invalid_credential"));
    }
    let aggregated_count = || {
        let aggregated = curfew.audit_events("denials.aggregated");
        aggregated
            .iter()
            .map(|event| event["curfew.denials.count"].as_u64().unwrap())
            .sum::<u64>()
    };
    let single_count = || curfew.audit_events("session.denied").len() as u64;
    eventually("the events count all denials", async || {
        aggregated_count() + single_count() == 3_000
    })
    .await;
    let (events, single_count_at_end) = (curfew.audit_events("denials.aggregated"), single_count());
    // Curfew writes at most ten `session.denied` events a second, and then one event for all further denials.
    assert!(
        single_count_at_end <= 10 * (events.len() as u64 + 2),
        "{single_count_at_end} single denials, {} events with aggregated denials",
        events.len()
    );
    let event = &events[0];
    assert_eq!(event["event.reason"], "invalid_credential");
    assert_eq!(event["url.domain"], "app.example.com");
    assert!(event["curfew.denials.first"].as_str() <= event["curfew.denials.last"].as_str());
}
