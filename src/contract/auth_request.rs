//! NGINX `auth_request`, and ingress-nginx `auth-url`.
//!
//! The proxy names the original request in `X-Original-URL` and `X-Original-Method`; every other
//! forwarded header is the client's and is ignored. It lets the request pass on 2xx, denies on 401
//! and 403, and turns every other status into 500.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::header::{CACHE_CONTROL, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::{Contracts, identity};
use crate::check::{CheckRequest, MalformedOriginal, Original, OriginalUrl, Outcome};
use crate::session::{DenyReason, Verdict};

const CONTRACT: &str = "auth-request";
const ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");
const ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const SESSION_REASON: HeaderName = HeaderName::from_static("x-session-reason");

/// `/auth-request`.
pub(super) async fn check(
    State(contracts): State<Arc<Contracts>>,
    peer: Option<Extension<SocketAddr>>,
    headers: HeaderMap,
) -> Response {
    answer(&contracts, None, peer, &headers).await
}

/// `/policy/{name}/auth-request`.
pub(super) async fn check_policy(
    State(contracts): State<Arc<Contracts>>,
    Path(policy): Path<String>,
    peer: Option<Extension<SocketAddr>>,
    headers: HeaderMap,
) -> Response {
    answer(&contracts, Some(&policy), peer, &headers).await
}

async fn answer(
    contracts: &Contracts,
    policy: Option<&str>,
    peer: Option<Extension<SocketAddr>>,
    headers: &HeaderMap,
) -> Response {
    let method = original_method(headers);
    let original = match (&method, original_url(headers)) {
        (Ok(method), Ok(url)) => Ok(Original { method, url }),
        _ => Err(MalformedOriginal),
    };
    let peer = peer.map(|Extension(address)| address.ip());
    let request = CheckRequest {
        contract: CONTRACT,
        policy,
        original,
        headers,
        peer,
    };
    reply(contracts, &contracts.checker.check(&request).await)
}

fn original_method(headers: &HeaderMap) -> Result<Method, MalformedOriginal> {
    let value = only(headers, &ORIGINAL_METHOD)?;
    Method::from_bytes(value.as_bytes()).map_err(|_| MalformedOriginal)
}

fn original_url(headers: &HeaderMap) -> Result<OriginalUrl<'_>, MalformedOriginal> {
    OriginalUrl::parse(only(headers, &ORIGINAL_URL)?.as_bytes())
}

/// The value of a header that must be there once.
fn only<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<&'a HeaderValue, MalformedOriginal> {
    let mut values = headers.get_all(name).into_iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(MalformedOriginal),
    }
}

fn reply(contracts: &Contracts, outcome: &Outcome) -> Response {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match (outcome.verdict, &outcome.session) {
        (Verdict::Allow, Some((id, session))) => identity::write(headers, *id, session),
        // There is no allowing without a session: fail closed.
        (Verdict::Allow, None) => deny(
            contracts,
            outcome,
            DenyReason::StoreUnavailable,
            &mut response,
        ),
        (Verdict::Deny(reason), _) => deny(contracts, outcome, reason, &mut response),
    }
    response
}

fn deny(contracts: &Contracts, outcome: &Outcome, reason: DenyReason, response: &mut Response) {
    *response.status_mut() = match reason {
        DenyReason::Forbidden => StatusCode::FORBIDDEN,
        DenyReason::StoreUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNAUTHORIZED,
    };
    let headers = response.headers_mut();
    headers.insert(SESSION_REASON, HeaderValue::from_static(reason.as_str()));
    match reason {
        DenyReason::Forbidden => {}
        DenyReason::StoreUnavailable => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {
            headers.insert(WWW_AUTHENTICATE, challenge(reason, outcome.max_auth_age));
        }
    }
    if reason.is_terminal() {
        headers.insert(SET_COOKIE, contracts.cookie.cleared());
    }
}

/// The challenge of a 401: RFC 6750 section 3, which wants no error code where no credential came,
/// and RFC 9470 for step-up.
fn challenge(reason: DenyReason, max_auth_age: Option<u64>) -> HeaderValue {
    let text = match (reason, max_auth_age) {
        (DenyReason::NoCredential | DenyReason::MalformedRequest, _) => "Bearer".to_owned(),
        (DenyReason::ReauthenticationRequired, Some(age)) => {
            format!("Bearer error=\"insufficient_user_authentication\", max_age={age}")
        }
        (DenyReason::ReauthenticationRequired, None) => {
            "Bearer error=\"insufficient_user_authentication\"".to_owned()
        }
        _ => format!("Bearer error=\"invalid_token\", error_description=\"{reason}\""),
    };
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
}

#[cfg(test)]
mod tests;
