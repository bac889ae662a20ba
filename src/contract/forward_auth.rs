//! Traefik ForwardAuth, Caddy `forward_auth`, APISIX `forward-auth`.
//!
//! The proxy names the original request in `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri`,
//! which it sets itself; the sub-request's own method, path and query say nothing (Caddy appends
//! the client's query to it). 2xx lets the request pass, everything else is handed to the client
//! whole.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, HeaderName};

use super::reply::Form;
use super::sub_request::{SubRequest, method, only};
use super::{Contracts, Peer};
use crate::check::{MalformedOriginal, OriginalUrl};

const FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// `/forward-auth`.
pub(super) async fn check(
    State(contracts): State<Arc<Contracts>>,
    peer: Peer,
    headers: HeaderMap,
) -> Response {
    read(None, peer, &headers).answer(&contracts).await
}

/// `/policy/{name}/forward-auth`.
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
        contract: "forward-auth",
        form: Form::Whole,
        policy,
        method: method(headers, &FORWARDED_METHOD),
        url: original_url(headers),
        headers,
        peer,
    }
}

fn original_url(headers: &HeaderMap) -> Result<OriginalUrl<'_>, MalformedOriginal> {
    let secure = OriginalUrl::is_secure(only(headers, &FORWARDED_PROTO)?.as_bytes())?;
    let host = only(headers, &FORWARDED_HOST)?.as_bytes();
    OriginalUrl::from_parts(secure, host, only(headers, &FORWARDED_URI)?.as_bytes())
}

#[cfg(test)]
mod tests;
