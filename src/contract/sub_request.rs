//! What the contracts over HTTP have in common: how a sub-request is read and answered.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};

use super::Contracts;
use super::reply::{Form, reply};
use crate::check::{CheckRequest, ClientAddress, MalformedOriginal, Original, OriginalUrl};
use crate::listener::Place;
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
    /// Reads a sub-request of `peer` for which the proxy names a policy, or none.
    pub(super) fn read<'a>(
        &self,
        policy: Option<&'a str>,
        peer: Option<SocketAddr>,
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
    pub(super) peer: Option<SocketAddr>,
}

impl SubRequest<'_> {
    /// Checks it if it has a place, and answers over HTTP.
    pub(super) async fn answer(
        self,
        contracts: &Contracts,
        place: Option<Place>,
    ) -> Response<String> {
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
            peer: self.peer.map(|address| address.ip()),
        };
        let outcome = contracts.check_in(place, &request).await;
        reply(contracts, &request, &outcome, self.form)
    }
}
