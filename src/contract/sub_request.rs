//! The common part of the contracts over HTTP: reads checks, and answers them.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};

use super::Contracts;
use super::reply::{ReplyForm, build_reply};
use crate::admission::Permit;
use crate::check::{CheckRequest, ClientAddress, Detail, MalformedOriginal, Original, OriginalUrl};
use crate::policy::Contract;

/// A check input that is a header.
pub(super) struct Input {
    pub(super) name: HeaderName,
    /// The name in its usual spelling, for messages.
    pub(super) label: &'static str,
}

impl Input {
    pub(super) const fn new(name: &'static str, label: &'static str) -> Self {
        Self {
            name: HeaderName::from_static(name),
            label,
        }
    }

    /// Returns the value. It is an error if the header is missing or repeated.
    pub(super) fn value<'a>(
        &self,
        headers: &'a HeaderMap,
    ) -> Result<&'a HeaderValue, MalformedOriginal> {
        self.optional_value(headers)?
            .ok_or(MalformedOriginal::missing(self.label))
    }

    /// Returns the value, or `None` if the header is missing. It is an error if the header is repeated.
    pub(super) fn optional_value<'a>(
        &self,
        headers: &'a HeaderMap,
    ) -> Result<Option<&'a HeaderValue>, MalformedOriginal> {
        let mut values = headers.get_all(&self.name).into_iter();
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            _ => Err(MalformedOriginal::repeated(self.label)),
        }
    }

    /// Returns the method in the header.
    pub(super) fn method(&self, headers: &HeaderMap) -> Result<Method, MalformedOriginal> {
        let value = self.value(headers)?;
        Method::from_bytes(value.as_bytes()).map_err(|_| MalformedOriginal {
            input: self.label,
            problem: "is not a valid HTTP method",
        })
    }

    /// Returns whether the header names a TLS scheme, or `default` if the header is missing.
    pub(super) fn is_secure(
        &self,
        headers: &HeaderMap,
        default: bool,
    ) -> Result<bool, MalformedOriginal> {
        let Some(scheme) = self.optional_value(headers)? else {
            return Ok(default);
        };
        OriginalUrl::is_secure(scheme.as_bytes()).map_err(|_| MalformedOriginal {
            input: self.label,
            problem: "is not http, https, ws or wss",
        })
    }
}

/// The scheme of the original request. Only return addresses use it.
pub(super) const FORWARDED_PROTO: Input = Input::new("x-forwarded-proto", "X-Forwarded-Proto");

/// The method of the original request, from NGINX. ingress-nginx sends this header and `X-Original-URL` with every
/// contract.
pub(super) const ORIGINAL_METHOD: Input = Input::new("x-original-method", "X-Original-Method");
pub(super) const ORIGINAL_URL: Input = Input::new("x-original-url", "X-Original-URL");

/// Whether ingress-nginx sent the check. ingress-nginx sets `X-Sent-From` itself (`nginx.tmpl`). A client of another
/// proxy can send this header, too, so the header may only make an answer stricter.
pub(super) fn is_ingress_nginx(headers: &HeaderMap) -> bool {
    let sent_from = headers.get(HeaderName::from_static("x-sent-from"));
    sent_from.is_some_and(|name| name == "nginx-ingress-controller")
}

/// Reads the URL of the original request. The flag is true if clients use TLS; it is used only if the proxy sends no
/// scheme.
type ReadUrl = fn(&HeaderMap, bool) -> Result<OriginalUrl<'_>, MalformedOriginal>;

/// A contract whose check inputs are all headers.
pub(super) struct HeaderContract {
    pub(super) contract: Contract,
    /// Which part of the reply the proxy passes on.
    pub(super) reply_form: fn(&HeaderMap) -> ReplyForm,
    /// The header with the original method.
    pub(super) method_header: Input,
    /// Reads the original URL from the headers.
    pub(super) read_url: ReadUrl,
}

impl HeaderContract {
    /// Reads a check of `peer`. `policy` is the policy name that the proxy sends.
    pub(super) fn read<'a>(
        &self,
        policy: Option<&'a str>,
        peer: Option<SocketAddr>,
        headers: &'a HeaderMap,
        secure: bool,
    ) -> SubRequest<'a> {
        SubRequest {
            contract: self.contract,
            reply_form: (self.reply_form)(headers),
            policy,
            method: self.method_header.method(headers),
            url: (self.read_url)(headers, secure),
            headers,
            peer,
        }
    }
}

/// A check over HTTP, as its contract has read it.
pub(super) struct SubRequest<'a> {
    pub(super) contract: Contract,
    pub(super) reply_form: ReplyForm,
    pub(super) policy: Option<&'a str>,
    pub(super) method: Result<Method, MalformedOriginal>,
    pub(super) url: Result<OriginalUrl<'a>, MalformedOriginal>,
    pub(super) headers: &'a HeaderMap,
    pub(super) peer: Option<SocketAddr>,
}

impl SubRequest<'_> {
    /// Answers the check with an HTTP reply. Without a permit the check is denied.
    pub(super) async fn answer(
        self,
        contracts: &Contracts,
        permit: Option<Permit>,
    ) -> Response<String> {
        // If both inputs are invalid, report the URL, because its error shows more about the mistake in the proxy.
        let original = match (&self.method, self.url) {
            (_, Err(malformed)) => Err(malformed),
            (Err(malformed), _) => Err(*malformed),
            (Ok(method), Ok(url)) => Ok(Original::new(method, url)),
        };
        let request = CheckRequest {
            contract: self.contract,
            policy: self.policy,
            original,
            headers: self.headers,
            address: ClientAddress::InHeader,
            peer: self.peer.map(|address| address.ip()),
        };
        // ingress-nginx puts `$http_host` into `X-Original-URL`, but NGINX routes by `$host`. The two can differ, so
        // warn the operator.
        if self.contract == Contract::AuthRequest && is_ingress_nginx(self.headers) {
            contracts
                .checker
                .warn(self.contract, Some(Detail::HostOfClient));
        }
        let outcome = contracts.check_with_permit(permit, &request).await;
        build_reply(contracts, &request, &outcome, self.reply_form)
    }
}
