//! Envoy `ext_authz` over HTTP, and what is built on it: Istio, Envoy Gateway, Contour, the
//! external authorization filter of the Gateway API.
//!
//! The sub-request is the original one, under a prefix: its method, what follows the prefix, and
//! `Host`; the scheme is in `X-Forwarded-Proto`. NGINX Gateway Fabric asks for one fixed path
//! instead, and names the original in headers that are literally called `Method` and `Path`;
//! because any client of another proxy could send those, they count only where the configuration
//! says so, and then nothing else does. 200 lets the request pass.

use std::net::SocketAddr;

use http::request::Parts;

use super::reply::Form;
use super::sub_request::{FORWARDED_PROTO, Input, SubRequest};
use crate::check::{InvalidUrl, MalformedOriginal, OriginalUrl};
use crate::policy::Contract;

/// What the sub-request's path begins with, after the policy.
pub(super) const PREFIX: &str = "ext-authz";
const HOST: Input = Input::new("host", "Host");
const LITERAL_METHOD: Input = Input::new("method", "Method");
const LITERAL_PATH: Input = Input::new("path", "Path");

/// `/ext-authz/…` and `/policy/{name}/ext-authz/…`: `target` is what follows the prefix, and
/// `literal` whether the headers `Method` and `Path` count instead. Where the proxy does not hand on
/// `X-Forwarded-Proto`, clients come over TLS if `secure`.
pub(super) fn read<'a>(
    policy: Option<&'a str>,
    target: &'a str,
    head: &'a Parts,
    peer: Option<SocketAddr>,
    (literal, secure): (bool, bool),
) -> SubRequest<'a> {
    let headers = &head.headers;
    let (method, target) = if literal {
        let target = LITERAL_PATH.value(headers).map(|path| path.as_bytes());
        (LITERAL_METHOD.method(headers), target)
    } else {
        (Ok(head.method.clone()), Ok(target.as_bytes()))
    };
    SubRequest {
        contract: Contract::ExtAuthz,
        form: Form::Whole,
        policy,
        method,
        url: target.and_then(|target| original_url(head, target, secure)),
        headers,
        peer,
    }
}

fn original_url<'a>(
    head: &'a Parts,
    target: &'a [u8],
    secure: bool,
) -> Result<OriginalUrl<'a>, MalformedOriginal> {
    let host = host(head)?;
    let secure = FORWARDED_PROTO.is_secure(&head.headers, secure)?;
    OriginalUrl::from_parts(secure, host, target).map_err(|invalid| match invalid {
        InvalidUrl::Host => invalid.of(HOST.label),
        _ => invalid.of("the path after the prefix"),
    })
}

/// The host: over HTTP/2 it is `:authority` (RFC 9113, section 8.3.1), which `Host` must not contradict.
fn host(head: &Parts) -> Result<&[u8], MalformedOriginal> {
    let Some(authority) = head.uri.authority() else {
        return Ok(HOST.value(&head.headers)?.as_bytes());
    };
    let authority = authority.as_str().as_bytes();
    match HOST.optional(&head.headers)? {
        Some(host) if !host.as_bytes().eq_ignore_ascii_case(authority) => Err(MalformedOriginal {
            input: HOST.label,
            problem: "contradicts :authority",
        }),
        _ => Ok(authority),
    }
}

#[cfg(test)]
mod tests;
