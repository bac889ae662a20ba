use std::net::SocketAddr;

use axum::body::Body;
use axum::routing::get;
use http::{Request, Response};
use hyper::body::Incoming;

use super::router;
use crate::admission::ConcurrencyLimit;
use crate::contract::{Contracts, serve_assertion_keys};
use crate::listener::{HttpService, LimitedRouter, set_host};
use crate::live::Live;
use crate::logout::{self, LogoutEndpoints};

/// The listener's number of permits, divided by this number, is the maximum number of concurrent notices (logout
/// messages of providers).
const NOTICES_DIVISOR: usize = 16;

/// The service of the `browser` listener: pages and scripts for browsers, and notices of identity providers. Notices
/// have separate permits, because they have bodies, which can arrive slowly.
#[derive(Clone)]
pub struct BrowserService {
    pages: LimitedRouter,
    notices: LimitedRouter,
}

impl BrowserService {
    /// Creates the service with the permits of `limit`.
    #[must_use]
    pub fn new(
        contracts: Live<Contracts>,
        logouts: Live<LogoutEndpoints>,
        limit: &ConcurrencyLimit,
    ) -> Self {
        let assertion_keys = axum::Router::new()
            .route("/.well-known/jwks.json", get(serve_assertion_keys))
            .with_state(contracts.clone());
        Self {
            pages: LimitedRouter::new(router(contracts).merge(assertion_keys), limit.clone()),
            notices: LimitedRouter::new(
                logout::router(logouts),
                limit.limit_for_slow_requests(NOTICES_DIVISOR),
            ),
        }
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        if path.starts_with("/oidc/") || path.starts_with("/ssf/") {
            self.notices.answer(request).await
        } else {
            self.pages.answer(request).await
        }
    }
}

impl HttpService for BrowserService {
    async fn call(&self, mut request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        request.extensions_mut().insert(peer);
        set_host(&mut request);
        self.answer(request.map(Body::new)).await
    }
}
