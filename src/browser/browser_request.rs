use std::net::SocketAddr;

use axum::extract::FromRequestParts;
use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Uri};

use crate::check::{CheckRequest, ClientAddress, Original, OriginalUrl};
use crate::policy::Contract;

/// The parts of a browser's request that a check needs.
pub(super) struct BrowserRequest {
    pub(super) headers: HeaderMap,
    /// The host, with the port if the request has one.
    pub(super) host: String,
    pub(super) method: Method,
    uri: Uri,
    peer: Option<SocketAddr>,
    address: ClientAddress,
}

impl<S: Sync> FromRequestParts<S> for BrowserRequest {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        let authority = parts.uri.authority().map(|host| host.as_str().to_owned());
        let mut host_headers = parts.headers.get_all(HOST).into_iter();
        let host = match (authority, host_headers.next(), host_headers.next()) {
            (Some(host), ..) => Some(host),
            (None, Some(host), None) => host.to_str().ok().map(str::to_owned),
            _ => None,
        };
        let peer: Option<&SocketAddr> = parts.extensions.get();
        let client_address: Option<&ClientAddress> = parts.extensions.get();
        Ok(Self {
            headers: parts.headers.clone(),
            host: host.ok_or(StatusCode::BAD_REQUEST)?,
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            peer: peer.copied(),
            // A listener sets this value for its requests. The default is for a router without a listener, as in
            // tests.
            address: client_address.copied().unwrap_or(ClientAddress::InHeader),
        })
    }
}

impl BrowserRequest {
    /// Converts the request to a check of the requested page.
    ///
    /// # Errors
    /// 400 if the host or path is ambiguous.
    pub(super) fn to_check_request(&self) -> Result<CheckRequest<'_>, StatusCode> {
        let (host, path) = (self.host.as_bytes(), self.uri.path().as_bytes());
        let url = OriginalUrl::from_parts(true, host, path);
        let url = url.map_err(|_| StatusCode::BAD_REQUEST)?;
        let method = &self.method;
        Ok(CheckRequest {
            contract: Contract::ForwardAuth,
            policy: None,
            original: Ok(Original::new(method, url)),
            headers: &self.headers,
            address: self.address,
            peer: self.peer.map(|peer| peer.ip()),
        })
    }
}
