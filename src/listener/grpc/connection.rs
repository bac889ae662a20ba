use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::admission::Permit;
use crate::listener::PeerStream;
use crate::listener::prefixed_stream::PrefixedStream;

/// The size of the client's HTTP/2 preface (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;

/// A connection, with or without TLS, whose client has sent the preface.
pub(super) type Connection = PrefixedStream<PeerStream, (SocketAddr, Permit)>;

/// Reads the preface, which the server then reads again. The caller sets a timeout, because the server itself would wait
/// for the preface without a limit.
pub(super) async fn read_preface(
    mut stream: PeerStream,
    peer: SocketAddr,
    permit: Permit,
) -> io::Result<Connection> {
    let mut preface = [0; PREFACE_BYTES];
    stream.read_exact(&mut preface).await?;
    let preface = Bytes::copy_from_slice(&preface);
    Ok(Connection::new(preface, stream, (peer, permit)))
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        let (peer, _) = self.attached();
        TcpConnectInfo {
            local_addr: None,
            remote_addr: Some(*peer),
        }
    }
}
