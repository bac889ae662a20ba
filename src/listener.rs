//! Listeners: each serves one service on one bound socket until it is stopped.
//!
//! All listeners stop in the same way: they accept no new connection, and give requests in flight a limited time to
//! finish.

mod connections;
mod drain;
mod grpc;
mod http;
mod http_stream;
mod limited;
mod spop;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::admission::{ConcurrencyLimit, Permit};

pub use connections::ConnectionHandler;
pub use drain::drain;
pub use grpc::{
    Encryption, GrpcServer, GrpcTlsError, GrpcTlsSettings, MAX_MESSAGE_BYTES, create_encryption,
};
pub use http::{HttpServer, HttpService};
pub use limited::LimitedRouter;
pub use spop::{SpopServer, SpopService};

/// The pause after a connection could not be accepted, for example because the process has no free file descriptor.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// A bound listener with its service.
pub struct Listener {
    socket: Socket,
    service: Service,
}

/// The kinds of services.
pub enum Service {
    /// HTTP/1.1, and HTTP/2 without TLS.
    Http(HttpServer),
    /// gRPC.
    Grpc(Box<GrpcServer>),
    /// A handler for whole connections.
    Connections(ConnectionHandler),
}

impl Service {
    /// Creates an HTTP service.
    #[must_use]
    pub fn http(service: impl HttpService) -> Self {
        Self::Http(http::create_server(service))
    }

    /// Creates a SPOP service for HAProxy. While `draining` is set, it disconnects its peers.
    #[must_use]
    pub fn spop(service: impl SpopService, draining: Arc<AtomicBool>) -> Self {
        let server = SpopServer::new(service, draining);
        Self::Connections(Box::new(move |stream, peer, stop| {
            Box::pin(server.clone().serve(stream, peer, stop))
        }))
    }
}

impl Listener {
    /// Binds `address` for `service`. `limit` bounds the open connections.
    ///
    /// # Errors
    /// [`io::Error`] if the address cannot be bound.
    pub async fn bind(
        name: &'static str,
        address: SocketAddr,
        service: Service,
        limit: ConcurrencyLimit,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let socket = Socket {
            name,
            address: listener.local_addr()?,
            listener,
            limit,
        };
        Ok(Self { socket, service })
    }

    /// Returns the bound address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.socket.address
    }

    /// Serves until `stop` is cancelled. Then it accepts no new connection, and waits at most `shutdown_timeout` for
    /// requests in flight.
    pub async fn serve(self, stop: CancellationToken, shutdown_timeout: Duration) {
        let name = self.socket.name;
        let finished = match self.service {
            Service::Http(server) => server(self.socket, stop, shutdown_timeout).await,
            Service::Grpc(server) => {
                grpc::serve(self.socket, *server, stop, shutdown_timeout).await
            }
            Service::Connections(handler) => {
                connections::serve(self.socket, handler, stop, shutdown_timeout).await
            }
        };
        if !finished {
            tracing::warn!(listener = name, "requests in flight did not finish in time");
        }
    }
}

/// A bound socket.
pub struct Socket {
    name: &'static str,
    listener: TcpListener,
    address: SocketAddr,
    limit: ConcurrencyLimit,
}

impl Socket {
    /// Accepts the next connection within the limit; `None` after `stop`.
    async fn accept(&self, stop: &CancellationToken) -> Option<(TcpStream, SocketAddr, Permit)> {
        loop {
            match stop.run_until_cancelled(self.listener.accept()).await? {
                Ok((stream, peer)) => {
                    let Some(permit) = self.limit.take() else {
                        continue;
                    };
                    // Nagle's algorithm would only delay the answers, which are single small packets.
                    let _ = stream.set_nodelay(true);
                    return Some((stream, peer, permit));
                }
                // The failure concerns one connection, or is temporary. So continue to accept connections.
                Err(error) => {
                    tracing::warn!(listener = self.name, %error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
    }
}
