//! What the contracts over HTTP have in common: how a sub-request is read and answered.

use std::net::SocketAddr;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::any;
use axum::{Extension, Router};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::reply::{Form, reply};
use super::{Contracts, Peer};
use crate::check::{CheckRequest, ClientAddress, MalformedOriginal, Original, OriginalUrl};
use crate::live::Live;
use crate::policy::Contract;

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

/// A contract whose sub-requests say everything in headers.
pub(super) struct HeaderContract {
    pub(super) contract: Contract,
    pub(super) form: Form,
    /// The header that names the original method.
    pub(super) method: HeaderName,
    pub(super) url: fn(&HeaderMap) -> Result<OriginalUrl<'_>, MalformedOriginal>,
}

impl HeaderContract {
    /// The routes of its own path, with and without a policy.
    pub(super) fn routes(&'static self) -> Router<Live<Contracts>> {
        let check = move |contracts: State<Arc<Contracts>>, peer: Peer, headers: HeaderMap| async move {
            let sub_request = self.read(None, peer, &headers);
            sub_request.answer(&contracts).await
        };
        let check_policy = move |contracts: State<Arc<Contracts>>,
                                 policy: Path<String>,
                                 peer: Peer,
                                 headers: HeaderMap| async move {
            let sub_request = self.read(Some(&policy), peer, &headers);
            sub_request.answer(&contracts).await
        };
        let path = self.contract;
        Router::new()
            .route(&format!("/{path}"), any(check))
            .route(&format!("/policy/{{policy}}/{path}"), any(check_policy))
    }

    fn read<'a>(
        &self,
        policy: Option<&'a str>,
        peer: Peer,
        headers: &'a HeaderMap,
    ) -> SubRequest<'a> {
        SubRequest {
            contract: self.contract,
            form: self.form,
            policy,
            method: method(headers, &self.method),
            url: (self.url)(headers),
            headers,
            peer,
        }
    }
}

/// A sub-request, read by its contract.
pub(super) struct SubRequest<'a> {
    pub(super) contract: Contract,
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
            address: ClientAddress::InHeader,
            peer: self
                .peer
                .map(|Extension(address): Extension<SocketAddr>| address.ip()),
        };
        let outcome = contracts.checker.check(&request).await;
        reply(contracts, &request, &outcome, self.form).map(Body::from)
    }
}
