//! Listeners: a bound socket, and what is served on it until it is told to stop.
//!
//! All of them stop alike: they accept nothing more, and let what is in flight finish for a bounded
//! time.

mod concurrency;
mod connections;
mod drain;
mod grpc;
mod http;
mod limited;
mod paced;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

pub use concurrency::{ConcurrencyLimit, LimitKind, Permit};
pub use connections::ConnectionHandler;
pub use drain::drain;
pub use grpc::{Encryption, GrpcServer, GrpcTlsError, GrpcTlsSettings, MAX_MESSAGE, encryption};
pub use http::{HttpServer, HttpService};
pub use limited::Limited;

/// The pause after an accept that failed, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound listener and what it serves.
pub struct Listener {
    socket: Socket,
    service: Service,
}

/// What can be served.
pub enum Service {
    /// HTTP/1.1, and HTTP/2 in the clear.
    Http(HttpServer),
    /// gRPC.
    Grpc(Box<GrpcServer>),
    /// Whatever is spoken on a connection.
    Connections(ConnectionHandler),
}

impl Service {
    /// HTTP, answered by `service`.
    #[must_use]
    pub fn http(service: impl HttpService) -> Self {
        Self::Http(http::server(service))
    }
}

impl Listener {
    /// Binds `address` for `service`, for as many connections as there is `room` for.
    ///
    /// # Errors
    /// [`io::Error`] when the address can't be bound.
    pub async fn bind(
        name: &'static str,
        address: SocketAddr,
        service: Service,
        room: ConcurrencyLimit,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let socket = Socket {
            name,
            address: listener.local_addr()?,
            listener,
            room,
        };
        Ok(Self { socket, service })
    }

    /// The address it is bound to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.socket.address
    }

    /// Serves until stopped; then accepts nothing more, and lets what is in flight finish for at
    /// most `patience`.
    pub async fn serve(self, stop: CancellationToken, patience: Duration) {
        let name = self.socket.name;
        let finished = match self.service {
            Service::Http(server) => server(self.socket, stop, patience).await,
            Service::Grpc(server) => grpc::serve(self.socket, *server, stop, patience).await,
            Service::Connections(handler) => {
                connections::serve(self.socket, handler, stop, patience).await
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
    room: ConcurrencyLimit,
}

impl Socket {
    /// The next connection that there is room for; `None` once stopped.
    async fn accept(&self, stop: &CancellationToken) -> Option<(TcpStream, SocketAddr, Permit)> {
        loop {
            match stop.run_until_cancelled(self.listener.accept()).await? {
                Ok((stream, peer)) => {
                    let Some(permit) = self.room.take() else {
                        continue;
                    };
                    // An answer is one small packet; waiting to fill it would only delay it.
                    let _ = stream.set_nodelay(true);
                    return Some((stream, peer, permit));
                }
                // One client's failure, or a shortage that may pass: never the end of the loop.
                Err(error) => {
                    tracing::warn!(listener = self.name, %error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}
