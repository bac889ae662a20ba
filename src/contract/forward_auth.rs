//! Traefik ForwardAuth, Caddy `forward_auth`, APISIX `forward-auth`, haproxy-ingress, ingress-nginx.
//!
//! The proxy sends the original request in `X-Forwarded-Method`, `X-Forwarded-Host` and `X-Forwarded-Uri`, and the
//! scheme in `X-Forwarded-Proto`. The proxy sets these headers itself. This contract ignores the check's own method,
//! path and query (Caddy appends the client's query).
//!
//! 2xx allows the request. The proxy sends any other answer to the client completely, but ingress-nginx sends only the
//! status.
//!
//! ingress-nginx sets the `X-Forwarded-` headers of the check only with a ConfigMap (`auth-proxy-set-headers`). Without
//! that ConfigMap, the client can set these headers.
//!
//! ingress-nginx always sets `X-Original-Method` and `X-Original-URL`. So Curfew denies a check of ingress-nginx unless
//! these two headers describe the same request as the `X-Forwarded-` headers. ingress-nginx also removes the client's
//! `X-Forwarded-Proto`. So if `X-Forwarded-Proto` is present, it comes from the ConfigMap. Then `X-Forwarded-Host`
//! also comes from the ConfigMap, and names the host that NGINX routes by.

use http::HeaderMap;

use super::reply::ReplyForm;
use super::sub_request::{
    FORWARDED_PROTO, HeaderContract, Input, ORIGINAL_METHOD, ORIGINAL_URL, is_ingress_nginx,
};
use crate::check::{InvalidUrl, MalformedOriginal, OriginalUrl};
use crate::policy::{Contract, normalize_host};

const FORWARDED_METHOD: Input = Input::new("x-forwarded-method", "X-Forwarded-Method");
const FORWARDED_HOST: Input = Input::new("x-forwarded-host", "X-Forwarded-Host");
const FORWARDED_URI: Input = Input::new("x-forwarded-uri", "X-Forwarded-Uri");

/// The contract of `/forward-auth` and `/policy/{name}/forward-auth`.
pub(super) static FORWARD_AUTH: HeaderContract = HeaderContract {
    contract: Contract::ForwardAuth,
    reply_form,
    method_header: FORWARDED_METHOD,
    read_url: original_url,
};

fn reply_form(headers: &HeaderMap) -> ReplyForm {
    // ingress-nginx sends the check with `auth_request`, which turns a redirect into an error.
    match is_ingress_nginx(headers) {
        true => ReplyForm::StatusOnly,
        false => ReplyForm::Complete,
    }
}

fn original_url(headers: &HeaderMap, secure: bool) -> Result<OriginalUrl<'_>, MalformedOriginal> {
    let host = FORWARDED_HOST.value(headers)?.as_bytes();
    let uri = FORWARDED_URI.value(headers)?.as_bytes();
    let secure = FORWARDED_PROTO.is_secure(headers, secure)?;
    let url = OriginalUrl::from_parts(secure, host, uri).map_err(|invalid| match invalid {
        InvalidUrl::Host => invalid.for_input(FORWARDED_HOST.label),
        _ => invalid.for_input(FORWARDED_URI.label),
    })?;
    if reply_form(headers) == ReplyForm::StatusOnly {
        compare_with_controller(headers, &url)?;
    }
    Ok(url)
}

/// Compares `url` and the method with the headers that ingress-nginx always sets: `$request_method` and
/// `$scheme://$http_host$request_uri`.
fn compare_with_controller(
    headers: &HeaderMap,
    url: &OriginalUrl<'_>,
) -> Result<(), MalformedOriginal> {
    // ingress-nginx removes the client's `X-Forwarded-Proto`, and only the ConfigMap sets the header again. So the
    // header is missing if the ConfigMap is missing.
    FORWARDED_PROTO.value(headers)?;
    let method = ORIGINAL_METHOD.value(headers)?;
    let controller_url = OriginalUrl::parse(ORIGINAL_URL.value(headers)?.as_bytes())
        .map_err(|invalid| invalid.for_input(ORIGINAL_URL.label))?;
    let comparisons = [
        (
            FORWARDED_HOST.label,
            normalize_host(controller_url.host) == normalize_host(url.host),
        ),
        (
            FORWARDED_URI.label,
            (controller_url.path, controller_url.query) == (url.path, url.query),
        ),
        (
            FORWARDED_METHOD.label,
            FORWARDED_METHOD.optional_value(headers)? == Some(method),
        ),
    ];
    match comparisons.into_iter().find(|(_, same)| !same) {
        Some((input, _)) => Err(MalformedOriginal {
            input,
            problem: "differs from the header of ingress-nginx: set auth-proxy-set-headers, as deploy/nginx/ingress.yaml does",
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
