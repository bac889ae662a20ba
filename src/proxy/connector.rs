use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Authority;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tower::Service;

/// Connects to one application. It ignores the URI of the request, so a request cannot choose the address.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    pub(super) place: Place,
    pub(super) timeout: Duration,
}

/// Where and how to connect.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Tcp(Authority),
    Tls {
        authority: Authority,
        server_name: ServerName<'static>,
        config: Arc<ClientConfig>,
    },
    Unix(PathBuf),
}

/// A connection to an application.
pub(super) enum UpstreamConnection {
    Tcp(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
    Unix(TokioIo<UnixStream>),
}

impl Service<Uri> for Connector {
    type Response = UpstreamConnection;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<UpstreamConnection>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { place, timeout } = self.clone();
        Box::pin(async move {
            let connecting = tokio::time::timeout(timeout, connect(place));
            connecting.await.unwrap_or_else(|_| {
                Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "timeout of the connection to the application",
                ))
            })
        })
    }
}

async fn connect(place: Place) -> io::Result<UpstreamConnection> {
    match place {
        Place::Unix(path) => {
            let stream = UnixStream::connect(path).await?;
            Ok(UpstreamConnection::Unix(TokioIo::new(stream)))
        }
        Place::Tcp(authority) => {
            let stream = connect_tcp(&authority, 80).await?;
            Ok(UpstreamConnection::Tcp(TokioIo::new(stream)))
        }
        Place::Tls {
            authority,
            server_name,
            config,
        } => {
            let stream = connect_tcp(&authority, 443).await?;
            let stream = TlsConnector::from(config).connect(server_name, stream);
            let stream = Box::new(TokioIo::new(stream.await?));
            Ok(UpstreamConnection::Tls(stream))
        }
    }
}

async fn connect_tcp(authority: &Authority, default_port: u16) -> io::Result<TcpStream> {
    let host = authority.host().trim_matches(['[', ']']);
    let port = authority.port_u16().unwrap_or(default_port);
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Connection for UpstreamConnection {
    fn connected(&self) -> Connected {
        let is_http2 = match self {
            Self::Tls(stream) => {
                let (_, session) = stream.inner().get_ref();
                session.alpn_protocol() == Some(b"h2")
            }
            Self::Tcp(_) | Self::Unix(_) => false,
        };
        let connected = Connected::new();
        if is_http2 {
            connected.negotiated_h2()
        } else {
            connected
        }
    }
}

/// Calls a method on the connection inside.
macro_rules! delegate {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Tcp(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Self::Tls(stream) => {
                let $stream = Pin::new(&mut **stream);
                $call
            }
            Self::Unix(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
        }
    };
}

impl Read for UpstreamConnection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self, stream => stream.poll_read(context, buffer))
    }
}

impl Write for UpstreamConnection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, stream => stream.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => stream.poll_shutdown(context))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, stream => stream.poll_write_vectored(context, pieces))
    }
}
