//! Protection against cross-site request forgery (CWE-352): whether a request comes from a page of the same origin.
//!
//! Browsers send the header `Sec-Fetch-Site` (Fetch Metadata); older browsers send `Origin`. A page can forge neither
//! header. If both headers are missing, Curfew accepts only a request with `Authorization` and without a cookie: such
//! a request comes from a client that is not a browser.

use http::header::{AUTHORIZATION, COOKIE, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use url::Url;

use super::browser_request::BrowserRequest;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses a request from a page of another origin.
///
/// # Errors
/// 403, unless the request comes from a page of the same origin, or from a client that is not a browser.
pub(super) fn require_same_origin(browser_request: &BrowserRequest) -> Result<(), StatusCode> {
    if is_same_origin(&browser_request.headers, &browser_request.host) {
        Ok(())
    } else {
        tracing::debug!(
            host = browser_request.host,
            "request from another site refused"
        );
        Err(StatusCode::FORBIDDEN)
    }
}

pub(super) fn is_same_origin(headers: &HeaderMap, host: &str) -> bool {
    match (headers.get(SEC_FETCH_SITE), headers.get(ORIGIN)) {
        (Some(site), _) => site == "same-origin",
        (None, Some(origin)) => has_host(origin, host),
        (None, None) => headers.contains_key(AUTHORIZATION) && !headers.contains_key(COOKIE),
    }
}

/// Whether an origin has this host. The scheme is not compared, because only the proxy knows the scheme of the
/// request.
fn has_host(origin: &HeaderValue, host: &str) -> bool {
    let parse = |text: &str| Url::parse(text).ok().filter(Url::has_host);
    let Some(origin) = origin.to_str().ok().and_then(parse) else {
        return false;
    };
    let Some(expected) = parse(&format!("{}://{host}", origin.scheme())) else {
        return false;
    };
    let has_only_host = expected.path() == "/" && expected.username().is_empty();
    let authority = |url: &Url| {
        (
            url.host_str().map(str::to_owned),
            url.port_or_known_default(),
        )
    };
    matches!(origin.scheme(), "http" | "https")
        && has_only_host
        && authority(&origin) == authority(&expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_completely() {
        let has_host = |origin: &str, host| has_host(&HeaderValue::from_str(origin).unwrap(), host);
        for (origin, host) in [
            ("https://app.example.com", "app.example.com"),
            ("https://app.example.com", "APP.example.com:443"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://[::1]:8080", "[::1]:8080"),
        ] {
            assert!(has_host(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("null", "app.example.com"),
            ("https://app.example.com.evil.example", "app.example.com"),
            ("https://evil.example", "app.example.com"),
            ("https://app.example.com:8443", "app.example.com"),
            ("https://app.example.com", "app.example.com:8443"),
            ("https://app.example.com", "app.example.com/x@evil"),
            ("file:///app.example.com", "app.example.com"),
            ("https://", "app.example.com"),
        ] {
            assert!(!has_host(origin, host), "{origin} {host}");
        }
    }
}
