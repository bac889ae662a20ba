//! Signing out at the identity provider, too (OpenID Connect RP-Initiated Logout 1.0).
//!
//! The provider knows whom to log out by the ID token. Curfew keeps no credentials, so the browser
//! keeps it: in a cookie that is sent to the sign-out alone.

use http::HeaderValue;
use url::Url;

use super::browser_request::BrowserRequest;
use super::cookies::{cookie, gone};
use super::sign_out::SIGNED_OUT;
use crate::contract::Contracts;
use crate::credential::cookie_values;
use crate::login::{Login, Provider};

/// Where the cookie is sent to.
const PATH: &str = "/.curfew/sign-out";
/// The most bytes of an ID token that is kept: the whole head of the answer must fit in the 4 KiB that
/// NGINX has for it. Without it the provider asks the person whether they mean it.
const ROOM: usize = 1800;

const fn name(secure: bool) -> &'static str {
    if secure {
        "__Secure-curfew-provider"
    } else {
        "curfew-provider"
    }
}

/// The cookie that says who signed a person in.
pub(super) fn remember(login: &Login, provider: &Provider, id_token: &str) -> Option<HeaderValue> {
    let value = hint(provider.name(), id_token);
    let cookie = cookie(
        name(login.secure),
        &value,
        PATH,
        login.domain.as_deref(),
        login.secure,
    );
    HeaderValue::from_str(&cookie.to_string()).ok()
}

/// Who signed a person in, and the token where it is not too long.
fn hint(provider: &str, id_token: &str) -> String {
    let id_token = if id_token.len() > ROOM { "" } else { id_token };
    format!("{provider}:{id_token}")
}

/// Where the browser goes to sign out at its provider; `None` where nobody knows one, or where that can't
/// be found out now.
pub(super) async fn way(contracts: &Contracts, browser_request: &BrowserRequest) -> Option<Url> {
    let login = contracts.login.as_deref()?;
    let mut values = cookie_values(&browser_request.headers, name(login.secure));
    let value = std::str::from_utf8(values.next()?).ok()?;
    let (provider, id_token) = value.split_once(':')?;
    let provider = login.provider(Some(provider))?;
    let id_token = Some(id_token).filter(|it| !it.is_empty());
    let after = login.url.join(".curfew/signed-out").ok()?;
    let now = contracts.checker.lifecycle.clock.now();
    let way = provider.end_session(id_token, after, SIGNED_OUT, now).await;
    way.unwrap_or_else(|error| {
        tracing::warn!(provider = provider.name(), %error, "somebody signed out here alone");
        None
    })
}

/// What makes the browser forget who signed the person in.
pub(super) fn forget(contracts: &Contracts) -> Option<HeaderValue> {
    let login = contracts.login.as_deref()?;
    gone(
        name(login.secure),
        PATH,
        login.domain.as_deref(),
        login.secure,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_too_long_is_left_out() {
        let token = "x".repeat(ROOM);
        assert_eq!(hint("main", &token), format!("main:{token}"));
        assert_eq!(hint("main", &(token + "x")), "main:");
    }
}
