use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use webpki::EndEntityCert;

/// A name that a client certificate must have as a subject alternative name. The common name is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientName {
    /// A DNS name in lower case. The certificate must have exactly this name. A wildcard certificate does not match,
    /// because it can belong to another server of the domain.
    Dns(String),
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
        if let Some(parent) = text.strip_suffix("/*") {
            return match is_spiffe_id(parent) {
                true => Ok(Self::SpiffePath(format!("{parent}/"))),
                false => Err(InvalidClientName),
            };
        }
        if is_spiffe_id(text) {
            return Ok(Self::SpiffeId(text.to_owned()));
        }
        match ServerName::try_from(text) {
            Ok(ServerName::DnsName(_)) => Ok(Self::Dns(normalize_dns_name(text))),
            _ => Err(InvalidClientName),
        }
    }
}

fn normalize_dns_name(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// Whether the text is a SPIFFE ID: a trust domain and a path without empty, `.` or `..` segments (SPIFFE-ID,
/// sections 2.1 and 2.2).
fn is_spiffe_id(text: &str) -> bool {
    let Some(id) = text.strip_prefix(SPIFFE_SCHEME) else {
        return false;
    };
    let mut segments = id.split('/');
    let is_domain_byte = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_')
    };
    let is_path_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    segments
        .next()
        .is_some_and(|domain| !domain.is_empty() && domain.bytes().all(is_domain_byte))
        && segments
            .all(|segment| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_path_byte))
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) | Self::SpiffeId(name) => f.write_str(name),
            Self::SpiffePath(path) => write!(f, "{path}*"),
        }
    }
}

impl ClientName {
    fn is_name_of(&self, certificate: &EndEntityCert<'_>) -> bool {
        match self {
            Self::Dns(name) => {
                let mut names = certificate.valid_dns_names();
                names.any(|presented| normalize_dns_name(presented) == *name)
            }
            Self::SpiffeId(id) => spiffe_id(certificate) == Some(id),
            Self::SpiffePath(path) => {
                spiffe_id(certificate).is_some_and(|id| id.starts_with(path.as_str()))
            }
        }
    }
}

/// Returns the SPIFFE ID of the certificate; `None` if it has no URI, several URIs or another URI. A certificate with
/// several URIs is not a SPIFFE certificate (X.509-SVID, section 2).
fn spiffe_id<'a>(certificate: &EndEntityCert<'a>) -> Option<&'a str> {
    let mut uris = certificate.valid_uri_names();
    let uri = uris.next().filter(|_| uris.next().is_none());
    uri.filter(|uri| is_spiffe_id(uri))
}

/// The client certificate has none of the allowed names.
#[derive(Debug, thiserror::Error)]
#[error("the client certificate has none of the names in client_names: {0}")]
struct NameNotAllowed(String);

/// The maximum length of the names in an error, in bytes.
const MAX_SHOWN_BYTES: usize = 200;

/// Returns the names of a certificate, for an error. Characters that could break a log line are replaced.
fn shown_names(certificate: &EndEntityCert<'_>) -> String {
    let names = certificate
        .valid_dns_names()
        .chain(certificate.valid_uri_names());
    let names: Vec<&str> = names.take(5).collect();
    let text = match names.is_empty() {
        true => "the certificate has no DNS name and no URI".to_owned(),
        false => format!("the certificate has {}", names.join(", ")),
    };
    let shown = text.chars().map(|char| match char {
        ' '..='~' => char,
        _ => '?',
    });
    shown.take(MAX_SHOWN_BYTES).collect()
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
            false => {
                let error = NameNotAllowed(shown_names(&certificate));
                let error = CertificateError::Other(OtherError(Arc::new(error)));
                Err(Error::InvalidCertificate(error))
            }
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
            "spiffe://example.com/a.b_c-d/E",
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
            "spiffe://example.com//*",
            "spiffe://example.com/a//*",
            "spiffe://example.com/./*",
            "spiffe:///*",
            "/*",
            "proxy.example.com/*",
        ] {
            assert_eq!(text.parse::<ClientName>(), Err(InvalidClientName), "{text}");
        }
    }
}
