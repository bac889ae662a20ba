//! The client for all requests to the Kubernetes API.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request};
use kube::client::{Body, ClientBuilder};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tower::BoxError;
use tower::filter::FilterLayer;
use url::Url;

use super::KubernetesError;

/// The file with Curfew's own token.
#[derive(Clone)]
struct Token(Option<Arc<Path>>);

impl Token {
    /// Adds the token to a request. The file is small and in memory, so reading it does not block for long.
    fn add_to(&self, mut request: Request<Body>) -> Result<Request<Body>, BoxError> {
        if let Some(path) = &self.0 {
            let token = std::fs::read_to_string(path)
                .map_err(|error| format!("could not read {}: {error}", path.display()))?;
            // A file that a person has written ends with a line feed.
            let value = HeaderValue::try_from(format!("Bearer {}", token.trim()));
            let mut value = value.map_err(|_| format!("{} contains no token", path.display()))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(request)
    }
}

/// The longest silence of the API server. A watch gets a bookmark about once a minute, and ends after five minutes.
const READ_TIMEOUT: Duration = Duration::from_secs(330);

/// The client could not be created.
#[derive(Debug, thiserror::Error)]
#[error("could not create the client of the Kubernetes API: {0}")]
pub struct ClientError(String);

/// A client of the Kubernetes API. It reads the token from its file for each request, because Kubernetes replaces the token.
#[derive(Clone)]
pub struct Client(pub kube::Client);

impl Client {
    /// Creates a client for an API server. `ca_file` has the trusted certificate authorities in PEM.
    ///
    /// # Errors
    /// [`ClientError`] if a file cannot be read or a value is invalid.
    pub fn new(
        url: &Url,
        token_file: Option<&Path>,
        ca_file: Option<&Path>,
    ) -> Result<Self, ClientError> {
        let failed = |error: String| ClientError(error);
        let url = url.as_str().parse();
        let url = url.map_err(|error: http::uri::InvalidUri| failed(error.to_string()))?;
        let mut config = kube::Config::new(url);
        config.root_cert_file = ca_file.map(Path::to_owned);
        // The callers try again, and report each failure.
        config.default_retry = false;
        config.read_timeout = Some(READ_TIMEOUT);
        let builder = ClientBuilder::try_from(config);
        let builder = builder.map_err(|error| failed(error.to_string()))?;
        let token = Token(token_file.map(Into::into));
        let add_token = FilterLayer::new(move |request| token.add_to(request));
        Ok(Self(builder.with_layer(&add_token).build()))
    }

    /// Posts an object, and returns the answer.
    ///
    /// # Errors
    /// [`KubernetesError`] if there is no answer, or if it is an error.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<T, KubernetesError> {
        let unavailable = |error: String| KubernetesError::Unavailable(error);
        let request = http::Request::post(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::ACCEPT, "application/json")
            .body(body.to_string().into_bytes());
        let request = request.map_err(|error| unavailable(error.to_string()))?;
        // `kube` logs an answer that it cannot parse, and a review contains a token. So parse here.
        let answer = self.0.request_text(request).await;
        let answer = answer.map_err(|error| match error {
            kube::Error::Api(status) => KubernetesError::Status(status.code),
            error => unavailable(error.to_string()),
        })?;
        let invalid = |error: serde_json::Error| {
            unavailable(format!("invalid answer at column {}", error.column()))
        };
        serde_json::from_str(&answer).map_err(invalid)
    }
}
