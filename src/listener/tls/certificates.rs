use std::sync::Arc;

use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

use super::{CertificatePair, TlsError};

/// Selects the certificate for the server name that a client sends (SNI, RFC 6066, section 3).
#[derive(Debug)]
pub(super) struct CertificateResolver {
    /// The certificates in the order of the configuration; never empty.
    certificates: Vec<Arc<CertifiedKey>>,
}

impl CertificateResolver {
    pub(super) fn new(
        pairs: &[CertificatePair],
        provider: &CryptoProvider,
    ) -> Result<Self, TlsError> {
        let certificates = pairs.iter().map(|pair| parse(pair, provider).map(Arc::new));
        let certificates: Vec<_> = certificates.collect::<Result<_, _>>()?;
        if certificates.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        Ok(Self { certificates })
    }

    /// Returns the first certificate that is valid for `server_name`. If no certificate is valid for it, returns the
    /// first of all certificates.
    fn select(&self, server_name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let server_name = server_name.and_then(|name| ServerName::try_from(name).ok());
        let matching = server_name.and_then(|name| {
            let mut certificates = self.certificates.iter();
            certificates.find(|certificate| is_valid_for(certificate, &name))
        });
        matching.or(self.certificates.first()).cloned()
    }
}

impl ResolvesServerCert for CertificateResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.select(hello.server_name())
    }
}

fn parse(pair: &CertificatePair, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let chain = CertificateDer::pem_slice_iter(&pair.chain);
    let chain: Vec<_> = chain
        .collect::<Result<_, _>>()
        .map_err(TlsError::CertificatePem)?;
    let certificate = chain.first().ok_or(TlsError::NoCertificate)?;
    EndEntityCert::try_from(certificate).map_err(TlsError::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.expose()).map_err(TlsError::KeyPem)?;
    let key = provider.key_provider.load_private_key(key);
    let certified = CertifiedKey::new(chain, key.map_err(TlsError::Key)?);
    match certified.keys_match() {
        // The library cannot compare some kinds of keys. Accept them, because a handshake with a wrong key fails
        // anyway.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(TlsError::KeyMismatch)
        }
        Err(error) => Err(TlsError::Key(error)),
    }
}

fn is_valid_for(certificate: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let Some(certificate) = certificate.cert.first() else {
        return false;
    };
    EndEntityCert::try_from(certificate)
        .is_ok_and(|certificate| certificate.verify_is_valid_for_subject_name(name).is_ok())
}
