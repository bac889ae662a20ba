use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::mistakes::{Mistakes, Valid};
use crate::config::section::Section;
use crate::listener::GrpcTlsSettings;
use crate::secret::Secret;

/// TLS on the gRPC listener.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawGrpc {
    /// A file with the PEM certificate chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    /// A file with the PEM private key of the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// A file with PEM certificates of the CAs that client certificates are verified against
    /// (mutual TLS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<String>,
}

impl RawGrpc {
    pub(in crate::config) fn parse(
        &self,
        mistakes: &mut Mistakes,
    ) -> Valid<Option<GrpcTlsSettings>> {
        let (certificate, key) = match (&self.cert_file, &self.key_file) {
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(_), None) => {
                return mistakes.reject("grpc.cert_file", "needs its key in grpc.key_file");
            }
            (None, Some(_)) => {
                return mistakes.reject("grpc.key_file", "needs its certificate in grpc.cert_file");
            }
            (None, None) if self.client_ca_file.is_some() => {
                return mistakes.reject(
                    "grpc.client_ca_file",
                    "client certificates need TLS: give grpc.cert_file and grpc.key_file",
                );
            }
            (None, None) => return Ok(None),
        };
        let certificate = mistakes.read_file("grpc.cert_file", certificate);
        let key = mistakes.read_file("grpc.key_file", key);
        let client_ca =
            mistakes.read_optional_file("grpc.client_ca_file", self.client_ca_file.as_deref());
        Ok(Some(GrpcTlsSettings {
            certificate: certificate?,
            key: Secret::new(key?),
            client_ca: client_ca?,
        }))
    }
}

impl Section for RawGrpc {}
