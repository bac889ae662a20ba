//! NGINX `auth_request`, and ingress-nginx `auth-url`.
//!
//! The proxy names the original request in `X-Original-URL` and `X-Original-Method`; every other
//! forwarded header is the client's and is ignored. It lets the request pass on 2xx, denies on 401
//! and 403, and turns every other status into 500. It drops bodies, and a redirect only works where
//! it is configured to make one of the 401's `Location`.

use http::{HeaderMap, HeaderName};

use super::reply::Form;
use super::sub_request::{HeaderContract, only};
use crate::check::{MalformedOriginal, OriginalUrl};
use crate::policy::Contract;

const ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");

/// `/auth-request` and `/policy/{name}/auth-request`.
pub(super) static AUTH_REQUEST: HeaderContract = HeaderContract {
    contract: Contract::AuthRequest,
    form: Form::Status,
    method: HeaderName::from_static("x-original-method"),
    url: original_url,
};

fn original_url(headers: &HeaderMap) -> Result<OriginalUrl<'_>, MalformedOriginal> {
    OriginalUrl::parse(only(headers, &ORIGINAL_URL)?.as_bytes())
}

#[cfg(test)]
mod tests;
