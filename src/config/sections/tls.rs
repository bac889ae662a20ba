use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::mistakes::{Mistakes, Valid};
use crate::config::schema_types;
use crate::config::section::Section;
use crate::config::text::TextList;
use crate::listener::{
    CertificatePair, ClientCertificates, ClientName, ListenerName, PerListener, Tls, TlsError,
};
use crate::secret::Secret;

/// TLS of the listeners. A listener without a certificate uses plaintext.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawTls {
    /// TLS on `listen.check`.
    pub check: RawListenerTls,
    /// TLS on `listen.grpc`.
    pub grpc: RawListenerTls,
    /// TLS on `listen.spoe`.
    pub spoe: RawListenerTls,
    /// TLS on `listen.browser`.
    pub browser: RawListenerTls,
    /// TLS on `listen.proxy`.
    pub proxy: RawListenerTls,
    /// TLS on `listen.admin`.
    pub admin: RawListenerTls,
    /// TLS on `listen.ops`.
    pub ops: RawListenerTls,
}

/// TLS of one listener.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawListenerTls {
    /// A file with the PEM certificate chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    /// A file with the PEM private key of the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// Further certificates. The server name that a client sends (SNI) selects the certificate; other
    /// clients get the one of `cert_file`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<RawCertificate>,
    /// A file with PEM certificates of the CAs that client certificates are verified against
    /// (mutual TLS). Clients without a certificate cannot connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<String>,
    /// The names of the clients that can connect: DNS names, SPIFFE IDs such as
    /// `spiffe://example.com/ns/ingress/sa/proxy`, or all IDs below a path:
    /// `spiffe://example.com/ns/ingress/*`. By default, each certificate of the CAs is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "schema_types::StringList")]
    pub client_names: Option<TextList<String>>,
}

/// A certificate with its private key.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawCertificate {
    /// A file with the PEM certificate chain.
    pub cert_file: String,
    /// A file with the PEM private key of the certificate.
    pub key_file: String,
}

impl RawTls {
    pub(in crate::config) fn parse(
        &self,
        mistakes: &mut Mistakes,
    ) -> Valid<PerListener<Option<Tls>>> {
        let parsed = PerListener::from_fn(|name| {
            let key = format!("tls.{}", name.as_str());
            self.settings(name).parse(&key, mistakes)
        });
        parsed.transpose()
    }

    /// Returns the paths of all files.
    pub(in crate::config) fn files(&self) -> impl Iterator<Item = &String> {
        ListenerName::ALL
            .into_iter()
            .flat_map(|name| self.settings(name).files())
    }

    const fn settings(&self, name: ListenerName) -> &RawListenerTls {
        match name {
            ListenerName::Check => &self.check,
            ListenerName::Grpc => &self.grpc,
            ListenerName::Spoe => &self.spoe,
            ListenerName::Browser => &self.browser,
            ListenerName::Proxy => &self.proxy,
            ListenerName::Admin => &self.admin,
            ListenerName::Ops => &self.ops,
        }
    }
}

impl Section for RawTls {}

impl RawListenerTls {
    fn files(&self) -> impl Iterator<Item = &String> {
        let pairs = self.certificates.iter();
        let further = pairs.flat_map(|pair| [&pair.cert_file, &pair.key_file]);
        let own = [&self.cert_file, &self.key_file, &self.client_ca_file];
        own.into_iter().flatten().chain(further)
    }

    fn parse(&self, key: &str, mistakes: &mut Mistakes) -> Valid<Option<Tls>> {
        let Some(certificates) = self.read_certificates(key, mistakes)? else {
            return Ok(None);
        };
        let clients = self.read_clients(key, mistakes)?;
        match Tls::new(&certificates, clients.as_ref()) {
            Ok(tls) => Ok(Some(tls)),
            Err(error) => {
                let wrong_key = match &error {
                    TlsError::Authorities(_) | TlsError::AuthoritiesPem(_) => {
                        format!("{key}.client_ca_file")
                    }
                    TlsError::KeyPem(_) | TlsError::Key(_) | TlsError::KeyMismatch => {
                        format!("{}.key_file", Self::invalid_pair_key(key, &certificates))
                    }
                    _ => format!("{}.cert_file", Self::invalid_pair_key(key, &certificates)),
                };
                mistakes.reject(wrong_key, error.to_string())
            }
        }
    }

    /// Tests each certificate separately. Returns the configuration key of the first invalid certificate, without
    /// `cert_file` or `key_file`.
    fn invalid_pair_key(key: &str, certificates: &[CertificatePair]) -> String {
        let is_invalid =
            |pair: &CertificatePair| Tls::new(std::slice::from_ref(pair), None).is_err();
        match certificates.iter().position(is_invalid) {
            Some(index) if index > 0 => format!("{key}.certificates.{}", index - 1),
            _ => key.to_owned(),
        }
    }

    /// Reads the certificates; `None` for plaintext.
    fn read_certificates(
        &self,
        key: &str,
        mistakes: &mut Mistakes,
    ) -> Valid<Option<Vec<CertificatePair>>> {
        let (cert_file, key_file) = match (&self.cert_file, &self.key_file) {
            (Some(cert_file), Some(key_file)) => (cert_file, key_file),
            (Some(_), None) => {
                return mistakes.reject(
                    format!("{key}.cert_file"),
                    format!("needs the key of this certificate in {key}.key_file"),
                );
            }
            (None, Some(_)) => {
                return mistakes.reject(
                    format!("{key}.key_file"),
                    format!("needs the certificate of this key in {key}.cert_file"),
                );
            }
            (None, None) => {
                let message = format!("needs TLS: give {key}.cert_file and {key}.key_file");
                for (name, is_set) in [
                    ("certificates", !self.certificates.is_empty()),
                    ("client_ca_file", self.client_ca_file.is_some()),
                    ("client_names", self.client_names.is_some()),
                ] {
                    if is_set {
                        return mistakes.reject(format!("{key}.{name}"), message);
                    }
                }
                return Ok(None);
            }
        };
        let mut pairs = vec![read_pair(key, cert_file, key_file, mistakes)];
        for (index, pair) in self.certificates.iter().enumerate() {
            let key = format!("{key}.certificates.{index}");
            pairs.push(read_pair(&key, &pair.cert_file, &pair.key_file, mistakes));
        }
        pairs.into_iter().collect::<Valid<_>>().map(Some)
    }

    /// Reads which client certificates are accepted; `None` if clients need no certificate.
    fn read_clients(
        &self,
        key: &str,
        mistakes: &mut Mistakes,
    ) -> Valid<Option<ClientCertificates>> {
        let names_key = format!("{key}.client_names");
        let texts = self.client_names.as_ref();
        if texts.is_some_and(TextList::is_empty) {
            return mistakes.reject(
                names_key,
                format!(
                    "is empty: name the clients, or remove this setting to accept every certificate from the \
                     authorities in {key}.client_ca_file"
                ),
            );
        }
        let names = texts.into_iter().flat_map(|texts| &texts.0).map(|text| {
            let name = text.parse::<ClientName>();
            mistakes.record_error(
                &names_key,
                name.map_err(|error| format!("`{text}` {error}")),
            )
        });
        let names: Vec<Valid<ClientName>> = names.collect();
        let names = names.into_iter().collect::<Valid<Vec<_>>>()?;
        let Some(path) = &self.client_ca_file else {
            if !names.is_empty() {
                return mistakes.reject(names_key, format!("needs {key}.client_ca_file"));
            }
            return Ok(None);
        };
        let authorities = mistakes.read_file(&format!("{key}.client_ca_file"), path)?;
        Ok(Some(ClientCertificates { authorities, names }))
    }
}

fn read_pair(
    key: &str,
    cert_file: &str,
    key_file: &str,
    mistakes: &mut Mistakes,
) -> Valid<CertificatePair> {
    let chain = mistakes.read_file(&format!("{key}.cert_file"), cert_file);
    let private_key = mistakes.read_file(&format!("{key}.key_file"), key_file);
    Ok(CertificatePair {
        chain: chain?,
        key: Secret::new(private_key?),
    })
}
