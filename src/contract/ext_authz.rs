//! Envoy `ext_authz` over HTTP, and what is built on it: Istio, Envoy Gateway, Contour, the
//! external authorization filter of the Gateway API.
//!
//! The sub-request is the original one, under a prefix: its method, what follows the prefix, and
//! `Host`; the scheme is in `X-Forwarded-Proto`. NGINX Gateway Fabric asks for one fixed path
//! instead, and names the original in headers that are literally called `Method` and `Path`;
//! because any client of another proxy could send those, they count only where the configuration
//! says so, and then nothing else does. 200 lets the request pass.

use std::net::SocketAddr;

use http::header::HOST;
use http::{HeaderMap, HeaderName, Method};

use super::reply::Form;
use super::sub_request::{SubRequest, method, only};
use crate::check::{MalformedOriginal, OriginalUrl};
use crate::policy::Contract;

/// What the sub-request's path begins with, after the policy.
pub(super) const PREFIX: &str = "ext-authz";
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const LITERAL_METHOD: HeaderName = HeaderName::from_static("method");
const LITERAL_PATH: HeaderName = HeaderName::from_static("path");

/// `/ext-authz/…` and `/policy/{name}/ext-authz/…`: `target` is what follows the prefix, and
/// `literal` whether the headers `Method` and `Path` count instead.
pub(super) fn read<'a>(
    policy: Option<&'a str>,
    target: &'a str,
    asked_by: &Method,
    headers: &'a HeaderMap,
    peer: Option<SocketAddr>,
    literal: bool,
) -> SubRequest<'a> {
    let (method, target) = if literal {
        let target = only(headers, &LITERAL_PATH).map(|path| path.as_bytes());
        (method(headers, &LITERAL_METHOD), target)
    } else {
        (Ok(asked_by.clone()), Ok(target.as_bytes()))
    };
    SubRequest {
        contract: Contract::ExtAuthz,
        form: Form::Whole,
        policy,
        method,
        url: target.and_then(|target| original_url(headers, target)),
        headers,
        peer,
    }
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
