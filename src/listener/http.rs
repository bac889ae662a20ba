use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::TcpStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use super::http_stream::{HttpStream, WriteProgress};
use super::{PeerStream, Socket};
use crate::admission::Permit;

/// The maximum size of a request head: 64 KiB of headers, and the request line. At most 100 headers are allowed, as in
/// Envoy, Apache and Tomcat. Hyper could allow 1024 headers, but with a larger buffer for each request, which would
/// cost a fifth of the time of a check.
const MAX_HEAD_BYTES: usize = 80 * 1024;
/// Idle timeout. A connection without requests is closed after one to two times this duration. It is longer than the
/// idle timeouts of NGINX (60 s) and Traefik (90 s), so that Curfew does not close a connection that a proxy is about
/// to use.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// The first bytes of every HTTP/2 connection (RFC 9113, section 3.4). No HTTP/1 method begins with these letters.
const HTTP2_PREFIX: &[u8; 3] = b"PRI";
/// The delay before Curfew looks at the first bytes again, if fewer than three bytes have arrived.
const PEEK_INTERVAL: Duration = Duration::from_millis(10);

/// A service for the requests of a listener.
pub trait HttpService: Clone + Send + Sync + 'static {
    /// The maximum number of concurrent requests on one HTTP/2 connection. It is limited, because the answers stay in
    /// memory until the client reads them.
    const MAX_STREAMS: u32 = 64;

    /// Whether answers can go on for long, and connections can switch to another protocol.
    const FORWARDS_STREAMS: bool = false;

    /// Answers a request of `peer`.
    fn call(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// Serves HTTP on a socket until it is stopped. The result is true if the requests in flight finished in time.
pub type HttpServer = Box<
    dyn FnOnce(Socket, CancellationToken, Duration) -> Pin<Box<dyn Future<Output = bool> + Send>>
        + Send,
>;

/// Creates the server for a service.
pub(super) fn create_server(service: impl HttpService) -> HttpServer {
    Box::new(|socket, stop, shutdown_timeout| {
        Box::pin(serve(socket, service, stop, shutdown_timeout))
    })
}

async fn serve(
    socket: Socket,
    service: impl HttpService,
    stop: CancellationToken,
    shutdown_timeout: Duration,
) -> bool {
    let graceful = GracefulShutdown::new();
    while let Some(accepted) = socket.accept(&stop).await {
        let (watcher, service, stop) = (graceful.watcher(), service.clone(), stop.clone());
        let peer = accepted.peer;
        tokio::spawn(async move {
            let Some((stream, permit)) = accepted.handshake(&stop).await else {
                return;
            };
            let stream = (stream, Some(permit));
            let serving = serve_connection(watcher, stream, peer, service, stop);
            if let Err(error) = serving.await {
                tracing::debug!(%peer, %error, "connection error");
            }
        });
    }
    drop(socket);
    let finished = tokio::time::timeout(shutdown_timeout, graceful.shutdown()).await;
    finished.is_ok()
}

/// Serves one connection, and holds its permit until the connection is closed. With TLS, the handshake determines the
/// HTTP version; without TLS, the client's first bytes determine it.
async fn serve_connection(
    watcher: Watcher,
    (stream, permit): (PeerStream, Option<Permit>),
    peer: SocketAddr,
    service: impl HttpService,
    stop: CancellationToken,
) -> Result<(), hyper::Error> {
    let detection = tokio::time::timeout(IDLE_TIMEOUT, is_http2(&stream));
    let Some(Ok(Ok(http2))) = stop.run_until_cancelled(detection).await else {
        return Ok(());
    };
    let (max_streams, forwards_streams) = properties(&service);
    let service = Arc::new(service);
    let request_counts = Arc::new(RequestCounts::default());
    let write_progress = Arc::new(WriteProgress::default());
    // An upgraded connection outlives its server, so the stream itself holds the permit.
    let stream = HttpStream::new(stream, Arc::clone(&write_progress)).with_permit(permit);
    let stream = TokioIo::new(stream);
    let service_counts = Arc::clone(&request_counts);
    // Only an HTTP/1.1 connection has one request at a time, so only it can be closed for one request.
    let close = (forwards_streams && !http2).then(CancellationToken::new);
    let service_close = close.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (service, request_counts) = (Arc::clone(&service), Arc::clone(&service_counts));
        let write_progress = Arc::clone(&write_progress);
        let close = service_close.clone();
        async move {
            // HTTP/2 does not need this wait, because it has flow-control windows. A request that waits here does not
            // count as begun. So a client that never reads its answers counts as idle, and its connection is closed.
            if !http2 {
                write_progress.wait_until_written().await;
            }
            let in_flight = request_counts.begin_request();
            let response = if forwards_streams {
                let in_flight = Arc::new(in_flight);
                request.extensions_mut().insert(ConnectionUse {
                    close,
                    _in_flight: Arc::clone(&in_flight),
                });
                let response = service.call(request, peer).await;
                response.map(|body| hold_until_end(in_flight, body))
            } else {
                let response = service.call(request, peer).await;
                drop(in_flight);
                response
            };
            write_progress.mark_unwritten();
            Ok::<_, Infallible>(response)
        }
    });
    if http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .max_header_list_size(MAX_HEAD_BYTES as u32)
            .max_concurrent_streams(max_streams);
        if forwards_streams {
            // WebSockets over HTTP/2 (RFC 8441).
            builder.enable_connect_protocol();
        }
        let connection = builder.serve_connection(stream, service);
        // Hyper waits for the first bytes of the client. So at the stop, close a connection that has sent no request,
        // because it would delay the stop.
        let serving = request_counts.serve_until_idle(watcher.watch(connection));
        let stopped_before_first_request = async {
            stop.cancelled().await;
            if request_counts.has_begun() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            served = serving => served,
            () = stopped_before_first_request => Ok(()),
        }
    } else {
        let connection = http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(stream, service);
        if forwards_streams {
            let mut connection = pin!(connection.with_upgrades());
            let serving = async {
                tokio::select! {
                    served = connection.as_mut() => return served,
                    () = stop.cancelled() => {}
                }
                connection.as_mut().graceful_shutdown();
                connection.await
            };
            let serving = async {
                tokio::select! {
                    served = serving => served,
                    () = wait_for_close(close) => Ok(()),
                }
            };
            let served = request_counts.serve_until_idle(serving).await;
            // The stop waits until all watchers are dropped.
            drop(watcher);
            served
        } else {
            let connection = watcher.watch(connection);
            request_counts.serve_until_idle(connection).await
        }
    }
}

const fn properties<S: HttpService>(_: &S) -> (u32, bool) {
    (S::MAX_STREAMS, S::FORWARDS_STREAMS)
}

/// Whether the client uses HTTP/2.
async fn is_http2(stream: &PeerStream) -> std::io::Result<bool> {
    match stream {
        Either::Left(stream) => begins_with_http2(stream).await,
        Either::Right(stream) => Ok(stream.get_ref().1.alpn_protocol() == Some(b"h2")),
    }
}

/// Whether the first bytes show that the client uses HTTP/2.
async fn begins_with_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0; HTTP2_PREFIX.len()];
    loop {
        let length = stream.peek(&mut first).await?;
        if length == first.len() || length == 0 || !HTTP2_PREFIX.starts_with(&first[..length]) {
            return Ok(first == *HTTP2_PREFIX);
        }
        tokio::time::sleep(PEEK_INTERVAL).await;
    }
}

/// Counts the requests of a connection that have begun, and those that have ended. With these numbers, one timer per
/// connection is enough to recognize an idle connection. A timer for each request would slow down each answer.
#[derive(Default)]
struct RequestCounts {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl RequestCounts {
    fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > 0
    }

    fn begin_request(self: &Arc<Self>) -> RequestInFlight {
        self.begun.fetch_add(1, Ordering::Relaxed);
        RequestInFlight(Arc::clone(self))
    }

    /// Serves a connection until it ends or has been idle for `IDLE_TIMEOUT`.
    async fn serve_until_idle(
        &self,
        connection: impl Future<Output = Result<(), hyper::Error>>,
    ) -> Result<(), hyper::Error> {
        let mut connection = pin!(connection);
        loop {
            let before = self.begun.load(Ordering::Relaxed);
            if let Ok(ended) = tokio::time::timeout(IDLE_TIMEOUT, connection.as_mut()).await {
                return ended;
            }
            let begun = self.begun.load(Ordering::Relaxed);
            if begun == before && self.ended.load(Ordering::Relaxed) == begun {
                return Ok(());
            }
        }
    }
}

/// A request that has begun. It ends when this value is dropped.
struct RequestInFlight(Arc<RequestCounts>);

/// The use of a connection by one request. The connection stays open until this value and its clones are dropped.
#[derive(Clone)]
pub struct ConnectionUse {
    /// Closes the connection; `None` if other requests share it.
    pub close: Option<CancellationToken>,
    _in_flight: Arc<RequestInFlight>,
}

/// Lets a request end with the body of its answer.
fn hold_until_end(in_flight: Arc<RequestInFlight>, body: Body) -> Body {
    Body::new(body.map_frame(move |frame| {
        let _ = &in_flight;
        frame
    }))
}

async fn wait_for_close(close: Option<CancellationToken>) {
    match close {
        Some(close) => close.cancelled().await,
        None => std::future::pending().await,
    }
}

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;
    use crate::admission::{ConcurrencyLimit, LimitKind};
    use crate::listener::{Listener, Service};
    use crate::live::Live;
    use crate::telemetry::Metrics;

    fn create_limit() -> ConcurrencyLimit {
        let permit_metrics = Metrics::new().unwrap().connections("check");
        ConcurrencyLimit::new("check", LimitKind::Connections, 10, permit_metrics)
    }

    /// A service that answers after this delay.
    #[derive(Clone)]
    struct SlowService(Duration);

    impl HttpService for SlowService {
        async fn call(&self, _: Request<Incoming>, _: SocketAddr) -> Response<Body> {
            tokio::time::sleep(self.0).await;
            Response::new(Body::empty())
        }
    }

    /// Sends `input` on a connection. Returns all answers and the time until the connection closes.
    async fn send_and_read(service: SlowService, input: &'static [u8]) -> (String, Duration) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        client.write_all(input).await.unwrap();
        let graceful = GracefulShutdown::new();
        let stop = CancellationToken::new();
        let start = Instant::now();
        let _ = serve_connection(
            graceful.watcher(),
            (Either::Left(stream), None),
            peer,
            service,
            stop,
        )
        .await;
        let mut text = String::new();
        let _ = client.read_to_string(&mut text).await;
        (text, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_disconnected() {
        for input in [
            &b""[..],
            b"P",
            b"PRI * HTTP/2.0\r\n",
            b"GET / HTTP/1.1\r\nhost: a\r\n",
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        ] {
            let (_, open_time) = send_and_read(SlowService(Duration::ZERO), input).await;
            assert!(
                open_time >= IDLE_TIMEOUT && open_time < 3 * IDLE_TIMEOUT,
                "{input:?}: {open_time:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_waits_for_an_answer_stays_connected() {
        let input = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let (text, waited) = send_and_read(SlowService(5 * IDLE_TIMEOUT), input).await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(waited >= 5 * IDLE_TIMEOUT);
    }

    /// Each request waits until the previous answer is written, and this client never reads.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_and_does_not_read_is_disconnected() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let sending = tokio::spawn(async move {
            let requests = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1000);
            while client.write_all(&requests).await.is_ok() {}
        });
        let graceful = GracefulShutdown::new();
        let stop = CancellationToken::new();
        let service = SlowService(Duration::ZERO);
        let serving = serve_connection(
            graceful.watcher(),
            (Either::Left(stream), None),
            peer,
            service,
            stop,
        );
        let served = tokio::time::timeout(10 * IDLE_TIMEOUT, serving).await;
        assert!(served.is_ok(), "the client must be disconnected");
        sending.await.unwrap();
    }

    #[tokio::test]
    async fn idle_connections_do_not_delay_the_stop() {
        let address = "127.0.0.1:0".parse().unwrap();
        let service = Service::http(SlowService(Duration::ZERO), Arc::default());
        let failures = Metrics::new().unwrap().tls_handshake_failures("check");
        let bound = Listener::bind(
            "check",
            &[address],
            service,
            create_limit(),
            (Live::new(None), failures),
        );
        let listener = bound.map_err(|(_, error)| error).unwrap();
        let address = listener.addresses()[0];
        let stop = CancellationToken::new();
        let serving = tokio::spawn(listener.serve(stop.clone(), Duration::from_secs(60)));
        let _silent = TcpStream::connect(address).await.unwrap();
        let mut used = TcpStream::connect(address).await.unwrap();
        let input = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        used.write_all(input).await.unwrap();
        assert!(used.read(&mut [0; 100]).await.unwrap() > 0);
        stop.cancel();
        let stopped = tokio::time::timeout(Duration::from_secs(10), serving).await;
        stopped.unwrap().unwrap();
    }
}
