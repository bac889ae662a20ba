use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use url::Url;

use super::{FetchKeys, Freshness};
use crate::credential::jwt::{KeySet, KeySetError};
use crate::http_client::{http_client, read_body};

/// The most bytes of an answer.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Where the keys of an issuer are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// A JSON Web Key Set.
    KeySet(Url),
    /// Where the issuer's OpenID Connect metadata says (OpenID Connect Discovery 1.0, section 4).
    Discovery {
        /// The issuer, as its tokens name it.
        issuer: Url,
    },
}

/// How keys are fetched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FetchSettings {
    /// Where they are.
    pub location: Location,
    /// PEM certificates of the authorities to trust; the system's where there are none.
    pub authorities: Option<Vec<u8>>,
    /// The most time for one request.
    pub timeout: Duration,
    /// How long they are used.
    pub freshness: Freshness,
}

/// Why keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No answer, or one that says no.
    #[error("{0}")]
    Http(String),
    /// The answer is too long.
    #[error("the answer has more than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
    /// The metadata are not those of the issuer.
    #[error("the metadata are {0}")]
    Metadata(&'static str),
    /// Not keys.
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
    location: Location,
    client: reqwest::Client,
}

/// What is read of an issuer's metadata.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

impl HttpFetcher {
    /// A fetcher by these settings.
    ///
    /// # Errors
    /// [`reqwest::Error`] when the authorities can't be read.
    pub fn new(settings: &FetchSettings) -> Result<Self, reqwest::Error> {
        Ok(Self {
            location: settings.location.clone(),
            client: http_client(settings.timeout, settings.authorities.as_deref())?,
        })
    }

    async fn get(&self, url: Url) -> Result<Vec<u8>, FetchError> {
        let mut answer = self.client.get(url).send().await?.error_for_status()?;
        let body = read_body(&mut answer, MAX_ANSWER_BYTES).await?;
        body.ok_or(FetchError::TooLarge)
    }

    /// Where the keys are, by the issuer's metadata, which must be its own (OpenID Connect Discovery
    /// 1.0, section 4.3).
    async fn discover(&self, issuer: &Url) -> Result<Url, FetchError> {
        let base = issuer.as_str().trim_end_matches('/');
        let url = format!("{base}/.well-known/openid-configuration");
        let url = Url::parse(&url).map_err(|_| FetchError::Metadata("nowhere"))?;
        let metadata: Metadata = serde_json::from_slice(&self.get(url).await?)
            .map_err(|_| FetchError::Metadata("not OpenID Connect metadata"))?;
        if metadata.issuer.trim_end_matches('/') != base {
            return Err(FetchError::Metadata("those of another issuer"));
        }
        let keys = Url::parse(&metadata.jwks_uri);
        let keys = keys.map_err(|_| FetchError::Metadata("without an address of keys"))?;
        // Whoever speaks TLS has keys that come over TLS.
        if issuer.scheme() == "https" && keys.scheme() != "https" {
            return Err(FetchError::Metadata("pointing to keys without TLS"));
        }
        Ok(keys)
    }
}

#[async_trait]
impl FetchKeys for HttpFetcher {
    async fn fetch(&self) -> Result<KeySet, FetchError> {
        let url = match &self.location {
            Location::KeySet(url) => url.clone(),
            Location::Discovery { issuer } => self.discover(issuer).await?,
        };
        Ok(KeySet::from_json(&self.get(url).await?)?)
    }
}
