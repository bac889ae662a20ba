//! Fetches the metadata and the keys of a provider (OpenID Connect Discovery 1.0, section 4).

use url::Url;

use super::metadata::{InvalidMetadata, Metadata};
use super::transport::{HttpFault, JSON_MEDIA_TYPE, get, require_media_type};
use crate::credential::jwt::{KeySet, KeySetError};

/// The media types of a JSON Web Key Set (RFC 7517, section 8.5).
const KEY_SET_MEDIA_TYPES: [&str; 2] = [JSON_MEDIA_TYPE, "application/jwk-set+json"];

/// The metadata and the keys that a provider publishes.
pub struct Discovered {
    /// The metadata.
    pub metadata: Metadata,
    /// The keys at the metadata's `jwks_uri`.
    pub keys: KeySet,
}

/// The reason why the metadata or the keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// The issuer is not a valid URL.
    #[error("invalid issuer: {0}")]
    Issuer(#[from] url::ParseError),
    /// The metadata could not be fetched.
    #[error("could not fetch the metadata: {0}")]
    FetchMetadata(HttpFault),
    /// The metadata are invalid.
    #[error(transparent)]
    Metadata(#[from] InvalidMetadata),
    /// The keys could not be fetched.
    #[error("could not fetch the keys: {0}")]
    FetchKeys(HttpFault),
    /// The keys are invalid.
    #[error("invalid keys: {0}")]
    Keys(#[from] KeySetError),
}

/// Fetches the metadata and the keys of an issuer.
///
/// # Errors
/// [`DiscoveryError`] with the reason.
pub async fn discover(
    issuer: &str,
    client: &reqwest::Client,
) -> Result<Discovered, DiscoveryError> {
    let document = fetch(client, &metadata_url(issuer)?, &[JSON_MEDIA_TYPE]).await;
    let document = document.map_err(DiscoveryError::FetchMetadata)?;
    let metadata = Metadata::parse(&document, issuer)?;
    let keys = fetch(client, &metadata.jwks_uri, &KEY_SET_MEDIA_TYPES).await;
    let keys = keys.map_err(DiscoveryError::FetchKeys)?;
    Ok(Discovered {
        keys: KeySet::from_json(&keys)?,
        metadata,
    })
}

/// Returns the address of an issuer's metadata (OpenID Connect Discovery 1.0, section 4.1).
fn metadata_url(issuer: &str) -> Result<Url, url::ParseError> {
    let base = issuer.strip_suffix('/').unwrap_or(issuer);
    Url::parse(&format!("{base}/.well-known/openid-configuration"))
}

/// Fetches a document that has one of the accepted media types.
async fn fetch(
    client: &reqwest::Client,
    url: &Url,
    accepted: &[&str],
) -> Result<Vec<u8>, HttpFault> {
    let response = get(client, url, None).await?;
    require_media_type(&response, accepted)?;
    Ok(response.into_body())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_address_starts_with_the_issuer() {
        for (issuer, expected) in [
            (
                "https://id.example.com",
                "https://id.example.com/.well-known/openid-configuration",
            ),
            (
                "https://id.example.com/",
                "https://id.example.com/.well-known/openid-configuration",
            ),
            (
                "https://id.example.com/realms/main",
                "https://id.example.com/realms/main/.well-known/openid-configuration",
            ),
            (
                "https://id.example.com/realms/main/",
                "https://id.example.com/realms/main/.well-known/openid-configuration",
            ),
        ] {
            assert_eq!(metadata_url(issuer).unwrap().as_str(), expected);
        }
    }
}
