//! Builds cookies other than the session cookie. The module `contract` builds the session cookie.

use cookie::{Cookie, SameSite};
use http::HeaderValue;

use crate::login::ATTEMPT_LIFETIME;

/// Builds a cookie that scripts cannot read. Browsers also send it when another site redirects them to Curfew
/// (`SameSite=Lax`).
pub(super) fn cookie(
    name: &str,
    value: &str,
    path: &str,
    domain: Option<&str>,
    secure: bool,
) -> Cookie<'static> {
    let mut cookie = Cookie::build((name.to_owned(), value.to_owned()))
        .path(path.to_owned())
        .secure(secure)
        .http_only(true)
        .same_site(SameSite::Lax)
        .build();
    if let Some(domain) = domain {
        cookie.set_domain(domain.to_owned());
    }
    cookie
}

/// Builds the cookie of a sign-in attempt. It expires together with the attempt.
pub fn attempt_cookie(name: &str, value: &str, secure: bool) -> Cookie<'static> {
    let mut cookie = cookie(name, value, "/", None, secure);
    let seconds = ATTEMPT_LIFETIME.as_secs().cast_signed();
    cookie.set_max_age(cookie::time::Duration::seconds(seconds));
    cookie
}

/// Returns a `Set-Cookie` value that deletes the cookie in the browser.
pub fn removal_cookie(
    name: &str,
    path: &str,
    domain: Option<&str>,
    secure: bool,
) -> Option<HeaderValue> {
    let mut cookie = cookie(name, "", path, domain, secure);
    cookie.set_max_age(cookie::time::Duration::ZERO);
    HeaderValue::from_str(&cookie.to_string()).ok()
}
