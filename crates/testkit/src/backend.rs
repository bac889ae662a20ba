//! A real backend that records every request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::{AppendHeaders, IntoResponse, Response};
use futures_util::stream;
use http::{HeaderMap, Method, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::sync::Notify;

/// The body of the answers, except on `/who` and `/events`.
pub const BODY: &str = "hello from the backend";

/// The `Sec-WebSocket-Accept` for the key from RFC 6455, section 1.3, which the tests use.
const WEB_SOCKET_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A request as the backend received it.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl ReceivedRequest {
    /// Returns all values of the header `name`.
    pub fn header_values(&self, name: &str) -> Vec<&str> {
        let values = self.headers.get_all(name).into_iter();
        values.map(|value| value.to_str().unwrap()).collect()
    }
}

#[derive(Clone)]
pub struct Backend {
    pub address: SocketAddr,
    received_requests: Arc<Mutex<Vec<ReceivedRequest>>>,
    second_event_signal: Arc<Notify>,
}

impl Backend {
    pub async fn start() -> Self {
        Self::start_at(super::loopback(0)).await
    }

    /// Starts a backend that listens on `address`.
    pub async fn start_at(address: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let backend = Self {
            address: listener.local_addr().unwrap(),
            received_requests: Arc::default(),
            second_event_signal: Arc::default(),
        };
        let router = axum::Router::new()
            .fallback(handle_request)
            .with_state(backend.clone());
        tokio::spawn(serve(listener, router));
        backend
    }

    /// Returns the requests that the backend has received since the last call.
    pub fn take(&self) -> Vec<ReceivedRequest> {
        std::mem::take(&mut self.received_requests.lock().unwrap())
    }

    /// Returns the only request since the last call. Panics unless the backend has received exactly one.
    pub fn take_one(&self) -> ReceivedRequest {
        let mut received_requests = self.take();
        assert_eq!(received_requests.len(), 1, "{received_requests:?}");
        received_requests.remove(0)
    }

    /// Makes the open event stream send its second event and end.
    pub fn send_second_event(&self) {
        self.second_event_signal.notify_one();
    }
}

/// Serves requests. Like most applications, the backend accepts more headers in a request than Curfew.
async fn serve(listener: tokio::net::TcpListener, router: axum::Router) {
    let mut server = Builder::new(TokioExecutor::new());
    server.http1().max_headers(1000);
    let service = TowerToHyperService::new(router);
    while let Ok((stream, _)) = listener.accept().await {
        let (server, service) = (server.clone(), service.clone());
        tokio::spawn(async move {
            let stream = TokioIo::new(stream);
            let _ = server.serve_connection_with_upgrades(stream, service).await;
        });
    }
}

async fn handle_request(State(backend): State<Backend>, mut request: Request) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let path = head.uri.path().to_owned();
    let user = head.headers.get("x-session-user").cloned();
    // The backend accepts every upgrade on every path, so that a test notices an upgrade that a proxy should have
    // stopped.
    let wants_upgrade = head.headers.contains_key("upgrade");
    backend
        .received_requests
        .lock()
        .unwrap()
        .push(ReceivedRequest {
            method: head.method,
            uri: head.uri,
            headers: head.headers,
            body,
        });
    let cookies = AppendHeaders([
        ("set-cookie", "app=1; Path=/"),
        ("set-cookie", "cart=2; Path=/; HttpOnly"),
    ]);
    if wants_upgrade {
        tokio::spawn(async move {
            let (mut from, mut to) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
            tokio::io::copy(&mut from, &mut to).await
        });
        let accept = [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-accept", WEB_SOCKET_ACCEPT),
        ];
        return (StatusCode::SWITCHING_PROTOCOLS, accept).into_response();
    }
    match path.as_str() {
        "/who" => (user.map_or("nobody".into(), |user| user.as_bytes().to_vec())).into_response(),
        "/teapot" => (StatusCode::IM_A_TEAPOT, BODY).into_response(),
        "/slow" => {
            tokio::time::sleep(Duration::from_secs(1)).await;
            BODY.into_response()
        }
        "/cookies" => (cookies, BODY).into_response(),
        "/cookies/500" => (StatusCode::INTERNAL_SERVER_ERROR, cookies, BODY).into_response(),
        "/events" => event_stream_response(backend.second_event_signal),
        _ => ([("set-cookie", "app=1; Path=/")], BODY).into_response(),
    }
}

/// Answers with a stream of two events. The stream sends the second event when a test calls
/// [`Backend::send_second_event`].
fn event_stream_response(second_event: Arc<Notify>) -> Response {
    let events = stream::unfold(1, move |number| {
        let second_event = Arc::clone(&second_event);
        async move {
            if number == 2 {
                second_event.notified().await;
            }
            let event = Ok::<_, Infallible>(format!("data: {number}\n\n"));
            (number <= 2).then_some((event, number + 1))
        }
    });
    let headers = [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
    ];
    (headers, Body::from_stream(events)).into_response()
}
