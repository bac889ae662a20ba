use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use tower::ServiceExt;

use super::{HttpService, Room};

/// The most time until an answer begins, which includes that the request's body arrives: one that comes byte by byte
/// does not hold a place for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// A router that answers so many requests at once; others are told to come back.
#[derive(Clone)]
pub struct Limited {
    router: Router,
    room: Room,
}

impl Limited {
    /// A router with as much `room`.
    #[must_use]
    pub const fn new(router: Router, room: Room) -> Self {
        Self { router, room }
    }
}

/// The router is told the peer in an extension.
impl HttpService for Limited {
    async fn call(&self, mut request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let Some(_place) = self.room.take() else {
            return busy();
        };
        request.extensions_mut().insert(peer);
        answer_in_time(&self.router, request.map(Body::new)).await
    }
}

/// Answers by a router, unless that takes too long.
pub(crate) async fn answer_in_time(router: &Router, request: Request<Body>) -> Response<Body> {
    let answer = router.clone().oneshot(request);
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(response)) => response,
        Err(_) => plain(
            StatusCode::REQUEST_TIMEOUT,
            "The request did not arrive, or was not answered, in time.\n",
        ),
    }
}

/// The answer where there is too much to do.
pub(crate) fn busy() -> Response<Body> {
    let mut response = plain(
        StatusCode::SERVICE_UNAVAILABLE,
        "There is too much to do. Please try again in a moment.\n",
    );
    let soon = HeaderValue::from_static("1");
    response.headers_mut().insert(RETRY_AFTER, soon);
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use axum::routing::post;
    use futures_util::stream;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let router = Router::new().route("/", post(async |body: String| body));
        let bytes = stream::unfold(0_u8, async |at| {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, std::io::Error>("a"), at.wrapping_add(1)))
        });
        let begun = Instant::now();
        let request = Request::post("/").body(Body::from_stream(bytes)).unwrap();
        let response = answer_in_time(&router, request).await;
        assert_eq!(response.status(), 408);
        assert_eq!(begun.elapsed(), PATIENCE);
        let request = Request::post("/").body(Body::from("whole")).unwrap();
        assert_eq!(answer_in_time(&router, request).await.status(), 200);
    }
}
