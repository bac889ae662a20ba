//! Envoy `ext_authz` over HTTP, and proxies that build on it: Istio, Envoy Gateway, Contour, the external
//! authorization filter of the Gateway API.
//!
//! The check has the method and the `Host` of the original request. The path of the check is a prefix and the
//! original path. The scheme is in `X-Forwarded-Proto`. 200 allows the request.
//!
//! NGINX Gateway Fabric sends every check to one path, and sends the original request in headers with the names
//! `Method` and `Path`. A client of another proxy could send these headers, too, so Curfew reads them only with the
//! setting `literal_headers`. It then ignores the method and path of the check itself.

use std::net::SocketAddr;

use http::request::Parts;

use super::reply::ReplyForm;
use super::sub_request::{FORWARDED_PROTO, Input, SubRequest};
use crate::check::{InvalidUrl, MalformedOriginal, OriginalUrl};
use crate::policy::Contract;

/// The segment of the check's path that selects this contract: the first segment, or the segment after the policy
/// name.
pub(super) const PREFIX: &str = "ext-authz";
const HOST: Input = Input::new("host", "Host");
const LITERAL_METHOD: Input = Input::new("method", "Method");
const LITERAL_PATH: Input = Input::new("path", "Path");

/// Reads `/ext-authz/…` and `/policy/{name}/ext-authz/…`. `target` is the part after the prefix.
///
/// If `literal` is true, the headers `Method` and `Path` replace the method and path of the check. If the proxy does
/// not send `X-Forwarded-Proto`, the scheme is `https` if `secure` is true, and `http` otherwise.
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
        reply_form: ReplyForm::Complete,
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
        InvalidUrl::Host => invalid.for_input(HOST.label),
        _ => invalid.for_input("the path after the prefix"),
    })
}

/// Returns the host. Over HTTP/2 the host is `:authority`, and `Host` must not differ from it (RFC 9113, section
/// 8.3.1).
fn host(head: &Parts) -> Result<&[u8], MalformedOriginal> {
    let Some(authority) = head.uri.authority() else {
        return Ok(HOST.value(&head.headers)?.as_bytes());
    };
    let authority = authority.as_str().as_bytes();
    match HOST.optional_value(&head.headers)? {
        Some(host) if !host.as_bytes().eq_ignore_ascii_case(authority) => Err(MalformedOriginal {
            input: HOST.label,
            problem: "contradicts :authority",
        }),
        _ => Ok(authority),
    }
}

#[cfg(test)]
mod tests;
