use cookie::Cookie;
use http::HeaderValue;

use crate::credential::Token;
use crate::session::{Session, Timestamp};

/// The configured attributes of the session cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieSettings {
    /// The name of the cookie.
    pub name: String,
    /// The `Domain` attribute; `None` for a host-only cookie.
    pub domain: Option<String>,
    /// The `Path` attribute.
    pub path: String,
    /// The `Secure` attribute: browsers send the cookie over TLS only.
    pub secure: bool,
    /// The `SameSite` attribute.
    pub same_site: cookie::SameSite,
    /// Whether the cookie survives a restart of the browser. Its `Max-Age` then ends at the session's deadline.
    pub persistent: bool,
}

/// Writes `Set-Cookie` values for the session cookie.
#[derive(Clone, Debug)]
pub struct SessionCookie {
    config: CookieSettings,
    /// The `Set-Cookie` value that clears the cookie, built once for all clients.
    removal_cookie: HeaderValue,
}

/// A part of the configured cookie cannot be written as a header.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("could not write the session cookie's name, path or domain as a header")]
pub struct UnwritableCookie;

impl SessionCookie {
    /// The `Domain` attribute; `None` for a host-only cookie.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        self.config.domain.as_deref()
    }

    /// Creates the cookie from its configuration.
    ///
    /// # Errors
    /// [`UnwritableCookie`] if a part cannot be in a header. A validated configuration has no such part.
    pub fn new(config: CookieSettings) -> Result<Self, UnwritableCookie> {
        let mut removal = build_cookie(&config, String::new());
        removal.set_max_age(cookie::time::Duration::ZERO);
        let removal_cookie =
            HeaderValue::from_str(&removal.to_string()).map_err(|_| UnwritableCookie)?;
        Ok(Self {
            config,
            removal_cookie,
        })
    }

    /// The `Set-Cookie` value with `token`. A persistent cookie expires at the session's deadline. Curfew does not
    /// send the cookie again after activity, because cookies have no sliding expiry (RFC 6265bis).
    #[must_use]
    pub fn issue(&self, token: &Token, session: &Session, now: Timestamp) -> String {
        let mut cookie = build_cookie(&self.config, token.expose());
        if self.config.persistent {
            let seconds = session.deadline.since(now).as_secs();
            let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
            cookie.set_max_age(cookie::time::Duration::seconds(seconds));
        }
        cookie.to_string()
    }

    /// The name of the cookie.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// The `Path` attribute.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.config.path
    }

    /// Whether browsers send the cookie over TLS only.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.config.secure
    }

    /// The `Set-Cookie` value that clears the cookie, with the same name, path and domain.
    #[must_use]
    pub fn removal_cookie(&self) -> HeaderValue {
        self.removal_cookie.clone()
    }
}

fn build_cookie(config: &CookieSettings, value: String) -> Cookie<'static> {
    let mut cookie = Cookie::build((config.name.clone(), value))
        .path(config.path.clone())
        .secure(config.secure)
        .http_only(true)
        .same_site(config.same_site)
        .build();
    if let Some(domain) = &config.domain {
        cookie.set_domain(domain.clone());
    }
    cookie
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_removal_cookie_has_the_same_name_path_and_domain() {
        let config = CookieSettings {
            name: "__Secure-session".to_owned(),
            domain: Some("example.com".to_owned()),
            path: "/app".to_owned(),
            secure: true,
            same_site: cookie::SameSite::Lax,
            persistent: true,
        };
        assert_eq!(
            SessionCookie::new(config).unwrap().removal_cookie(),
            "__Secure-session=; HttpOnly; SameSite=Lax; Secure; Path=/app; Domain=example.com; Max-Age=0"
        );
    }
}
