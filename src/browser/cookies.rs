//! The cookies of a sign-in, which are not the session's.

use cookie::{Cookie, SameSite};
use http::HeaderValue;

use crate::login::ATTEMPT_LIFETIME;

/// A cookie that no script reads, and that comes back when another site sends the browser here.
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

/// The cookie of an attempt to sign in, for as long as that may take.
pub fn passing(name: &str, value: &str, secure: bool) -> Cookie<'static> {
    let mut cookie = cookie(name, value, "/", None, secure);
    let seconds = ATTEMPT_LIFETIME.as_secs().cast_signed();
    cookie.set_max_age(cookie::time::Duration::seconds(seconds));
    cookie
}

/// What makes a browser drop it.
pub fn gone(name: &str, path: &str, domain: Option<&str>, secure: bool) -> Option<HeaderValue> {
    let mut cookie = cookie(name, "", path, domain, secure);
    cookie.set_max_age(cookie::time::Duration::ZERO);
    HeaderValue::from_str(&cookie.to_string()).ok()
}
