use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::Socket;

/// The most bytes that the head of a request may have: 64 KiB of headers, and room for the rest.
const MAX_HEAD: usize = 80 * 1024;
/// The most headers that a request may have: more than any proxy of ours lets pass.
const MAX_HEADERS: usize = 1024;
/// How long a connection may take to send the head of a request, the wait between two requests
/// included. Longer than NGINX keeps an idle connection (60 s) and Traefik (90 s), so that it is
/// never us who close one that it is about to use.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);

/// Serves `router`; says whether all that was in flight has finished in time.
pub(super) async fn serve(
    socket: Socket,
    router: Router,
    stop: CancellationToken,
    patience: Duration,
) -> bool {
    let graceful = GracefulShutdown::new();
    while let Some((stream, peer)) = socket.accept(&stop).await {
        serve_connection(&graceful, stream, peer, &router);
    }
    drop(socket);
    let finished = tokio::time::timeout(patience, graceful.shutdown()).await;
    finished.is_ok()
}

/// Serves one connection in a task of its own.
fn serve_connection(
    graceful: &GracefulShutdown,
    stream: TcpStream,
    peer: SocketAddr,
    router: &Router,
) {
    let router = router.clone();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let router = router.clone();
        async move {
            let Ok(response) = router.oneshot(request.map(Body::new)).await;
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%peer, %error, "a connection ended badly");
        }
    });
}
