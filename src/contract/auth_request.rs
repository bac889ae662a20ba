//! NGINX `auth_request`, and proxies that build on it.
//!
//! The proxy describes the original request in `X-Original-URL` and `X-Original-Method`. The proxy also passes on the
//! client's own `X-Forwarded-` headers, so this contract ignores these headers. The proxy allows the request on 2xx,
//! denies it on 401 and 403, and turns every other status into 500. The proxy discards the body of a reply. A redirect
//! works only if the proxy's configuration turns the `Location` of a 401 into a redirect.
//!
//! Two of the `X-Forwarded-` headers are not ignored: if a check has `X-Forwarded-Method` or `X-Forwarded-Uri`, Traefik
//! or Caddy may have sent it. These proxies forward an `X-Original-URL` that a client sent, so Curfew denies the check.

use http::HeaderMap;

use super::reply::ReplyForm;
use super::sub_request::{HeaderContract, Input, ORIGINAL_METHOD, ORIGINAL_URL};
use crate::check::{MalformedOriginal, OriginalUrl};
use crate::policy::Contract;

/// Check inputs of `/forward-auth`. If a check has one of them, Traefik or Caddy may have sent it.
const FORWARD_AUTH_INPUTS: [Input; 2] = [
    Input::new("x-forwarded-method", "X-Forwarded-Method"),
    Input::new("x-forwarded-uri", "X-Forwarded-Uri"),
];

/// The contract of `/auth-request` and `/policy/{name}/auth-request`.
pub(super) static AUTH_REQUEST: HeaderContract = HeaderContract {
    contract: Contract::AuthRequest,
    reply_form: |_| ReplyForm::StatusOnly,
    method_header: ORIGINAL_METHOD,
    read_url: original_url,
};

fn original_url(headers: &HeaderMap, _: bool) -> Result<OriginalUrl<'_>, MalformedOriginal> {
    for other_input in &FORWARD_AUTH_INPUTS {
        if headers.contains_key(&other_input.name) {
            return Err(MalformedOriginal {
                input: other_input.label,
                problem: "is not an input of /auth-request: use /forward-auth, or clear the header in the proxy",
            });
        }
    }
    let url = OriginalUrl::parse(ORIGINAL_URL.value(headers)?.as_bytes());
    url.map_err(|invalid| invalid.for_input(ORIGINAL_URL.label))
}

#[cfg(test)]
mod tests;
