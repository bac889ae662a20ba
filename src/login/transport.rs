//! Sends requests to a provider, and limits the size of the responses.

use http::StatusCode;
use http::header::{ACCEPT, CONTENT_TYPE};
use oauth2::{AccessToken, HttpRequest, HttpResponse};
use url::Url;

use crate::http_client::read_body;

const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The media type of JSON.
pub const JSON_MEDIA_TYPE: &str = "application/json";

/// The reason why a request to a provider failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpFault {
    /// The provider cannot be reached.
    #[error("{0}")]
    Http(String),
    /// The response body is too large.
    #[error("response larger than {MAX_BODY_BYTES} bytes")]
    TooLarge,
    /// The response has an unexpected status.
    #[error("status {0}")]
    Status(StatusCode),
    /// The response has an unexpected `Content-Type`.
    #[error("unexpected media type `{0:.100}`")]
    MediaType(String),
}

impl From<reqwest::Error> for HttpFault {
    fn from(error: reqwest::Error) -> Self {
        use std::error::Error;
        // Remove the URL from the error, because its query can contain secrets.
        let error = error.without_url();
        let cause = error.source().map(|cause| format!(": {cause}"));
        Self::Http(format!("{error}{}", cause.unwrap_or_default()))
    }
}

/// Sends a request to a provider.
pub async fn send(
    client: reqwest::Client,
    request: HttpRequest,
) -> Result<HttpResponse, HttpFault> {
    let request = reqwest::Request::try_from(request)?;
    read_response(client.execute(request).await?).await
}

/// Fetches a document. `token` is the access token, if the endpoint requires one (RFC 6750, section 2.1). Any status
/// except 200 is an error.
pub async fn get(
    client: &reqwest::Client,
    url: &Url,
    token: Option<&AccessToken>,
) -> Result<HttpResponse, HttpFault> {
    let mut request = client.get(url.clone()).header(ACCEPT, JSON_MEDIA_TYPE);
    if let Some(token) = token {
        request = request.bearer_auth(token.secret());
    }
    let response = read_response(request.send().await?).await?;
    if response.status() == StatusCode::OK {
        Ok(response)
    } else {
        Err(HttpFault::Status(response.status()))
    }
}

/// Reads the body of a response.
async fn read_response(mut unread_response: reqwest::Response) -> Result<HttpResponse, HttpFault> {
    let (status, headers) = (
        unread_response.status(),
        std::mem::take(unread_response.headers_mut()),
    );
    let body = read_body(&mut unread_response, MAX_BODY_BYTES).await?;
    let mut response = HttpResponse::new(body.ok_or(HttpFault::TooLarge)?);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// Returns the media type of a response, in lower case and without parameters; `None` if there is no `Content-Type`.
pub fn media_type(response: &HttpResponse) -> Option<String> {
    let value = response.headers().get(CONTENT_TYPE)?;
    let text = value.to_str().unwrap_or_default();
    let media_type = text.split(';').next().unwrap_or_default();
    Some(media_type.trim().to_ascii_lowercase())
}

/// Requires one of these media types, or no `Content-Type`.
///
/// # Errors
/// [`HttpFault::MediaType`] for any other type.
pub fn require_media_type(response: &HttpResponse, accepted: &[&str]) -> Result<(), HttpFault> {
    match media_type(response) {
        Some(found) if !accepted.contains(&&*found) => Err(HttpFault::MediaType(found)),
        _ => Ok(()),
    }
}
