//! Envoy itself ends streams at the absolute limit, and lets slow answers and uploads finish.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{any, get, post};
use curfew::clock::Stopwatch;
use curfew::render::Proxy;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::curfew::{CreatedSession, Curfew, Setup, client};
use crate::support::deployment::{
    Server, envoy_address, read_deploy_file, render_file, replace_once,
};
use crate::support::{free_port, loopback};

/// Each chunk of a slow body takes this long.
const CHUNK_INTERVAL: Duration = Duration::from_millis(500);

fn slow_chunks(count: usize) -> Body {
    let chunks = stream::iter(0..count).then(async |_| {
        tokio::time::sleep(CHUNK_INTERVAL).await;
        Ok::<_, Infallible>("chunk")
    });
    Body::from_stream(chunks)
}

/// A WebSocket that sends a frame in each interval, and never ends by itself.
async fn chatty_socket(mut request: Request<Body>) -> Response<Body> {
    let upgrade = request.extensions_mut().remove::<OnUpgrade>().unwrap();
    tokio::spawn(async move {
        let mut socket = TokioIo::new(upgrade.await.unwrap());
        while socket.write_all(b"\x81\x01x").await.is_ok() {
            tokio::time::sleep(CHUNK_INTERVAL).await;
        }
    });
    let response = Response::builder().status(101);
    let response = response
        .header("connection", "upgrade")
        .header("upgrade", "websocket");
    response.body(Body::empty()).unwrap()
}

async fn start_application() -> SocketAddr {
    let router = Router::new()
        .route("/download", get(async || slow_chunks(36)))
        .route("/upload", post(async |body: Bytes| body.len().to_string()))
        .route("/ws", any(chatty_socket))
        .route(
            "/events",
            get(async || ([("content-type", "text/event-stream")], slow_chunks(1000))),
        );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// An Envoy with this file.
struct Gateway {
    curfew: Curfew,
    session: CreatedSession,
    address: SocketAddr,
    _envoy: Server,
}

impl Gateway {
    async fn start(setup: Setup, name: &str, text: &str) -> Self {
        let application = start_application().await;
        let curfew = setup.start();
        let address = loopback(free_port());
        let check = match name {
            "grpc.yaml" => ("address: curfew, port_value: 9181", curfew.grpc.unwrap()),
            _ => ("address: curfew, port_value: 9180", curfew.check),
        };
        let text = replace_once(
            text,
            &[
                ("address: 0.0.0.0, port_value: 8080", envoy_address(address)),
                (check.0, envoy_address(check.1)),
                (
                    "address: application, port_value: 3000",
                    envoy_address(application),
                ),
            ],
        );
        let envoy = Server::envoy(&text, &[address]);
        let session = curfew.sign_in("alice").await;
        Self {
            curfew,
            session,
            address,
            _envoy: envoy,
        }
    }

    /// Opens a WebSocket, and returns after how long it was closed.
    async fn socket_lifetime(&self) -> Duration {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        // The case of the protocol name must make no difference.
        let request = format!(
            "GET /ws HTTP/1.1\r\nhost: {}\r\ncookie: {}\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.address,
            self.session.cookie()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let opened = Stopwatch::start();
        let mut received = Vec::new();
        let _ = socket.read_to_end(&mut received).await;
        let head = String::from_utf8_lossy(&received);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Duration::from_secs_f64(opened.seconds())
    }

    /// Opens an event stream, and returns after how long it ended.
    async fn event_stream_lifetime(&self) -> Duration {
        let opened = Stopwatch::start();
        let request = client().get(format!("http://{}/events", self.address));
        let request = request.header("accept", "text/event-stream");
        let response = request
            .header("cookie", self.session.cookie())
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        let _ = response.bytes().await;
        Duration::from_secs_f64(opened.seconds())
    }
}

/// Waits for Curfew before the test opens streams, so that the limits begin with the streams.
#[tokio::test]
async fn envoy_ends_streams_at_the_absolute_limit() {
    for name in ["http.yaml", "grpc.yaml"] {
        let setup = Setup::memory()
            .limits("1m", "6s")
            .set("POLICIES__DEFAULT__IDLE", "5s")
            .set("EXT_AUTHZ__STREAM_DEADLINE", "true");
        let text = read_deploy_file(&format!("envoy/{name}"));
        let gateway = Gateway::start(setup, name, &text).await;
        let (socket, events) =
            tokio::join!(gateway.socket_lifetime(), gateway.event_stream_lifetime());
        for (kind, lifetime) in [("WebSocket", socket), ("event stream", events)] {
            let expected = Duration::from_secs(3)..Duration::from_secs(20);
            assert!(expected.contains(&lifetime), "{name} {kind}: {lifetime:?}");
        }
        let (status, _) = gateway.curfew.check(&gateway.session).await;
        assert_eq!(status, 401);
    }
}

/// The limits of a rendered file apply only to streams.
#[tokio::test]
async fn slow_answers_and_uploads_pass() {
    let idle = Duration::from_secs(4);
    let text = render_file(Proxy::EnvoyHttp, "http.yaml", idle, false);
    let deployed = read_deploy_file("envoy/http.yaml");
    for (kind, text, is_rendered) in [("rendered", text, true), ("deployed", deployed, false)] {
        let gateway = Gateway::start(Setup::memory(), "http.yaml", &text).await;
        let url = |path: &str| format!("http://{}{path}", gateway.address);
        let cookie = gateway.session.cookie();
        let download = async {
            let request = client().get(url("/download")).header("cookie", &cookie);
            request.send().await.unwrap().bytes().await.unwrap().len()
        };
        let upload = async {
            let mut connection = TcpStream::connect(gateway.address).await.unwrap();
            let head = format!(
                "POST /upload HTTP/1.1\r\nhost: {}\r\ncookie: {cookie}\r\ncontent-length: 180\r\nconnection: \
                 close\r\n\r\n",
                gateway.address
            );
            connection.write_all(head.as_bytes()).await.unwrap();
            for _ in 0..36 {
                tokio::time::sleep(CHUNK_INTERVAL).await;
                connection.write_all(b"chunk").await.unwrap();
            }
            let mut answer = String::new();
            connection.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let (download, upload) = tokio::join!(download, upload);
        assert_eq!(download, 36 * 5, "{kind}");
        assert!(
            upload.starts_with("HTTP/1.1 200 ") && upload.ends_with("180"),
            "{kind}: {upload}"
        );
        if is_rendered {
            let lifetime = gateway.socket_lifetime().await;
            let expected = idle..idle * 4;
            assert!(expected.contains(&lifetime), "{lifetime:?}");
        }
    }
}
