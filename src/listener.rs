//! Serves one router on one TCP listener, and stops gracefully.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// The most bytes that the head of a request may have: 64 KiB of headers, and room for the rest.
const MAX_HEAD: usize = 80 * 1024;
/// How long a connection may take to send the head of a request, the wait between two requests
/// included. Longer than NGINX keeps an idle connection (60 s), so that it is never us who close
/// one that it is about to use.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// The pause after an accept that failed, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound listener and what it serves.
pub struct Listener {
    name: &'static str,
    socket: TcpListener,
    address: SocketAddr,
    router: Router,
}

impl Listener {
    /// Binds `address` for `router`.
    ///
    /// # Errors
    /// [`io::Error`] when the address can't be bound.
    pub async fn bind(name: &'static str, address: SocketAddr, router: Router) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        Ok(Self {
            name,
            socket,
            address,
            router,
        })
    }

    /// The address it is bound to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until stopped; then accepts nothing more, and lets what is in flight finish for at
    /// most `patience`.
    pub async fn serve(self, stop: CancellationToken, patience: Duration) {
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => serve_connection(&graceful, stream, peer, &self.router),
                // One client's failure, or a shortage that may pass: never the end of the loop.
                Err(error) => {
                    tracing::warn!(listener = self.name, %error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.socket);
        if tokio::time::timeout(patience, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!(
                listener = self.name,
                "requests in flight did not finish in time"
            );
        }
    }
}

/// Serves one connection in a task of its own.
fn serve_connection(
    graceful: &GracefulShutdown,
    stream: TcpStream,
    peer: SocketAddr,
    router: &Router,
) {
    // An answer is one small packet; waiting to fill it would only delay it.
    let _ = stream.set_nodelay(true);
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
        .serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%peer, %error, "a connection ended badly");
        }
    });
}
