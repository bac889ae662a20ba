//! Open streams through the layer, over real connections.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Response as HttpResponse, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::actor::Actor;
use crate::policy::{Heartbeats, Policies, Rulebook, StreamActivity};
use crate::testing::policy_name;

/// An application with a WebSocket that returns all bytes, and an event stream that never ends.
async fn application(mut request: Request<Body>) -> Response {
    match request.uri().path() {
        "/ws" => {
            let live = request.extensions().get::<LiveSession>();
            assert!(live.is_some(), "the application must know the session");
            let is_connect = request.method() == Method::CONNECT;
            let upgrade = request.extensions_mut().remove::<OnUpgrade>().unwrap();
            tokio::spawn(async move {
                let stream = TokioIo::new(upgrade.await.unwrap());
                let (mut from, mut to) = tokio::io::split(stream);
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
            let response = HttpResponse::builder().status(match is_connect {
                true => StatusCode::OK,
                false => StatusCode::SWITCHING_PROTOCOLS,
            });
            let response = response
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .body(Body::empty());
            let mut response = response.unwrap();
            if is_connect {
                response.headers_mut().clear();
            }
            response
        }
        "/events" => {
            let events = stream::unfold((), async |()| {
                tokio::time::sleep(Duration::from_millis(10)).await;
                Some((Ok::<_, std::io::Error>("data: x\n\n"), ()))
            });
            let response = HttpResponse::builder().header("content-type", "text/event-stream");
            response.body(Body::from_stream(events)).unwrap()
        }
        "/offered" => {
            let is_offered = request.extensions().get::<OnUpgrade>().is_some();
            let has_extensions = request.headers().contains_key("sec-websocket-extensions");
            let response = HttpResponse::builder()
                .header("x-offered", is_offered.to_string())
                .header("x-extensions", has_extensions.to_string());
            response.body(Body::empty()).unwrap()
        }
        "/silent" => std::future::pending().await,
        _ => HttpResponse::new(Body::from("no upgrade")),
    }
}

/// Serves the protected application on a port of this machine.
async fn serve(fixture: &Fixture, is_http2: bool) -> SocketAddr {
    let contracts = fixture.contracts.clone();
    let layer = CurfewLayer::new(contracts.clone(), browser::router(contracts), true);
    let router = Router::new().fallback(any(application)).layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let router = router.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                router.clone().oneshot(request.map(Body::new))
            });
            tokio::spawn(async move {
                let stream = TokioIo::new(stream);
                if is_http2 {
                    let mut builder =
                        hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    builder.enable_connect_protocol();
                    let _ = builder.serve_connection(stream, service).await;
                } else {
                    let connection = hyper::server::conn::http1::Builder::new();
                    let connection = connection.serve_connection(stream, service);
                    let _ = connection.with_upgrades().await;
                }
            });
        }
    });
    address
}

impl Fixture {
    async fn revoke(&self) {
        let id = self.session_id();
        let revoked = self.bench.lifecycle.revoke(id, &Actor::CURFEW);
        revoked.await.unwrap();
    }
}

/// Sends a request over HTTP/1.1. Returns the connection and the head of the answer.
async fn request(
    fixture: &Fixture,
    address: SocketAddr,
    path: &str,
    lines: &str,
) -> (TcpStream, String) {
    let mut client = TcpStream::connect(address).await.unwrap();
    let cookie = fixture.cookie();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\n{lines}\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    (client, String::from_utf8(head).unwrap())
}

const UPGRADE: &str = "connection: Upgrade\r\nupgrade: WebSocket\r\n";

#[tokio::test]
async fn an_upgraded_connection_ends_with_its_session() {
    let fixture = Fixture::new().await;
    let address = serve(&fixture, false).await;
    let (mut client, head) = request(&fixture, address, "/ws", UPGRADE).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client.write_all(b"\x81\x82maskhi").await.unwrap();
    let mut echo = [0; 8];
    client.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"\x81\x82maskhi");
    fixture.revoke().await;
    let mut end = Vec::new();
    client.read_to_end(&mut end).await.unwrap();
    assert_eq!(end, b"\x88\x09\x03\xf0revoked");
    let (_, head) = request(&fixture, address, "/ws", UPGRADE).await;
    assert!(head.contains("\r\nx-session-reason: revoked\r\n"), "{head}");
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_answer() {
    let fixture = Fixture::new().await;
    let address = serve(&fixture, false).await;
    let (_, head) = request(&fixture, address, "/other", UPGRADE).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

/// The service would accept this upgrade, but the layer does not recognise it, and so cannot end it.
#[tokio::test]
async fn an_upgrade_that_the_layer_does_not_relay_is_not_offered_to_the_service() {
    let fixture = Fixture::new().await;
    let address = serve(&fixture, false).await;
    for lines in [
        "connection: upgrade;x\r\nupgrade: websocket\r\n",
        "connection: upgrade\r\nupgrade: h2c\r\n",
    ] {
        let (_, head) = request(&fixture, address, "/offered", lines).await;
        assert!(head.contains("\r\nx-offered: false\r\n"), "{lines}{head}");
    }
    let (_, head) = request(&fixture, address, "/offered", UPGRADE).await;
    assert!(head.contains("\r\nx-offered: true\r\n"), "{head}");
}

#[tokio::test]
async fn an_event_stream_ends_with_its_session() {
    let fixture = Fixture::new().await;
    let address = serve(&fixture, false).await;
    let (mut client, head) = request(&fixture, address, "/events", "connection: close\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    client.read_exact(&mut [0; 100]).await.unwrap();
    fixture.revoke().await;
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert!(
        rest.ends_with(b"0\r\n\r\n"),
        "the answer must end in the regular way"
    );
}

#[tokio::test]
async fn a_request_that_waits_for_its_answer_is_denied_when_its_session_ends() {
    let fixture = Fixture::new().await;
    let address = serve(&fixture, false).await;
    let waiting = request(&fixture, address, "/silent", "");
    let ending = async {
        while fixture.bench.parts.streams.count() == 0 {
            tokio::task::yield_now().await;
        }
        fixture.revoke().await;
    };
    let ((_, head), ()) = tokio::join!(waiting, ending);
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    assert!(head.contains("\r\nx-session-reason: revoked\r\n"), "{head}");
}

#[tokio::test]
async fn a_websocket_over_http_2_ends_with_its_session() {
    let fixture = Fixture::new().await;
    let address = serve(&fixture, true).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake::<_, _, Empty<Bytes>>(
        TokioExecutor::new(),
        TokioIo::new(stream),
    );
    let (mut sender, connection) = handshake.await.unwrap();
    while !connection.is_extended_connect_protocol_enabled() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::spawn(connection);
    let request = Request::connect("https://app.example.com/ws")
        .header("cookie", fixture.cookie())
        .extension(Protocol::from_static("websocket"));
    let request = request.body(Empty::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut client = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    client.write_all(b"\x81\x82maskhi").await.unwrap();
    client.read_exact(&mut [0; 8]).await.unwrap();
    fixture.revoke().await;
    let mut end = Vec::new();
    client.read_to_end(&mut end).await.unwrap();
    assert_eq!(end, b"\x88\x09\x03\xf0revoked");
}

/// The layer cannot recognise the heartbeats in compressed messages.
#[tokio::test]
async fn compression_is_not_offered_to_the_service_where_heartbeats_are_configured() {
    for (activity, has_extensions) in [
        (StreamActivity::ClientData, false),
        // Nothing counts, so the layer need not recognise heartbeats.
        (StreamActivity::Off, true),
    ] {
        let fixture = Fixture::with(|contracts| {
            let rulebook = &contracts.checker.rulebook;
            let policies = rulebook.policies.iter();
            let policies = policies.map(|(name, policy)| {
                let mut policy = policy.clone();
                policy.streams.activity = activity;
                policy.streams.heartbeats = Heartbeats::parse(["mqtt"]).unwrap();
                (name.clone(), policy)
            });
            let policies = Policies::new(policies.collect(), policy_name("default")).unwrap();
            let mut rulebook = Rulebook::clone(rulebook);
            rulebook.policies = Arc::new(policies);
            contracts.checker.rulebook = Arc::new(rulebook);
        });
        let fixture = fixture.await;
        let address = serve(&fixture, false).await;
        let lines = format!("{UPGRADE}sec-websocket-extensions: permessage-deflate\r\n");
        let (_, head) = request(&fixture, address, "/offered", &lines).await;
        let expected = format!("\r\nx-extensions: {has_extensions}\r\n");
        assert!(head.contains(&expected), "{activity:?}: {head}");
    }
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused() {
    let fixture = Fixture::new().await;
    let address = serve(&fixture, false).await;
    let mut open = Vec::new();
    for _ in 0..crate::streams::StreamLimits::default().max_per_session {
        open.push(request(&fixture, address, "/events", "").await);
    }
    let (_, head) = request(&fixture, address, "/events", "connection: close\r\n").await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(
        head.contains("\r\nx-session-reason: overloaded\r\n"),
        "{head}"
    );
    drop(open);
    while fixture.bench.parts.streams.count() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (client, _) = request(&fixture, address, "/other", "connection: close\r\n").await;
    let mut rest = client;
    let mut body = String::new();
    rest.read_to_string(&mut body).await.unwrap();
    assert_eq!(body, "no upgrade");
}
