use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use url::Url;

use super::{FetchKeys, Freshness};
use crate::credential::jwt::{KeySet, KeySetError};
use crate::http_client::{http_client, read_body};

/// The maximum size of a response body.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The location of an issuer's keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum JwksLocation {
    /// The address of a JSON Web Key Set.
    KeySet(Url),
    /// The `jwks_uri` in the issuer's metadata (OpenID Connect Discovery 1.0, section 4).
    Discovery {
        /// The issuer, as in the `iss` claim of its tokens.
        issuer: Url,
    },
}

/// The settings for fetching the keys of an issuer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FetchSettings {
    /// The location of the keys.
    pub location: JwksLocation,
    /// The trusted certificate authorities in PEM format; `None` for the certificate authorities of the system.
    pub authorities: Option<Vec<u8>>,
    /// The timeout of one request.
    pub timeout: Duration,
    /// The refresh interval and the maximum age of the keys.
    pub freshness: Freshness,
}

/// The reason why keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The request failed, or the response has an error status.
    #[error("{0}")]
    Http(String),
    /// The response body is too large.
    #[error("response larger than {MAX_BODY_BYTES} bytes")]
    TooLarge,
    /// The metadata are invalid.
    #[error("invalid issuer metadata: {0}")]
    Metadata(&'static str),
    /// The response is not a valid key set.
    #[error(transparent)]
    Keys(#[from] KeySetError),
}

impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        use std::error::Error;
        let cause = error.source().map(|cause| format!(": {cause}"));
        Self::Http(format!("{error}{}", cause.unwrap_or_default()))
    }
}

/// Fetches keys over HTTP.
pub struct HttpFetcher {
    location: JwksLocation,
    client: reqwest::Client,
}

/// The fields of an issuer's metadata that Curfew uses.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

impl HttpFetcher {
    /// Creates a fetcher with these settings.
    ///
    /// # Errors
    /// [`reqwest::Error`] if the authorities cannot be parsed.
    pub fn new(settings: &FetchSettings) -> Result<Self, reqwest::Error> {
        Ok(Self {
            location: settings.location.clone(),
            client: http_client(settings.timeout, settings.authorities.as_deref())?,
        })
    }

    /// Fetches a document.
    async fn get(&self, url: Url) -> Result<Vec<u8>, FetchError> {
        let mut response = self.client.get(url).send().await?.error_for_status()?;
        let body = read_body(&mut response, MAX_BODY_BYTES).await?;
        body.ok_or(FetchError::TooLarge)
    }

    /// Returns the address of the keys from the issuer's metadata. The metadata must have the same `issuer` (OpenID
    /// Connect Discovery 1.0, section 4.3).
    async fn discover(&self, issuer: &Url) -> Result<Url, FetchError> {
        let base = issuer.as_str().trim_end_matches('/');
        let url = format!("{base}/.well-known/openid-configuration");
        let url = Url::parse(&url).map_err(|_| FetchError::Metadata("invalid address"))?;
        let metadata: Metadata = serde_json::from_slice(&self.get(url).await?)
            .map_err(|_| FetchError::Metadata("not OpenID Connect metadata"))?;
        if metadata.issuer.trim_end_matches('/') != base {
            return Err(FetchError::Metadata("unexpected `issuer`"));
        }
        let keys_url = Url::parse(&metadata.jwks_uri);
        let keys_url = keys_url.map_err(|_| FetchError::Metadata("invalid `jwks_uri`"))?;
        // If the address of the issuer has `https`, the address of its keys must have `https`, too.
        if issuer.scheme() == "https" && keys_url.scheme() != "https" {
            return Err(FetchError::Metadata("`jwks_uri` without TLS"));
        }
        Ok(keys_url)
    }
}

#[async_trait]
impl FetchKeys for HttpFetcher {
    async fn fetch(&self) -> Result<KeySet, FetchError> {
        let url = match &self.location {
            JwksLocation::KeySet(url) => url.clone(),
            JwksLocation::Discovery { issuer } => self.discover(issuer).await?,
        };
        Ok(KeySet::from_json(&self.get(url).await?)?)
    }
}
