//! NGINX `auth_request`, and ingress-nginx `auth-url`.
//!
//! The proxy names the original request in `X-Original-URL` and `X-Original-Method`; every other
//! forwarded header is the client's and is ignored. It lets the request pass on 2xx, denies on 401
//! and 403, and turns every other status into 500. It drops bodies, and a redirect only works where
//! it is configured to make one of the 401's `Location`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, HeaderName};

use super::reply::Form;
use super::sub_request::{SubRequest, method, only};
use super::{Contracts, Peer};
use crate::check::{MalformedOriginal, OriginalUrl};

const ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");
const ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");

/// `/auth-request`.
pub(super) async fn check(
    State(contracts): State<Arc<Contracts>>,
    peer: Peer,
    headers: HeaderMap,
) -> Response {
    read(None, peer, &headers).answer(&contracts).await
}

/// `/policy/{name}/auth-request`.
pub(super) async fn check_policy(
    State(contracts): State<Arc<Contracts>>,
    Path(policy): Path<String>,
    peer: Peer,
    headers: HeaderMap,
) -> Response {
    read(Some(&policy), peer, &headers).answer(&contracts).await
}

fn read<'a>(policy: Option<&'a str>, peer: Peer, headers: &'a HeaderMap) -> SubRequest<'a> {
    SubRequest {
        contract: "auth-request",
        form: Form::Status,
        policy,
        method: method(headers, &ORIGINAL_METHOD),
        url: original_url(headers),
        headers,
        peer,
    }
}

fn original_url(headers: &HeaderMap) -> Result<OriginalUrl<'_>, MalformedOriginal> {
    OriginalUrl::parse(only(headers, &ORIGINAL_URL)?.as_bytes())
}

#[cfg(test)]
mod tests;
