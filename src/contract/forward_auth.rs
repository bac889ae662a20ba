//! Traefik ForwardAuth, Caddy `forward_auth`, APISIX `forward-auth`, haproxy-ingress, ingress-nginx.
//!
//! The proxy names the original request in `X-Forwarded-Method`, `-Host` and `-Uri`, which it sets
//! itself, and the scheme in `-Proto`; the sub-request's own method, path and query say nothing (Caddy appends
//! the client's query to it). 2xx lets the request pass, everything else is handed to the client
//! whole; by ingress-nginx the status alone.

use http::{HeaderMap, HeaderName};

use super::reply::Form;
use super::sub_request::{FORWARDED_PROTO, HeaderContract, Input};
use crate::check::{InvalidUrl, MalformedOriginal, OriginalUrl};
use crate::policy::Contract;

const FORWARDED_HOST: Input = Input::new("x-forwarded-host", "X-Forwarded-Host");
const FORWARDED_URI: Input = Input::new("x-forwarded-uri", "X-Forwarded-Uri");

/// How ingress-nginx says who it is (its template, `nginx.tmpl`). It asks with `auth_request`, which makes an error
/// of a redirect.
const SENT_FROM: HeaderName = HeaderName::from_static("x-sent-from");

/// `/forward-auth` and `/policy/{name}/forward-auth`.
pub(super) static FORWARD_AUTH: HeaderContract = HeaderContract {
    contract: Contract::ForwardAuth,
    form,
    method: Input::new("x-forwarded-method", "X-Forwarded-Method"),
    url: original_url,
};

fn form(headers: &HeaderMap) -> Form {
    match headers.get(SENT_FROM) {
        Some(name) if name == "nginx-ingress-controller" => Form::Status,
        _ => Form::Whole,
    }
}

fn original_url(headers: &HeaderMap, secure: bool) -> Result<OriginalUrl<'_>, MalformedOriginal> {
    let host = FORWARDED_HOST.value(headers)?.as_bytes();
    let uri = FORWARDED_URI.value(headers)?.as_bytes();
    let secure = FORWARDED_PROTO.is_secure(headers, secure)?;
    OriginalUrl::from_parts(secure, host, uri).map_err(|invalid| match invalid {
        InvalidUrl::Host => invalid.of(FORWARDED_HOST.label),
        _ => invalid.of(FORWARDED_URI.label),
    })
}

#[cfg(test)]
mod tests;
