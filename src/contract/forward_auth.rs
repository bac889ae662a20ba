//! Traefik ForwardAuth, Caddy `forward_auth`, APISIX `forward-auth`.
//!
//! The proxy names the original request in `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri`,
//! which it sets itself; the sub-request's own method, path and query say nothing (Caddy appends
//! the client's query to it). 2xx lets the request pass, everything else is handed to the client
//! whole.

use http::{HeaderMap, HeaderName};

use super::reply::Form;
use super::sub_request::{HeaderContract, only};
use crate::check::{MalformedOriginal, OriginalUrl};
use crate::policy::Contract;

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// `/forward-auth` and `/policy/{name}/forward-auth`.
pub(super) static FORWARD_AUTH: HeaderContract = HeaderContract {
    contract: Contract::ForwardAuth,
    form: Form::Whole,
    method: HeaderName::from_static("x-forwarded-method"),
    url: original_url,
};

fn original_url(headers: &HeaderMap) -> Result<OriginalUrl<'_>, MalformedOriginal> {
    let secure = OriginalUrl::is_secure(only(headers, &FORWARDED_PROTO)?.as_bytes())?;
    let host = only(headers, &FORWARDED_HOST)?.as_bytes();
    OriginalUrl::from_parts(secure, host, only(headers, &FORWARDED_URI)?.as_bytes())
}

#[cfg(test)]
mod tests;
