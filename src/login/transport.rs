use openidconnect::{HttpRequest, HttpResponse};

use crate::http_client::read_body;

/// The most bytes of an answer.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Why a provider gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpFault {
    /// It can't be reached.
    #[error("{0}")]
    Http(String),
    /// It says too much.
    #[error("the answer has more than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
}

impl From<reqwest::Error> for HttpFault {
    fn from(error: reqwest::Error) -> Self {
        use std::error::Error;
        // An address may have secrets in its query.
        let error = error.without_url();
        let cause = error.source().map(|cause| format!(": {cause}"));
        Self::Http(format!("{error}{}", cause.unwrap_or_default()))
    }
}

/// Sends one request to a provider.
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
