use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use webpki::EndEntityCert;

/// A name that a client certificate must have as a subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientName {
    /// A DNS name. A wildcard in the certificate matches one label (RFC 6125, section 6.4.3).
    Dns(ServerName<'static>),
    /// A SPIFFE ID (SPIFFE-ID, section 2).
    SpiffeId(String),
    /// All SPIFFE IDs below this path, which ends with a slash.
    SpiffePath(String),
}

/// The text is not a name of a client certificate.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not a name of a client certificate: write a DNS name such as proxy.example.com, a SPIFFE ID such as \
     spiffe://example.com/ns/ingress/sa/proxy, or all SPIFFE IDs below a path: spiffe://example.com/ns/ingress/*"
)]
pub struct InvalidClientName;

const SPIFFE_SCHEME: &str = "spiffe://";

impl FromStr for ClientName {
    type Err = InvalidClientName;

    fn from_str(text: &str) -> Result<Self, InvalidClientName> {
        let Some(below) = text.strip_prefix(SPIFFE_SCHEME) else {
            return match ServerName::try_from(text) {
                Ok(name @ ServerName::DnsName(_)) => Ok(Self::Dns(name.to_owned())),
                _ => Err(InvalidClientName),
            };
        };
        let (domain, path) = below.split_once('/').unwrap_or((below, ""));
        let is_domain_byte = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_')
        };
        if domain.is_empty() || !domain.bytes().all(is_domain_byte) {
            return Err(InvalidClientName);
        }
        let (segments, is_pattern) = match path.strip_suffix('*') {
            Some("") => ("", true),
            Some(parent) => (parent.strip_suffix('/').ok_or(InvalidClientName)?, true),
            None => (path, false),
        };
        let is_segment = |segment: &str| {
            let is_path_byte =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            !matches!(segment, "" | "." | "..") && segment.bytes().all(is_path_byte)
        };
        let has_path = below.contains('/');
        if (has_path && !is_pattern || !segments.is_empty()) && !segments.split('/').all(is_segment)
        {
            return Err(InvalidClientName);
        }
        Ok(match is_pattern {
            true => Self::SpiffePath(text.trim_end_matches('*').to_owned()),
            false => Self::SpiffeId(text.to_owned()),
        })
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(&name.to_str()),
            Self::SpiffeId(id) => f.write_str(id),
            Self::SpiffePath(path) => write!(f, "{path}*"),
        }
    }
}

impl ClientName {
    fn is_name_of(&self, certificate: &EndEntityCert<'_>) -> bool {
        match self {
            Self::Dns(name) => certificate.verify_is_valid_for_subject_name(name).is_ok(),
            Self::SpiffeId(id) => spiffe_id(certificate) == Some(id),
            Self::SpiffePath(path) => spiffe_id(certificate).is_some_and(|id| {
                let below = id.strip_prefix(path.as_str());
                below.is_some_and(|below| !below.is_empty())
            }),
        }
    }
}

/// Returns the URI of the certificate; `None` if it has no URI or several. A certificate with several URIs is not a
/// SPIFFE certificate (X.509-SVID, section 2).
fn spiffe_id<'a>(certificate: &EndEntityCert<'a>) -> Option<&'a str> {
    let mut uris = certificate.valid_uri_names();
    uris.next().filter(|_| uris.next().is_none())
}

/// Accepts a client certificate if its chain is valid and if it has one of the allowed names.
#[derive(Debug)]
pub(super) struct NamedClientVerifier {
    chain_verifier: Arc<dyn ClientCertVerifier>,
    /// The allowed names. If the list is empty, each name is allowed.
    names: Vec<ClientName>,
}

impl NamedClientVerifier {
    pub(super) const fn new(
        chain_verifier: Arc<dyn ClientCertVerifier>,
        names: Vec<ClientName>,
    ) -> Self {
        Self {
            chain_verifier,
            names,
        }
    }
}

impl ClientCertVerifier for NamedClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain_verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .chain_verifier
            .verify_client_cert(end_entity, intermediates, now)?;
        if self.names.is_empty() {
            return Ok(verified);
        }
        let certificate = EndEntityCert::try_from(end_entity)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        match self.names.iter().any(|name| name.is_name_of(&certificate)) {
            true => Ok(verified),
            false => Err(Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            )),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain_verifier
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain_verifier
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain_verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_names_or_spiffe_ids() {
        for text in [
            "proxy.example.com",
            "proxy",
            "spiffe://example.com",
            "spiffe://example.com/ns/ingress/sa/proxy",
            "spiffe://example.com/ns/ingress/*",
            "spiffe://example.com/*",
        ] {
            let name: Result<ClientName, _> = text.parse();
            assert_eq!(name.map(|name| name.to_string()), Ok(text.to_owned()));
        }
        for text in [
            "",
            "*",
            "*.example.com",
            "192.0.2.1",
            "proxy example",
            "https://example.com/a",
            "spiffe://",
            "spiffe:///path",
            "spiffe://Example.com/a",
            "spiffe://example.com:8443/a",
            "spiffe://user@example.com/a",
            "spiffe://example.com/",
            "spiffe://example.com/a/",
            "spiffe://example.com//a",
            "spiffe://example.com/a/../b",
            "spiffe://example.com/a?b",
            "spiffe://example.com/a%2fb",
            "spiffe://example.com/a*",
            "spiffe://example.com*",
            "spiffe://example.com/*/a",
            "spiffe://*/a",
        ] {
            assert_eq!(text.parse::<ClientName>(), Err(InvalidClientName), "{text}");
        }
    }
}
