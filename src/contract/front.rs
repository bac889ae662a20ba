use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, Response};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;

use super::auth_request::AUTH_REQUEST;
use super::forward_auth::FORWARD_AUTH;
use super::sub_request::HeaderContract;
use super::{Contracts, ext_authz, vouch};
use crate::listener::{HttpService, Limited, Room};
use crate::live::Live;

/// One request that is no check, for so many checks.
const SHARE: usize = 16;

/// What is served on the `check` listener. Checks go straight to their contract, by any method: the
/// proxy may pass on the original one, which says nothing about the check itself. All else goes to
/// a router.
#[derive(Clone)]
pub struct Front {
    contracts: Live<Contracts>,
    others: Limited,
    room: Room,
}

/// Who answers a path.
#[derive(Clone, Copy)]
enum Way<'a> {
    Headers(&'static HeaderContract, Option<&'a str>),
    ExtAuthz(Option<&'a str>, &'a str),
}

impl Front {
    /// Answers checks by these contracts, hands out their keys, and leaves the rest to `others`; as many at once as
    /// there is `room` for.
    #[must_use]
    pub fn new(contracts: Live<Contracts>, others: Router, room: Room) -> Self {
        let keys = Router::new().route("/.well-known/jwks.json", get(vouch::keys));
        let others = keys.with_state(contracts.clone()).merge(others);
        Self {
            // Bodies are read there, which may take long.
            others: Limited::new(others, room.beside(SHARE)),
            contracts,
            room,
        }
    }

    /// Answers a request that `peer` has sent; its body is read by `others` alone.
    pub async fn answer<B>(&self, request: Request<B>, peer: Option<SocketAddr>) -> Response<Body>
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let Some(way) = Way::of(request.uri()) else {
            return self.others.answer(request.map(Body::new)).await;
        };
        let place = self.room.take();
        let contracts = self.contracts.current();
        let headers = request.headers();
        let reply = match way {
            Way::Headers(contract, policy) => {
                let policy = policy.map(|name| percent_decode_str(name).decode_utf8_lossy());
                let sub_request = contract.read(policy.as_deref(), peer, headers);
                sub_request.answer(&contracts, place).await
            }
            Way::ExtAuthz(policy, target) => {
                let method = request.method();
                let literal = contracts.literal_headers;
                let sub_request = ext_authz::read(policy, target, method, headers, peer, literal);
                sub_request.answer(&contracts, place).await
            }
        };
        reply.map(|text| match text.is_empty() {
            true => Body::empty(),
            false => Body::from(text),
        })
    }
}

impl HttpService for Front {
    async fn call(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        self.answer(request, Some(peer)).await
    }
}

impl<'a> Way<'a> {
    fn of(uri: &'a http::Uri) -> Option<Self> {
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
                return Some(Self::Headers(contract, policy));
            }
        }
        let target = rest.strip_prefix(ext_authz::PREFIX)?;
        if !(target.is_empty() || target.starts_with('/')) {
            return None;
        }
        // With its query.
        let asked = uri.path_and_query().map_or("", |asked| asked.as_str());
        Some(Self::ExtAuthz(policy, &asked[path.len() - target.len()..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(uri: &str) -> Option<(String, Option<String>)> {
        let uri = uri.parse().unwrap();
        Way::of(&uri).map(|way| match way {
            Way::Headers(contract, policy) => {
                (contract.contract.to_string(), policy.map(str::to_owned))
            }
            Way::ExtAuthz(policy, target) => (target.to_owned(), policy.map(str::to_owned)),
        })
    }

    #[test]
    fn every_contract_has_its_path() {
        let named = |way: &str, policy: &str| Some((way.to_owned(), Some(policy.to_owned())));
        let plain = |way: &str| Some((way.to_owned(), None));
        assert_eq!(way("/auth-request"), plain("auth-request"));
        assert_eq!(way("/auth-request?x=/ext-authz"), plain("auth-request"));
        assert_eq!(way("/forward-auth"), plain("forward-auth"));
        assert_eq!(way("/policy/a/forward-auth"), named("forward-auth", "a"));
        assert_eq!(way("/ext-authz"), plain(""));
        assert_eq!(way("/ext-authz?a=b"), plain("?a=b"));
        assert_eq!(way("/ext-authz/a%2Fb?c=d"), plain("/a%2Fb?c=d"));
        assert_eq!(
            way("/policy/a/ext-authz/policy/b/ext-authz"),
            named("/policy/b/ext-authz", "a")
        );
        for none in [
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
            assert_eq!(way(none), None, "{none}");
        }
    }
}
