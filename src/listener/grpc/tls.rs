use crate::secret::Secret;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::admission::Permit;

/// The TLS settings of the gRPC listener, all in PEM.
#[derive(Clone, Debug)]
pub struct GrpcTlsSettings {
    /// The certificate chain.
    pub certificate: Vec<u8>,
    /// The private key of the certificate.
    pub key: Secret<Vec<u8>>,
    /// The authorities for client certificates; `None` if clients need no certificate.
    pub client_ca: Option<Vec<u8>>,
}

/// The TLS configuration of new connections; `None` for plaintext.
pub type Encryption = Option<Arc<ServerConfig>>;

/// The certificate, its key or the client authority is invalid.
#[derive(Debug, thiserror::Error)]
#[error("invalid certificate, key or client authority: {0}")]
pub struct GrpcTlsError(String);

impl From<rustls::Error> for GrpcTlsError {
    fn from(error: rustls::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<pem::Error> for GrpcTlsError {
    fn from(error: pem::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<VerifierBuilderError> for GrpcTlsError {
    fn from(error: VerifierBuilderError) -> Self {
        Self(error.to_string())
    }
}

/// Creates the TLS configuration from the settings.
///
/// # Errors
/// [`GrpcTlsError`] if the certificate, its key or the client authority is invalid.
pub fn create_encryption(tls: Option<&GrpcTlsSettings>) -> Result<Encryption, GrpcTlsError> {
    let Some(tls) = tls else { return Ok(None) };
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(&tls.certificate).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(tls.key.expose())?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match &tls.client_ca {
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for authority in CertificateDer::pem_slice_iter(authorities) {
                roots.add(authority?)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build()?)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Some(Arc::new(config)))
}

/// The size of the client's HTTP/2 preface (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;

/// A connection, with or without TLS, whose client has sent the preface.
pub(super) struct Connection {
    stream: Either<TcpStream, TlsStream<TcpStream>>,
    /// The preface. It was already read from the socket, and the server must read it again.
    preface: Bytes,
    _permit: Permit,
}

impl Connection {
    /// Completes the TLS handshake and waits for the preface. The server itself would wait without a limit.
    pub(super) async fn handshake(
        stream: TcpStream,
        permit: Permit,
        encryption: &Encryption,
    ) -> io::Result<Self> {
        let mut stream = match encryption {
            Some(config) => {
                let acceptor = TlsAcceptor::from(Arc::clone(config));
                Either::Right(acceptor.accept(stream).await?)
            }
            None => Either::Left(stream),
        };
        let mut preface = [0; PREFACE_BYTES];
        stream.read_exact(&mut preface).await?;
        Ok(Self {
            stream,
            preface: Bytes::copy_from_slice(&preface),
            _permit: permit,
        })
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        match &self.stream {
            Either::Left(stream) => stream.connect_info(),
            Either::Right(stream) => stream.get_ref().0.connect_info(),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.preface.is_empty() {
            let length = self.preface.len().min(buffer.remaining());
            buffer.put_slice(&self.preface.split_to(length));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
