use openidconnect::{HttpRequest, HttpResponse};

use crate::http_client::read_body;

/// The maximum size of a response body.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Why a request to a provider failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpFault {
    /// The provider cannot be reached.
    #[error("{0}")]
    Http(String),
    /// The response body is too large.
    #[error("response larger than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
}

impl From<reqwest::Error> for HttpFault {
    fn from(error: reqwest::Error) -> Self {
        use std::error::Error;
        // The query of an address may have secrets.
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
    let mut answer = client.execute(request).await?;
    let (status, headers) = (answer.status(), std::mem::take(answer.headers_mut()));
    let body = read_body(&mut answer, MAX_ANSWER_BYTES).await?;
    let mut response = HttpResponse::new(body.ok_or(HttpFault::TooLarge)?);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}
