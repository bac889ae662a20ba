//! RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0): a sign-out at Curfew also signs the person out at the
//! identity provider.
//!
//! The ID token shows the provider which person to log out. Curfew stores no credentials, so the ID token is in a
//! cookie of the browser. The browser sends this cookie only to the sign-out path.

use http::HeaderValue;
use url::Url;

use super::browser_request::BrowserRequest;
use super::cookies::{cookie, removal_cookie};
use crate::contract::Contracts;
use crate::credential::cookie_values;
use crate::login::{Login, Provider};
use crate::secret::Secret;
use crate::session::DenyReason;

/// The path of the cookie: browsers send the cookie only to the sign-out path.
const COOKIE_PATH: &str = "/.curfew/sign-out";
/// The maximum size of the ID token in the cookie, because the response head must fit in NGINX's buffer of 4 KiB. A
/// larger token is left out, and then the provider asks the person to confirm the logout.
const MAX_ID_TOKEN_BYTES: usize = 1800;

const fn cookie_name(secure: bool) -> &'static str {
    if secure {
        "__Secure-curfew-provider"
    } else {
        "curfew-provider"
    }
}

/// Builds the cookie with the provider of the session and the ID token. A sign-out sends the token to the provider as
/// `id_token_hint`.
pub(super) fn hint_cookie(
    login: &Login,
    provider: &Provider,
    id_token: &Secret<String>,
) -> Option<HeaderValue> {
    let value = cookie_value(provider.name(), id_token.expose());
    let cookie = cookie(
        cookie_name(login.secure),
        &value,
        COOKIE_PATH,
        login.domain.as_deref(),
        login.secure,
    );
    HeaderValue::from_str(&cookie.to_string()).ok()
}

/// Builds the cookie value: the provider's name, and the ID token if it is not too large.
fn cookie_value(provider: &str, id_token: &str) -> String {
    let id_token = if id_token.len() > MAX_ID_TOKEN_BYTES {
        ""
    } else {
        id_token
    };
    format!("{provider}:{id_token}")
}

/// Returns the address for RP-initiated logout. Returns `None` if the browser has no cookie with a provider, or if
/// the provider does not support RP-initiated logout or cannot be reached.
pub(super) async fn end_session_url(
    contracts: &Contracts,
    browser_request: &BrowserRequest,
) -> Option<Url> {
    let login = contracts.login.as_deref()?;
    let mut values = cookie_values(&browser_request.headers, cookie_name(login.secure));
    let value = std::str::from_utf8(values.next()?).ok()?;
    let (provider, id_token) = value.split_once(':')?;
    let provider = login.provider(Some(provider))?;
    let id_token = Some(id_token).filter(|it| !it.is_empty());
    let return_url = login.url.join(".curfew/signed-out").ok()?;
    let now = contracts.checker.clock.now();
    let url = provider
        .end_session_url(id_token, return_url, DenyReason::SignedOut.as_str(), now)
        .await;
    url.unwrap_or_else(|error| {
        tracing::warn!(provider = provider.name(), %error, "could not start an RP-initiated logout; only the session in Curfew ended");
        None
    })
}

/// Returns the `Set-Cookie` value that deletes the cookie.
pub(super) fn clear_hint_cookie(contracts: &Contracts) -> Option<HeaderValue> {
    let login = contracts.login.as_deref()?;
    removal_cookie(
        cookie_name(login.secure),
        COOKIE_PATH,
        login.domain.as_deref(),
        login.secure,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oversized_id_token_is_left_out() {
        let token = "x".repeat(MAX_ID_TOKEN_BYTES);
        assert_eq!(cookie_value("main", &token), format!("main:{token}"));
        assert_eq!(cookie_value("main", &(token + "x")), "main:");
    }
}
