//! TLS of the listeners: certificates by server name, and client certificates with a list of allowed names.

mod certificates;
mod client_name;
mod handshake;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use crate::secret::Secret;

use certificates::CertificateResolver;
pub use client_name::ClientName;
use client_name::NamedClientVerifier;
pub use handshake::PeerStream;
pub(super) use handshake::{HANDSHAKE_TIMEOUT, accept_tls};

/// A certificate chain and its private key, both in PEM.
#[derive(Clone, Debug)]
pub struct CertificatePair {
    /// The certificate chain. The server's certificate is the first.
    pub chain: Vec<u8>,
    /// The private key of the server's certificate.
    pub key: Secret<Vec<u8>>,
}

/// Which client certificates a listener accepts.
#[derive(Clone, Debug)]
pub struct ClientCertificates {
    /// The certificate authorities, in PEM.
    pub authorities: Vec<u8>,
    /// The allowed names. If the list is empty, each certificate of the authorities is accepted.
    pub names: Vec<ClientName>,
}

/// The TLS configuration of a listener, without the protocols of the application layer.
#[derive(Clone, Debug)]
pub struct Tls(Arc<ServerConfig>);

/// The TLS configuration of new connections; `None` for plaintext.
pub type Encryption = Option<Arc<ServerConfig>>;

/// The protocols that a listener offers in the TLS handshake (ALPN, RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/2 and HTTP/1.1.
    Http,
    /// HTTP/2 only, for gRPC.
    Http2,
    /// None, for SPOP.
    None,
}

/// Why TLS settings are invalid.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not PEM, or has no certificate or no key.
    #[error("is not PEM with a certificate or a key: {0}")]
    Pem(#[from] pem::Error),
    /// The certificate chain is empty.
    #[error("has no certificate")]
    NoCertificate,
    /// The private key does not belong to the certificate.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    /// The certificate or the key is invalid.
    #[error("is not a valid certificate or key: {0}")]
    Invalid(#[from] rustls::Error),
    /// The certificate authorities are invalid.
    #[error("has no valid certificate authority: {0}")]
    Authorities(#[from] VerifierBuilderError),
}

impl Tls {
    /// Builds the TLS configuration: TLS 1.2 and 1.3, with the cipher suites that the library `rustls` enables by
    /// default. Clients that send no known server name get the first of the `certificates`.
    ///
    /// # Errors
    /// [`TlsError`] if a certificate, a key or a certificate authority is invalid.
    pub fn new(
        certificates: &[CertificatePair],
        clients: Option<&ClientCertificates>,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let resolver = CertificateResolver::new(certificates, &provider)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match clients {
            Some(clients) => {
                builder.with_client_cert_verifier(Arc::new(build_verifier(clients, provider)?))
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Self(Arc::new(
            builder.with_cert_resolver(Arc::new(resolver)),
        )))
    }

    /// Returns the configuration of a listener that speaks these `protocols`.
    #[must_use]
    pub fn with_protocols(&self, protocols: Protocols) -> Arc<ServerConfig> {
        let mut config = ServerConfig::clone(&self.0);
        config.alpn_protocols = match protocols {
            Protocols::Http => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Protocols::Http2 => vec![b"h2".to_vec()],
            Protocols::None => Vec::new(),
        };
        Arc::new(config)
    }
}

fn build_verifier(
    clients: &ClientCertificates,
    provider: Arc<CryptoProvider>,
) -> Result<NamedClientVerifier, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(&clients.authorities) {
        roots.add(authority?)?;
    }
    let chain_verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
    Ok(NamedClientVerifier::new(
        chain_verifier,
        clients.names.clone(),
    ))
}

#[cfg(test)]
mod tests;
