use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tower::ServiceExt;

use super::HttpService;
use crate::admission::{ConcurrencyLimit, Permit};
use crate::retry_after::retry_after;

/// Timeout until the answer starts, including the arrival of the request's body. It limits how long a slow upload
/// keeps a permit.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A router with a limit on concurrent requests. Requests above the limit get 503.
#[derive(Clone)]
pub struct LimitedRouter {
    router: Router,
    limit: ConcurrencyLimit,
    exempt: Option<&'static str>,
}

impl LimitedRouter {
    /// Creates the router with its limit.
    #[must_use]
    pub const fn new(router: Router, limit: ConcurrencyLimit) -> Self {
        Self {
            router,
            limit,
            exempt: None,
        }
    }

    /// Answers requests for this path even without a permit.
    #[must_use]
    pub fn exempt(self, path: &'static str) -> Self {
        Self {
            exempt: Some(path),
            ..self
        }
    }

    /// Answers a request, or sheds it if there is no permit. The permit is held until the client has read the answer.
    pub async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let permit = self.limit.take();
        if permit.is_none() && self.exempt != Some(request.uri().path()) {
            return shed_response();
        }
        let answer = answer_in_time(&self.router, request).await;
        answer.map(|body| {
            Body::new(PermitBody {
                body,
                _permit: permit,
            })
        })
    }
}

/// A response body with the permit of its request. The permit is free again after the body is sent.
struct PermitBody {
    body: Body,
    _permit: Option<Permit>,
}

impl http_body::Body for PermitBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Passes the peer's address to the router in an extension of the request.
impl HttpService for LimitedRouter {
    async fn call(&self, mut request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        request.extensions_mut().insert(peer);
        set_host(&mut request);
        self.answer(request.map(Body::new)).await
    }
}

/// Sets the header `Host` of an HTTP/2 request to its authority (RFC 9113, section 8.3.1), because handlers read the
/// host from this header.
pub fn set_host<B>(request: &mut Request<B>) {
    let Some(authority) = request.uri().authority() else {
        return;
    };
    if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
        request.headers_mut().insert(HOST, host);
    }
}

/// Returns the router's answer, or 408 after [`REQUEST_TIMEOUT`].
async fn answer_in_time(router: &Router, request: Request<Body>) -> Response<Body> {
    let answer = router.clone().oneshot(request);
    match tokio::time::timeout(REQUEST_TIMEOUT, answer).await {
        Ok(Ok(response)) => response,
        Err(_) => text_response(StatusCode::REQUEST_TIMEOUT, "The request timed out.\n"),
    }
}

/// Returns the answer to a request without a permit.
fn shed_response() -> Response<Body> {
    let mut response = text_response(
        StatusCode::SERVICE_UNAVAILABLE,
        "Too many requests at the moment. Please try again.\n",
    );
    response.headers_mut().insert(RETRY_AFTER, retry_after());
    response
}

fn text_response(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use axum::routing::post;
    use futures_util::stream;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_missing_body_times_out() {
        let router = Router::new().route("/", post(async |body: String| body));
        let bytes = stream::unfold(0_u8, async |at| {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, std::io::Error>("a"), at.wrapping_add(1)))
        });
        let start = Instant::now();
        let request = Request::post("/").body(Body::from_stream(bytes)).unwrap();
        let response = answer_in_time(&router, request).await;
        assert_eq!(response.status(), 408);
        assert_eq!(start.elapsed(), REQUEST_TIMEOUT);
        let request = Request::post("/").body(Body::from("whole")).unwrap();
        assert_eq!(answer_in_time(&router, request).await.status(), 200);
    }
}
