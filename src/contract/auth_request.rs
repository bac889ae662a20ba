//! NGINX `auth_request`, and what is built on it.
//!
//! The proxy names the original request in `X-Original-URL` and `X-Original-Method`; every other
//! forwarded header is the client's and is ignored. It lets the request pass on 2xx, denies on 401
//! and 403, and turns every other status into 500. It drops bodies, and a redirect only works where
//! it is configured to make one of the 401's `Location`.
//!
//! `X-Forwarded-Method` and `X-Forwarded-Uri` show that a proxy of another family asks: Traefik, or Caddy. It hands
//! on a client's own `X-Original-URL`, so nothing that it sends is judged here.

use http::HeaderMap;

use super::reply::Form;
use super::sub_request::{HeaderContract, Input, ORIGINAL_METHOD, ORIGINAL_URL};
use crate::check::{MalformedOriginal, OriginalUrl};
use crate::policy::Contract;

/// Inputs of `/forward-auth`.
const FOREIGN: [Input; 2] = [
    Input::new("x-forwarded-method", "X-Forwarded-Method"),
    Input::new("x-forwarded-uri", "X-Forwarded-Uri"),
];

/// `/auth-request` and `/policy/{name}/auth-request`.
pub(super) static AUTH_REQUEST: HeaderContract = HeaderContract {
    contract: Contract::AuthRequest,
    form: |_| Form::Status,
    method: ORIGINAL_METHOD,
    url: original_url,
};

fn original_url(headers: &HeaderMap, _: bool) -> Result<OriginalUrl<'_>, MalformedOriginal> {
    for foreign in &FOREIGN {
        if headers.contains_key(&foreign.name) {
            return Err(MalformedOriginal {
                input: foreign.label,
                problem: "is not an input of /auth-request: use /forward-auth, or clear the header in the proxy",
            });
        }
    }
    let url = OriginalUrl::parse(ORIGINAL_URL.value(headers)?.as_bytes());
    url.map_err(|invalid| invalid.of(ORIGINAL_URL.label))
}

#[cfg(test)]
mod tests;
