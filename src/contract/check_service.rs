use std::net::SocketAddr;

use axum::body::Body;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;

use super::auth_request::AUTH_REQUEST;
use super::forward_auth::FORWARD_AUTH;
use super::sub_request::HeaderContract;
use super::unknown_path::UnknownPaths;
use super::{Contracts, ext_authz};
use crate::admission::ConcurrencyLimit;
use crate::listener::{HttpService, drain};
use crate::live::Live;

/// The service of the `check` listener. It routes by the path and ignores the method, because some proxies send their
/// check with the original method. Other paths get 404.
#[derive(Clone)]
pub struct CheckService {
    contracts: Live<Contracts>,
    unknown_paths: UnknownPaths,
    limit: ConcurrencyLimit,
}

/// The contract that a path selects.
#[derive(Clone, Copy)]
enum Route<'a> {
    /// A contract whose check inputs are all headers. The second field is the policy name in the path.
    HeaderContract(&'static HeaderContract, Option<&'a str>),
    /// `ext-authz`: the policy name in the path, and the path and query of the original request.
    ExtAuthz(Option<&'a str>, &'a str),
}

impl CheckService {
    /// Creates the service. `limit` bounds the concurrent checks.
    #[must_use]
    pub fn new(contracts: Live<Contracts>, limit: ConcurrencyLimit) -> Self {
        let unknown_paths = UnknownPaths::default();
        unknown_paths.init_metrics(&contracts.current().checker.metrics);
        Self {
            contracts,
            unknown_paths,
            limit,
        }
    }

    /// Answers a request of `peer`. Reads the body up to a limit and discards it, because proxies report an error if
    /// the connection closes during their upload.
    pub async fn answer<B>(&self, request: Request<B>, peer: Option<SocketAddr>) -> Response<Body>
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let (head, body) = request.into_parts();
        let mut response = match Route::parse(&head.uri) {
            Some(route) => self.check(route, &head, peer).await,
            None => self.answer_not_found(&head),
        };
        if !drain(body).await {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response.map(|text| match text.is_empty() {
            true => Body::empty(),
            false => Body::from(text),
        })
    }

    async fn check(
        &self,
        route: Route<'_>,
        head: &http::request::Parts,
        peer: Option<SocketAddr>,
    ) -> Response<String> {
        let permit = self.limit.take();
        let contracts = self.contracts.current();
        let secure = contracts.cookie.is_secure();
        match route {
            Route::HeaderContract(contract, policy) => {
                let policy = policy.map(|name| percent_decode_str(name).decode_utf8_lossy());
                let sub_request = contract.read(policy.as_deref(), peer, &head.headers, secure);
                sub_request.answer(&contracts, permit).await
            }
            Route::ExtAuthz(policy, target) => {
                let defaults = (contracts.literal_headers, secure);
                let sub_request = ext_authz::read(policy, target, head, peer, defaults);
                sub_request.answer(&contracts, permit).await
            }
        }
    }

    fn answer_not_found(&self, head: &http::request::Parts) -> Response<String> {
        let contracts = self.contracts.current();
        let metrics = &contracts.checker.metrics;
        let mut response = Response::new(self.unknown_paths.answer(head.uri.path(), metrics));
        *response.status_mut() = StatusCode::NOT_FOUND;
        let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        response
    }
}

impl HttpService for CheckService {
    /// The maximum number of concurrent HTTP/2 streams of one connection. It is high, because a proxy sends many small
    /// checks over few connections.
    const MAX_STREAMS: u32 = 1024;

    async fn call(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        self.answer(request, Some(peer)).await
    }
}

impl<'a> Route<'a> {
    fn parse(uri: &'a http::Uri) -> Option<Self> {
        let path = uri.path();
        let named = path
            .strip_prefix("/policy/")
            .and_then(|rest| rest.split_once('/'));
        let (policy, rest) = match named {
            Some(("", _)) => return None,
            Some((policy, rest)) => (Some(policy), rest),
            None => (None, path.strip_prefix('/')?),
        };
        for contract in [&AUTH_REQUEST, &FORWARD_AUTH] {
            if rest == contract.contract.as_str() {
                return Some(Self::HeaderContract(contract, policy));
            }
        }
        let target = rest.strip_prefix(ext_authz::PREFIX)?;
        if !(target.is_empty() || target.starts_with('/')) {
            return None;
        }
        let path_and_query = uri.path_and_query().map_or("", |it| it.as_str());
        Some(Self::ExtAuthz(
            policy,
            &path_and_query[path.len() - target.len()..],
        ))
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    fn route(uri: &str) -> Option<(String, Option<String>)> {
        let uri = uri.parse().unwrap();
        Route::parse(&uri).map(|route| match route {
            Route::HeaderContract(contract, policy) => {
                (contract.contract.to_string(), policy.map(str::to_owned))
            }
            Route::ExtAuthz(policy, target) => (target.to_owned(), policy.map(str::to_owned)),
        })
    }

    #[test]
    fn every_contract_has_its_path() {
        let named = |route: &str, policy: &str| Some((route.to_owned(), Some(policy.to_owned())));
        let plain = |route: &str| Some((route.to_owned(), None));
        assert_eq!(route("/auth-request"), plain("auth-request"));
        assert_eq!(route("/auth-request?x=/ext-authz"), plain("auth-request"));
        assert_eq!(route("/forward-auth"), plain("forward-auth"));
        assert_eq!(route("/policy/a/forward-auth"), named("forward-auth", "a"));
        assert_eq!(route("/ext-authz"), plain(""));
        assert_eq!(route("/ext-authz?a=b"), plain("?a=b"));
        assert_eq!(route("/ext-authz/a%2Fb?c=d"), plain("/a%2Fb?c=d"));
        assert_eq!(
            route("/policy/a/ext-authz/policy/b/ext-authz"),
            named("/policy/b/ext-authz", "a")
        );
        for unserved in [
            "/",
            "/auth-request/",
            "/auth-requests",
            "/ext-authzx",
            "/policy/auth-request",
            "/policy//auth-request",
            "/policy//ext-authz/a",
            "/policy/a/b/auth-request",
            "/x/ext-authz",
        ] {
            assert_eq!(route(unserved), None, "{unserved}");
        }
    }
}
