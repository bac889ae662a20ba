use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::Tls;

/// Timeout for the TLS and HTTP/2 handshakes of a new connection.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection of a peer, with or without TLS.
pub type PeerStream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Completes the TLS handshake.
///
/// # Errors
/// [`io::Error`] if the handshake fails, or is not complete after [`HANDSHAKE_TIMEOUT`].
pub async fn accept_tls(stream: TcpStream, tls: &Tls) -> io::Result<Box<TlsStream<TcpStream>>> {
    let handshake = TlsAcceptor::from(tls.server_config()).accept(stream);
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await??;
    Ok(Box::new(stream))
}
