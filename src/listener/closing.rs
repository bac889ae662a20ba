//! While the process is draining, each answer over HTTP/1 closes its connection, so that the client moves to another replica.
//! Otherwise, the listener would close a connection in use when it stops, and a request that is on its way would be lost (RFC
//! 9112, section 9.6). HTTP/2 has GOAWAY for this.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use http::header::CONNECTION;
use http::{HeaderValue, StatusCode, Version};
use hyper::body::Incoming;
use hyper::{Request, Response};

use super::HttpService;

/// A service whose answers close their connection while `draining` is set.
#[derive(Clone)]
pub(super) struct ClosingService<S> {
    pub(super) service: S,
    pub(super) draining: Arc<AtomicBool>,
}

impl<S: HttpService> HttpService for ClosingService<S> {
    const MAX_STREAMS: u32 = S::MAX_STREAMS;
    const FORWARDS_STREAMS: bool = S::FORWARDS_STREAMS;

    async fn call(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let is_http1 = request.version() < Version::HTTP_2;
        let mut response = self.service.call(request, peer).await;
        let is_upgrade = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if is_http1 && !is_upgrade && self.draining.load(Ordering::Relaxed) {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response
    }
}
