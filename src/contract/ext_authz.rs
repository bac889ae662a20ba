//! Envoy `ext_authz` over HTTP, and what is built on it: Istio, Envoy Gateway, Contour, the
//! external authorization filter of the Gateway API.
//!
//! The sub-request is the original one, under a prefix: its method, what follows the prefix, and
//! `Host`; the scheme is in `X-Forwarded-Proto`. NGINX Gateway Fabric asks for one fixed path
//! instead, and names the original in headers that are literally called `Method` and `Path`;
//! because any client of another proxy could send those, they count only where the configuration
//! says so, and then nothing else does. 200 lets the request pass.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::header::HOST;
use http::{HeaderMap, HeaderName};

use super::reply::Form;
use super::sub_request::{SubRequest, method, only};
use super::{Contracts, Peer};
use crate::check::{MalformedOriginal, OriginalUrl};
use crate::policy::Contract;

/// What the sub-request's path begins with, after the policy.
const PREFIX: &str = "/ext-authz";
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const LITERAL_METHOD: HeaderName = HeaderName::from_static("method");
const LITERAL_PATH: HeaderName = HeaderName::from_static("path");

/// `/ext-authz/…` and `/policy/{name}/ext-authz/…`.
pub(super) async fn check(
    State(contracts): State<Arc<Contracts>>,
    peer: Peer,
    request: Request,
) -> Response {
    let (head, _) = request.into_parts();
    let asked = head.uri.path_and_query().map_or("", |asked| asked.as_str());
    let (policy, target) = split(asked);
    let headers = &head.headers;
    let (method, target) = if contracts.literal_headers {
        let target = only(headers, &LITERAL_PATH).map(|path| path.as_bytes());
        (method(headers, &LITERAL_METHOD), target)
    } else {
        (Ok(head.method), Ok(target))
    };
    let sub_request = SubRequest {
        contract: Contract::ExtAuthz,
        form: Form::Whole,
        policy,
        method,
        url: target.and_then(|target| original_url(headers, target)),
        headers,
        peer,
    };
    sub_request.answer(&contracts).await
}

/// The policy that the path names, and the original target behind the prefix.
fn split(asked: &str) -> (Option<&str>, &[u8]) {
    let named = asked
        .strip_prefix("/policy/")
        .and_then(|rest| rest.split_once('/'));
    let (policy, rest) = match named {
        Some((policy, rest)) => (Some(policy), &asked[asked.len() - rest.len() - 1..]),
        None => (None, asked),
    };
    let target = rest.strip_prefix(PREFIX).unwrap_or_default();
    (policy, target.as_bytes())
}

fn original_url<'a>(
    headers: &'a HeaderMap,
    target: &'a [u8],
) -> Result<OriginalUrl<'a>, MalformedOriginal> {
    let secure = OriginalUrl::is_secure(only(headers, &FORWARDED_PROTO)?.as_bytes())?;
    OriginalUrl::from_parts(secure, only(headers, &HOST)?.as_bytes(), target)
}

#[cfg(test)]
mod tests;
