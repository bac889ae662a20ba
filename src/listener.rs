//! Each listener serves one service on its bound sockets, until the listener is stopped.
//!
//! All listeners stop in the same way: they accept no new connection, and give requests in flight a limited time to
//! finish.

mod closing;
mod connections;
mod drain;
mod grpc;
mod http;
mod http_stream;
mod limited;
mod per_listener;
mod prefixed_stream;
mod socket;
mod spop;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use prometheus::IntCounter;
use tokio_util::sync::CancellationToken;

use crate::admission::ConcurrencyLimit;
use crate::live::Live;

use closing::ClosingService;

pub use connections::ConnectionHandler;
pub use drain::drain;
pub use grpc::{GrpcServer, MAX_MESSAGE_BYTES};
pub use http::{ConnectionUse, HttpServer, HttpService};
pub use http_stream::upgraded_io;
pub use limited::{LimitedRouter, set_host};
pub use per_listener::{ListenerName, PerListener};
pub use socket::Socket;
pub use spop::{SpopServer, SpopService};
pub use tls::{
    CertificatePair, ClientCertificates, ClientName, Encryption, PeerStream, Tls, TlsError,
    is_less_protected,
};

/// A listener with its bound addresses and its service.
pub struct Listener {
    socket: Socket,
    service: Service,
}

/// The kinds of services.
pub enum Service {
    /// HTTP/1.1 and HTTP/2.
    Http(HttpServer),
    /// gRPC.
    Grpc(Box<GrpcServer>),
    /// A service for whole connections, such as SPOP.
    Connections(ConnectionHandler),
}

impl Service {
    /// Creates an HTTP service. While `draining` is set, each answer over HTTP/1 closes its connection.
    #[must_use]
    pub fn http(service: impl HttpService, draining: Arc<AtomicBool>) -> Self {
        Self::Http(http::create_server(ClosingService { service, draining }))
    }

    /// Creates a service for SPOP, the protocol of HAProxy. While `draining` is set, the service disconnects its peers.
    #[must_use]
    pub fn spop(service: impl SpopService, draining: Arc<AtomicBool>) -> Self {
        let server = SpopServer::new(service, draining);
        Self::Connections(Arc::new(move |stream, peer, stop| {
            Box::pin(server.clone().serve(stream, peer, stop))
        }))
    }
}

impl Listener {
    /// Binds the `addresses` for `service`. `limit` bounds the open connections. New connections use the current
    /// `encryption`. `handshake_failures` counts TLS handshakes that failed.
    ///
    /// # Errors
    /// The address that cannot be bound, and the error of the operating system.
    pub fn bind(
        name: &'static str,
        addresses: &[SocketAddr],
        service: Service,
        limit: ConcurrencyLimit,
        (encryption, handshake_failures): (Live<Encryption>, IntCounter),
    ) -> Result<Self, (SocketAddr, io::Error)> {
        let socket = Socket::bind(name, addresses, limit, encryption, handshake_failures)?;
        Ok(Self { socket, service })
    }

    /// Returns the bound addresses.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        self.socket.addresses()
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
