//! What the contracts over HTTP have in common: how a sub-request is read and answered.

use std::net::SocketAddr;

use axum::Extension;
use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::reply::{Form, reply};
use super::{Contracts, Peer};
use crate::check::{CheckRequest, MalformedOriginal, Original, OriginalUrl};

/// The value of a header that must be there once.
pub(super) fn only<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<&'a HeaderValue, MalformedOriginal> {
    let mut values = headers.get_all(name).into_iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(MalformedOriginal),
    }
}

/// The method that a header names.
pub(super) fn method(headers: &HeaderMap, name: &HeaderName) -> Result<Method, MalformedOriginal> {
    let value = only(headers, name)?;
    Method::from_bytes(value.as_bytes()).map_err(|_| MalformedOriginal)
}

/// A sub-request, read by its contract.
pub(super) struct SubRequest<'a> {
    pub(super) contract: &'static str,
    pub(super) form: Form,
    pub(super) policy: Option<&'a str>,
    pub(super) method: Result<Method, MalformedOriginal>,
    pub(super) url: Result<OriginalUrl<'a>, MalformedOriginal>,
    pub(super) headers: &'a HeaderMap,
    pub(super) peer: Peer,
}

impl SubRequest<'_> {
    /// Checks it, and answers over HTTP.
    pub(super) async fn answer(self, contracts: &Contracts) -> Response {
        let original = match (&self.method, self.url) {
            (Ok(method), Ok(url)) => Ok(Original { method, url }),
            _ => Err(MalformedOriginal),
        };
        let request = CheckRequest {
            contract: self.contract,
            policy: self.policy,
            original,
            headers: self.headers,
            peer: self
                .peer
                .map(|Extension(address): Extension<SocketAddr>| address.ip()),
        };
        let outcome = contracts.checker.check(&request).await;
        reply(contracts, &request, &outcome, self.form).map(Body::from)
    }
}
