//! The fields of the provider metadata that Curfew uses (OpenID Connect Discovery 1.0, section 3).

use serde::Deserialize;
use url::Url;

/// The metadata of a provider.
#[derive(Clone, Debug, Deserialize)]
pub struct Metadata {
    /// The issuer, exactly as the provider writes it.
    pub issuer: String,
    /// The address to which Curfew redirects the browser for a sign-in.
    pub authorization_endpoint: Url,
    /// The address at which Curfew redeems codes and refresh tokens.
    pub token_endpoint: Url,
    /// The address of the UserInfo endpoint, which has additional claims.
    pub userinfo_endpoint: Option<Url>,
    /// The address of the provider's keys.
    pub jwks_uri: Url,
    /// The methods with which a client can authenticate at the token endpoint; `None` means only `client_secret_basic`.
    pub token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// The address for RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0, section 2.1).
    pub end_session_endpoint: Option<Url>,
    /// Whether every authorization response has the `iss` parameter (RFC 9207, section 3).
    pub authorization_response_iss_parameter_supported: Option<bool>,
}

/// The reason why metadata are invalid.
#[derive(Debug, thiserror::Error)]
pub enum InvalidMetadata {
    /// The document is not JSON, or a field is missing or invalid.
    #[error("invalid metadata: {0}")]
    Unreadable(serde_json::Error),
    /// The document is about another issuer.
    #[error("invalid metadata: unexpected issuer `{found:.200}`, expected `{expected}`")]
    Issuer {
        /// The issuer in the document.
        found: String,
        /// The configured issuer.
        expected: String,
    },
    /// The issuer is an `https` address, but one of its endpoints is not.
    #[error("invalid metadata: endpoint without TLS")]
    WithoutTls,
}

impl Metadata {
    /// Parses a metadata document. Its `issuer` must be exactly the configured one (OpenID Connect Discovery 1.0,
    /// section 4.3).
    ///
    /// # Errors
    /// [`InvalidMetadata`] with the reason.
    pub fn parse(document: &[u8], issuer: &str) -> Result<Self, InvalidMetadata> {
        let metadata: Self =
            serde_json::from_slice(document).map_err(InvalidMetadata::Unreadable)?;
        if metadata.issuer != issuer {
            return Err(InvalidMetadata::Issuer {
                found: metadata.issuer,
                expected: issuer.to_owned(),
            });
        }
        metadata.require_tls()?;
        Ok(metadata)
    }

    /// Requires `https` for all endpoints if the issuer has `https`.
    fn require_tls(&self) -> Result<(), InvalidMetadata> {
        let endpoints = [
            Some(&self.authorization_endpoint),
            Some(&self.token_endpoint),
            self.userinfo_endpoint.as_ref(),
            Some(&self.jwks_uri),
            self.end_session_endpoint.as_ref(),
        ];
        let is_secure = |url: &Url| url.scheme() == "https";
        let issuer_is_secure = Url::parse(&self.issuer).is_ok_and(|url| is_secure(&url));
        if issuer_is_secure && !endpoints.into_iter().flatten().all(is_secure) {
            return Err(InvalidMetadata::WithoutTls);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ISSUER: &str = "https://id.example.com/realms/main";

    /// Parses the metadata of [`ISSUER`] with these fields added or replaced; `null` removes a field.
    fn parse(changes: &Value) -> Result<Metadata, InvalidMetadata> {
        let mut document = json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://id.example.com/authorize",
            "token_endpoint": "https://id.example.com/token",
            "userinfo_endpoint": "https://id.example.com/userinfo",
            "jwks_uri": "https://id.example.com/keys",
            "end_session_endpoint": "https://id.example.com/logout",
        });
        let fields = document.as_object_mut().unwrap();
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                fields.remove(name);
            } else {
                fields.insert(name.clone(), value.clone());
            }
        }
        Metadata::parse(document.to_string().as_bytes(), ISSUER)
    }

    #[test]
    fn reads_required_and_optional_fields() {
        let optional = json!({ "userinfo_endpoint": null, "end_session_endpoint": null });
        let metadata = parse(&optional).unwrap();
        assert_eq!(metadata.userinfo_endpoint, None);
        assert_eq!(metadata.end_session_endpoint, None);
        assert_eq!(metadata.token_endpoint_auth_methods_supported, None);
        assert_eq!(
            metadata.authorization_response_iss_parameter_supported,
            None
        );
        for name in [
            "issuer",
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
        ] {
            for invalid in [json!(null), json!(7)] {
                let error = parse(&json!({ name: invalid })).unwrap_err();
                let unreadable = matches!(error, InvalidMetadata::Unreadable(_));
                assert!(unreadable, "{name}: {error}");
            }
        }
        let found = parse(&json!({ "jwks_uri": "keys" })).unwrap_err();
        assert!(found.to_string().starts_with("invalid metadata: "));
        assert!(Metadata::parse(b"<p>Sorry</p>", ISSUER).is_err());
    }

    /// OpenID Connect Discovery 1.0, section 4.3, requires an exact comparison. Otherwise, another issuer could sign
    /// tokens of this issuer.
    #[test]
    fn the_issuer_must_be_exactly_the_configured_one() {
        for found in [
            format!("{ISSUER}/"),
            ISSUER.to_uppercase(),
            "https://evil.example".to_owned(),
            String::new(),
        ] {
            let error = parse(&json!({ "issuer": found })).unwrap_err();
            let expected = format!(
                "invalid metadata: unexpected issuer `{found}`, expected `https://id.example.com/realms/main`"
            );
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn an_issuer_with_tls_has_no_endpoint_without_tls() {
        for name in [
            "authorization_endpoint",
            "token_endpoint",
            "userinfo_endpoint",
            "jwks_uri",
            "end_session_endpoint",
        ] {
            let error = parse(&json!({ name: "http://id.example.com/x" })).unwrap_err();
            let expected = "invalid metadata: endpoint without TLS";
            assert_eq!(error.to_string(), expected, "{name}");
        }
        // An issuer without TLS may have endpoints without TLS, for example in a test.
        let local = json!({
            "issuer": "http://127.0.0.1:8080",
            "authorization_endpoint": "http://127.0.0.1:8080/authorize",
            "token_endpoint": "http://127.0.0.1:8080/token",
            "jwks_uri": "http://127.0.0.1:8080/keys",
        });
        let document = local.to_string();
        assert!(Metadata::parse(document.as_bytes(), "http://127.0.0.1:8080").is_ok());
    }
}
