//! What the contracts over HTTP have in common: how a sub-request is read and answered.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};

use super::Contracts;
use super::reply::{Form, reply};
use crate::check::{CheckRequest, ClientAddress, Detail, MalformedOriginal, Original, OriginalUrl};
use crate::listener::Permit;
use crate::policy::Contract;

/// A header that is an input of a contract.
pub(super) struct Input {
    pub(super) name: HeaderName,
    /// The name as people write it, for messages.
    pub(super) label: &'static str,
}

impl Input {
    pub(super) const fn new(name: &'static str, label: &'static str) -> Self {
        Self {
            name: HeaderName::from_static(name),
            label,
        }
    }

    /// The value, which must be there once.
    pub(super) fn value<'a>(
        &self,
        headers: &'a HeaderMap,
    ) -> Result<&'a HeaderValue, MalformedOriginal> {
        self.optional(headers)?
            .ok_or(MalformedOriginal::missing(self.label))
    }

    /// The value, which must not be there twice.
    pub(super) fn optional<'a>(
        &self,
        headers: &'a HeaderMap,
    ) -> Result<Option<&'a HeaderValue>, MalformedOriginal> {
        let mut values = headers.get_all(&self.name).into_iter();
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            _ => Err(MalformedOriginal::repeated(self.label)),
        }
    }

    /// The method that the header names.
    pub(super) fn method(&self, headers: &HeaderMap) -> Result<Method, MalformedOriginal> {
        let value = self.value(headers)?;
        Method::from_bytes(value.as_bytes()).map_err(|_| MalformedOriginal {
            input: self.label,
            problem: "is not a method",
        })
    }

    /// Whether the header names a scheme over TLS; `otherwise` where it is missing.
    pub(super) fn is_secure(
        &self,
        headers: &HeaderMap,
        otherwise: bool,
    ) -> Result<bool, MalformedOriginal> {
        let Some(scheme) = self.optional(headers)? else {
            return Ok(otherwise);
        };
        OriginalUrl::is_secure(scheme.as_bytes()).map_err(|_| MalformedOriginal {
            input: self.label,
            problem: "is none of http, https, ws and wss",
        })
    }
}

/// `X-Forwarded-Proto`: it says only with which scheme a return address begins.
pub(super) const FORWARDED_PROTO: Input = Input::new("x-forwarded-proto", "X-Forwarded-Proto");

/// The request as NGINX names it. Every NGINX of ingress-nginx sends both, on whichever contract.
pub(super) const ORIGINAL_METHOD: Input = Input::new("x-original-method", "X-Original-Method");
pub(super) const ORIGINAL_URL: Input = Input::new("x-original-url", "X-Original-URL");

/// Whether ingress-nginx asks, which sets this header itself (its template, `nginx.tmpl`). A client of another proxy can
/// send it, so it must only ever make an answer stricter.
pub(super) fn is_ingress_nginx(headers: &HeaderMap) -> bool {
    let sent_from = headers.get(HeaderName::from_static("x-sent-from"));
    sent_from.is_some_and(|name| name == "nginx-ingress-controller")
}

/// Reads the URL of the original request; the flag is whether clients come over TLS where no input says so.
type ReadUrl = fn(&HeaderMap, bool) -> Result<OriginalUrl<'_>, MalformedOriginal>;

/// A contract whose sub-requests say everything in headers.
pub(super) struct HeaderContract {
    pub(super) contract: Contract,
    /// How much of the answer the proxy that sends these headers hands on.
    pub(super) form: fn(&HeaderMap) -> Form,
    /// The header that names the original method.
    pub(super) method: Input,
    pub(super) url: ReadUrl,
}

impl HeaderContract {
    /// Reads a sub-request of `peer` for which the proxy names a policy, or none.
    pub(super) fn read<'a>(
        &self,
        policy: Option<&'a str>,
        peer: Option<SocketAddr>,
        headers: &'a HeaderMap,
        secure: bool,
    ) -> SubRequest<'a> {
        SubRequest {
            contract: self.contract,
            form: (self.form)(headers),
            policy,
            method: self.method.method(headers),
            url: (self.url)(headers, secure),
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
        permit: Option<Permit>,
    ) -> Response<String> {
        // Of two wrong inputs the URL is named: it says more about the proxy.
        let original = match (&self.method, self.url) {
            (_, Err(malformed)) => Err(malformed),
            (Err(malformed), _) => Err(*malformed),
            (Ok(method), Ok(url)) => Ok(Original { method, url }),
        };
        let request = CheckRequest {
            contract: self.contract,
            policy: self.policy,
            original,
            headers: self.headers,
            address: ClientAddress::InHeader,
            peer: self.peer.map(|address| address.ip()),
        };
        // The controller's own header names `$http_host`, and NGINX routes by `$host`.
        if self.contract == Contract::AuthRequest && is_ingress_nginx(self.headers) {
            contracts
                .checker
                .warn(self.contract, Some(Detail::HostOfClient));
        }
        let outcome = contracts.check_with_permit(permit, &request).await;
        reply(contracts, &request, &outcome, self.form)
    }
}
