//! TLS of the listeners: certificates by server name, and client certificates with a list of allowed names.

mod certificates;
mod client_name;
mod handshake;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
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

/// The TLS configuration of a listener.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ServerConfig>,
    verifies_clients: bool,
}

/// The TLS configuration of new connections; `None` for plaintext.
pub type Encryption = Option<Tls>;

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
    /// The certificate file is not PEM.
    #[error("is not a PEM file with certificates: {0}")]
    CertificatePem(pem::Error),
    /// The certificate file has no certificate.
    #[error("has no PEM certificate")]
    NoCertificate,
    /// The certificate cannot be parsed.
    #[error("has an invalid certificate: {0}")]
    Certificate(webpki::Error),
    /// The key file has no unencrypted key.
    #[error("has no unencrypted PEM key (PKCS#8, PKCS#1 or SEC1): {0}")]
    KeyPem(pem::Error),
    /// The key is damaged, or the library does not support its kind.
    #[error("has an invalid key: {0}")]
    Key(rustls::Error),
    /// The private key does not belong to the certificate.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    /// The certificate authorities are invalid.
    #[error("has no valid certificate authority: {0}")]
    Authorities(#[from] VerifierBuilderError),
    /// The file of the certificate authorities is not PEM, or has an invalid certificate.
    #[error("is not a PEM file with certificates: {0}")]
    AuthoritiesPem(String),
    /// The library `rustls` does not support its own default protocol versions.
    #[error("TLS is not available: {0}")]
    Unavailable(rustls::Error),
}

impl Tls {
    /// Builds the TLS configuration: TLS 1.2 and 1.3, with the cipher suites that the library `rustls` enables by
    /// default. Clients that send no known server name get the first of the `certificates`.
    ///
    /// # Errors
    /// An error if a certificate, a key or a certificate authority is invalid.
    pub(crate) fn new(
        certificates: &[CertificatePair],
        clients: Option<&ClientCertificates>,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let resolver = CertificateResolver::new(certificates, &provider)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unavailable)?;
        let builder = match clients {
            Some(clients) => {
                builder.with_client_cert_verifier(Arc::new(build_verifier(clients, provider)?))
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        if clients.is_some() {
            // Do not resume TLS sessions: the library would not verify the client certificate again, so an expired
            // certificate could continue to give access.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Self {
            config: Arc::new(config),
            verifies_clients: clients.is_some(),
        })
    }

    /// Returns the configuration for a listener that offers these `protocols`.
    #[must_use]
    pub fn with_protocols(&self, protocols: Protocols) -> Self {
        let mut config = ServerConfig::clone(&self.config);
        config.alpn_protocols = match protocols {
            Protocols::Http => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Protocols::Http2 => vec![b"h2".to_vec()],
            Protocols::None => Vec::new(),
        };
        Self {
            config: Arc::new(config),
            verifies_clients: self.verifies_clients,
        }
    }

    fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

/// Whether a listener with the configuration `new` would accept clients that `old` refuses, because `new` has no TLS
/// or requires no client certificate. Changes of the allowed names and authorities of clients do not count.
#[must_use]
pub fn is_less_protected(old: &Encryption, new: &Encryption) -> bool {
    match (old, new) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(old), Some(new)) => old.verifies_clients && !new.verifies_clients,
    }
}

fn build_verifier(
    clients: &ClientCertificates,
    provider: Arc<CryptoProvider>,
) -> Result<NamedClientVerifier, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(&clients.authorities) {
        let authority = authority.map_err(|error| TlsError::AuthoritiesPem(error.to_string()))?;
        let added = roots.add(authority);
        added.map_err(|error| TlsError::AuthoritiesPem(error.to_string()))?;
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
