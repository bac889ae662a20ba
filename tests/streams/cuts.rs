//! Streams through the proxy listener end with their session.

use std::time::Duration;

use bytes::Bytes;
use curfew::clock::Stopwatch;
use http::Request;
use http_body_util::BodyExt;
use hyper::ext::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::application::TargetKind;
use crate::cells::{Cells, body};
use crate::fronts::Front;
use crate::support::curfew::Setup;
use crate::support::redis::RedisServer;
use crate::websocket::{exchange, open, open_with, read_end};

#[tokio::test]
async fn a_websocket_ends_with_its_session() {
    let cells = Cells::start().await;
    let mut sockets = Vec::new();
    for cell in cells.all().filter(|cell| cell.kind != TargetKind::H2c) {
        for upgrade in ["websocket", "WebSocket"] {
            let mut socket = open(&cell, upgrade).await;
            exchange(&mut socket).await;
            sockets.push((cell.name(), socket));
        }
    }
    let path = format!("/api/v1/sessions/{}", cells.session.id);
    let (_, shown) = cells.curfew.call("GET", &path, None).await;
    let streams = shown["streams"].as_array().unwrap();
    assert_eq!(streams.len(), sockets.len(), "{shown}");
    assert_eq!(streams[0]["kind"], "websocket");
    assert_eq!(streams[0]["path"], "/ws");
    assert_eq!(streams[0]["bytes_from_client"], 8);
    cells.curfew.revoke(&cells.session).await;
    for (name, socket) in &mut sockets {
        assert_eq!(read_end(socket).await, b"\x88\x09\x03\xf0revoked", "{name}");
    }
    let cuts = cells
        .curfew
        .wait_for_audit_events("stream.cut", sockets.len())
        .await;
    for cut in &cuts {
        assert_eq!(cut["event.reason"], "revoked");
        assert_eq!(cut["curfew.stream.kind"], "websocket");
        assert_eq!(cut["curfew.session.id"], cells.session.id.as_str());
        assert_eq!(cut["user.id"], "alice");
        assert_eq!(cut["url.path"], "/ws");
    }
    let (_, metrics) = cells.curfew.get_ops("/metrics").await;
    let line = format!(
        "curfew_streams_cut_total{{reason=\"revoked\"}} {}",
        sockets.len()
    );
    assert!(metrics.contains(&line), "{metrics}");
    assert!(
        metrics.contains("curfew_streams_open{kind=\"websocket\"} 0"),
        "{metrics}"
    );
}

#[tokio::test]
async fn an_upgrade_to_an_application_with_only_http_2_is_refused() {
    let cells = Cells::start().await;
    for cell in cells.all().filter(|cell| cell.kind == TargetKind::H2c) {
        let request = match cell.front {
            Front::Http1 => cell
                .request("GET", "/ws")
                .header("connection", "Upgrade")
                .header("upgrade", "websocket"),
            Front::Http2 => cell
                .request("CONNECT", "/ws")
                .extension(Protocol::from_static("websocket")),
        };
        let request: Request<_> = request.body(body("")).unwrap();
        let response = cell.front.send(cells.proxy, request).await;
        assert_eq!(response.status(), 501, "{}", cell.name());
    }
}

/// Requests on such a connection would bypass the checks.
#[tokio::test]
async fn an_upgrade_to_another_version_of_http_never_reaches_the_application() {
    let cells = Cells::start().await;
    for protocol in ["h2c", "H2C", "HTTP/2.0", "TLS/1.0", "websocket, h2c"] {
        for cell in cells.all() {
            let (request, expected) = match cell.front {
                Front::Http1 => {
                    let request = cell
                        .request("GET", "/ok")
                        .header("connection", "Upgrade, HTTP2-Settings")
                        .header("http2-settings", "AAMAAABkAAQAAP__")
                        .header("upgrade", protocol);
                    (request, 200)
                }
                Front::Http2 => {
                    let request = cell.request("CONNECT", "/ok");
                    (request.extension(Protocol::from_static(protocol)), 501)
                }
            };
            let received = &cell.application.received;
            received.lock().unwrap().clear();
            let request: Request<_> = request.body(body("")).unwrap();
            let response = cell.front.send(cells.proxy, request).await;
            let name = cell.name();
            assert_eq!(response.status(), expected, "{name} {protocol}");
            let received = received.lock().unwrap();
            assert_eq!(
                received.len(),
                usize::from(expected == 200),
                "{name} {protocol}"
            );
            for (head, ..) in received.iter() {
                for header in ["connection", "upgrade", "http2-settings"] {
                    assert!(
                        !head.headers.contains_key(header),
                        "{name} {protocol} {header}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn an_event_stream_ends_with_its_session_and_the_reason() {
    let policy = "policies: {default: {idle: 15m, stream_end_event: true}}";
    let cells = Cells::start_with(Setup::memory(), policy).await;
    let mut open = Vec::new();
    for cell in cells.all() {
        let request = cell.request("GET", "/events").body(body("")).unwrap();
        let mut response = cell.front.send(cells.proxy, request).await;
        let first = response.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), Bytes::from("data: x\n\n"));
        open.push((cell.name(), response));
    }
    cells.curfew.revoke(&cells.session).await;
    for (name, response) in open {
        let rest = response.into_body().collect().await.unwrap().to_bytes();
        let rest = String::from_utf8(rest.to_vec()).unwrap();
        let expected = "event: session-ended\ndata: {\"reason\":\"revoked\"}\n\n";
        assert!(rest.ends_with(expected), "{name}: {rest}");
    }
}

#[tokio::test]
async fn a_stream_ends_when_another_replica_ends_its_session() {
    let redis = RedisServer::start();
    let setup = Setup::redis(&redis.url());
    let cells = Cells::start_with(setup.clone(), "").await;
    let other = setup.start();
    let mut sockets = Vec::new();
    for cell in cells.all().filter(|cell| cell.kind == TargetKind::Http) {
        sockets.push(open(&cell, "websocket").await);
    }
    // The near cache and the subscription have started.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let session = &cells.session;
    let path = format!("/api/v1/sessions/{}", session.id);
    let (status, _) = other.call("DELETE", &path, None).await;
    assert!(status.is_success(), "{status}");
    for socket in &mut sockets {
        assert_eq!(read_end(socket).await, b"\x88\x09\x03\xf0revoked");
    }
}

#[tokio::test]
async fn an_idle_limit_ends_a_websocket_without_a_request() {
    let policy = "policies: {default: {idle: 3s, absolute: 1h}}";
    let cells = Cells::start_with(Setup::memory(), policy).await;
    let cell = cells.all().next().unwrap();
    let mut socket = open(&cell, "websocket").await;
    exchange(&mut socket).await;
    assert_eq!(read_end(&mut socket).await, b"\x88\x0e\x03\xf0idle_timeout");
}

#[tokio::test]
async fn data_of_the_client_keeps_the_session_alive_where_the_policy_says_so() {
    let policy = "policies: {default: {idle: 3s, absolute: 1h, stream_activity: client_data}}";
    let cells = Cells::start_with(Setup::memory(), policy).await;
    let cell = cells.all().next().unwrap();
    let mut socket = open(&cell, "websocket").await;
    for _ in 0..20 {
        exchange(&mut socket).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // Pings do not count.
    for _ in 0..20 {
        if socket.write_all(b"\x89\x80mask").await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let end = read_end(&mut socket).await;
    assert!(end.ends_with(b"\x88\x0e\x03\xf0idle_timeout"), "{end:?}");
}

#[tokio::test]
async fn a_reload_keeps_open_streams() {
    let cells = Cells::start().await;
    let cell = cells.all().next().unwrap();
    let mut socket = open(&cell, "websocket").await;
    cells.curfew.signal("HUP");
    crate::support::eventually("the configuration is reloaded", async || {
        cells.curfew.log().contains("configuration reloaded")
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    exchange(&mut socket).await;
}

/// The client reads nothing after the head, so the end of the answer cannot be written.
#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected() {
    let cells = Cells::start().await;
    let mut client = tokio::net::TcpStream::connect(cells.proxy).await.unwrap();
    let cookie = cells.session.cookie();
    let request =
        format!("GET /endless HTTP/1.1\r\nhost: http.example.com\r\ncookie: {cookie}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    client.read_exact(&mut [0; 1000]).await.unwrap();
    // All buffers are full by then.
    tokio::time::sleep(Duration::from_secs(1)).await;
    cells.curfew.revoke(&cells.session).await;
    let cuts = cells.curfew.wait_for_audit_events("stream.cut", 1).await;
    assert_eq!(cuts[0]["curfew.stream.kind"], "transfer");
}

/// With one core, a task that never waits would block the whole process.
#[tokio::test]
async fn a_pause_of_redis_neither_blocks_curfew_nor_cuts_a_stream() {
    let redis = RedisServer::start();
    let setup = Setup::redis(&redis.url()).default_store_timeouts();
    let cells = Cells::start_with(setup.on_a_single_core(), "").await;
    let cell = cells.all().next().unwrap();
    let mut sockets = Vec::new();
    // More sessions than the supervisor reads at the same time.
    for number in 0..200 {
        let session = cells.curfew.sign_in(&format!("user-{number}")).await;
        let cookie = session.cookie();
        let socket = open_with(&cell, "/ws", "websocket", |mut request| {
            let headers = request.headers_mut().unwrap();
            headers.insert("cookie", cookie.parse().unwrap());
            request
        });
        sockets.push((session, socket.await));
    }
    let cpu = || {
        let stat = format!("/proc/{}/stat", cells.curfew.process_id());
        let stat = std::fs::read_to_string(stat).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let fields: Vec<u64> = fields.split(' ').filter_map(|it| it.parse().ok()).collect();
        // The fields after the state: user time and system time are the 11th and the 12th, in hundredths of a second.
        (fields[10] + fields[11]) as f64 / 100.0
    };
    redis.freeze();
    let (before, start) = (cpu(), Stopwatch::start());
    while start.seconds() < 10.0 {
        let answer = tokio::time::timeout(Duration::from_secs(20), cells.curfew.get_ops("/livez"));
        let (status, _) = answer
            .await
            .expect("Curfew must answer while Redis does not");
        assert_eq!(status, 200);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let used = cpu() - before;
    assert!(used < 5.0, "Curfew used {used} s of CPU time in 10 s");
    redis.thaw();
    for (session, socket) in &mut sockets {
        exchange(socket).await;
        cells.curfew.revoke(session).await;
        assert_eq!(read_end(socket).await, b"\x88\x09\x03\xf0revoked");
    }
}
