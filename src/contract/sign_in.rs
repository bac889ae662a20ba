use http::header::{ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use url::Url;
use url::form_urlencoded::byte_serialize;

use crate::check::{Original, OriginalUrl};
use crate::session::DenyReason;

/// The settings of the sign-in page for browsers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInSettings {
    /// The URL of the sign-in page.
    pub url: Url,
    /// The query parameter for the return address.
    pub return_parameter: String,
    /// Hosts that a return address may have.
    pub allowed_hosts: Vec<ReturnHost>,
}

/// A host that a return address may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReturnHost {
    /// Exactly this host, in lower case, with its port unless that is the default port.
    Exact(String),
    /// Every host below this domain, on the default port. The domain begins with a dot and is in lower case.
    Below(String),
}

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Redirects browsers to the sign-in page.
#[derive(Clone, Debug)]
pub struct SignInRedirect {
    config: SignInSettings,
    /// Whether the session cookie is sent over TLS only. Then return addresses are always `https`: over `http` the
    /// cookie would be missing, and the redirects to the sign-in page would never end.
    secure: bool,
}

impl SignInRedirect {
    /// Creates the redirect from its settings. `secure` is true if browsers send the session cookie over TLS only.
    #[must_use]
    pub const fn new(config: SignInSettings, secure: bool) -> Self {
        Self { config, secure }
    }

    /// Whether a sign-in helps after a denial for this reason.
    #[must_use]
    pub const fn can_help(&self, reason: DenyReason) -> bool {
        !reason.is_temporary_failure()
            && !matches!(
                reason,
                DenyReason::Forbidden
                    | DenyReason::MalformedRequest
                    | DenyReason::UnknownHost
                    | DenyReason::TooManySessions
            )
    }

    /// Changes a return address to `https`, if the session cookie is sent over TLS only.
    #[must_use]
    pub fn upgrade_to_https(&self, mut url: url::Url) -> url::Url {
        if self.secure && url.scheme() == "http" {
            // This cannot fail, because `http` and `https` are both special schemes of the URL standard.
            let _ = url.set_scheme("https");
        }
        url
    }

    /// Returns the redirect to the sign-in page after a denial for `reason`. It contains the exact URL of the request
    /// and the reason.
    ///
    /// Returns `None` if:
    /// * a sign-in would not help,
    /// * the request is not a navigation (the browser can repeat only a navigation after the sign-in),
    /// * the host is not allowed (otherwise the redirect would be open, CWE-601),
    /// * the URL is the sign-in page itself, or
    /// * the redirect would have more than `limit` bytes.
    pub(super) fn redirect_location(
        &self,
        original: &Original<'_>,
        headers: &HeaderMap,
        reason: DenyReason,
        limit: usize,
    ) -> Option<HeaderValue> {
        let url = with_https(&original.url, self.secure);
        let is_wanted = self.can_help(reason)
            && is_navigation(original.method, headers)
            && self.may_return_to(&url)
            && !self.is_sign_in_page(&url);
        if !is_wanted {
            return None;
        }
        let mut target = self.config.url.to_string();
        target.push(if self.config.url.query().is_some() {
            '&'
        } else {
            '?'
        });
        target.push_str(&self.config.return_parameter);
        target.push('=');
        target.extend(byte_serialize(&url.to_bytes()));
        target.push_str("&reason=");
        target.push_str(reason.as_str());
        if target.len() > limit {
            return None;
        }
        HeaderValue::try_from(target).ok()
    }

    fn may_return_to(&self, original: &OriginalUrl<'_>) -> bool {
        self.is_allowed(&host_without_default_port(original))
    }

    /// Whether a redirect to a URL is allowed: HTTP or HTTPS, an allowed host, and no user information.
    #[must_use]
    pub fn may_redirect_to(&self, url: &url::Url) -> bool {
        let has_user_info = !url.username().is_empty() || url.password().is_some();
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        };
        matches!(url.scheme(), "http" | "https") && !has_user_info && self.is_allowed(&host)
    }

    /// Whether a host is allowed. `host` is in lower case, with its port unless that is the default port.
    fn is_allowed(&self, host: &str) -> bool {
        self.config
            .allowed_hosts
            .iter()
            .any(|pattern| match pattern {
                ReturnHost::Exact(allowed) => *allowed == host,
                ReturnHost::Below(domain) => {
                    !host.contains(':') && host.len() > domain.len() && host.ends_with(&**domain)
                }
            })
    }

    /// Whether the request is for the sign-in page itself. Then a rule protects that page by mistake, and a redirect
    /// would loop.
    fn is_sign_in_page(&self, original: &OriginalUrl<'_>) -> bool {
        let page = &self.config.url;
        let host = match (page.host_str(), page.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        };
        host_without_default_port(original) == host && original.path == page.path().as_bytes()
    }
}

/// Returns the address with `https`, if the session cookie is sent over TLS only (`secure`).
pub(super) fn with_https<'a>(original: &OriginalUrl<'a>, secure: bool) -> OriginalUrl<'a> {
    if original.secure || !secure {
        return *original;
    }
    let host = original.host.strip_suffix(":80");
    OriginalUrl {
        secure: true,
        host: host.unwrap_or(original.host),
        ..*original
    }
}

/// Returns the host in lower case, without the default port of its scheme.
fn host_without_default_port(original: &OriginalUrl<'_>) -> String {
    let default_port = if original.secure { ":443" } else { ":80" };
    let host = original.host.strip_suffix(default_port);
    host.unwrap_or(original.host).to_ascii_lowercase()
}

/// Whether a browser loads a page in a frame, according to Fetch Metadata.
#[must_use]
pub fn is_framed(method: &Method, headers: &HeaderMap) -> bool {
    let has_value = |name: HeaderName, values: &[&str]| {
        headers
            .get(name)
            .is_some_and(|value| values.iter().any(|known| value == known))
    };
    *method == Method::GET
        && has_value(SEC_FETCH_MODE, &["navigate"])
        && has_value(
            SEC_FETCH_DEST,
            &["iframe", "frame", "embed", "object", "fencedframe"],
        )
}

/// Whether a browser loads a page for the whole window, according to Fetch Metadata. Without Fetch Metadata, a
/// request is a navigation if it accepts HTML and no script sent it.
#[must_use]
pub fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    // Some proxies leave `Upgrade` out of the check, so `Sec-WebSocket-Key` also shows a WebSocket.
    let is_websocket = headers.contains_key(UPGRADE) || headers.contains_key(SEC_WEBSOCKET_KEY);
    if *method != Method::GET || is_websocket {
        return false;
    }
    if let Some(mode) = headers.get(SEC_FETCH_MODE) {
        let is_whole_window = headers
            .get(SEC_FETCH_DEST)
            .is_none_or(|dest| dest == "document");
        return mode == "navigate" && is_whole_window;
    }
    let is_from_script = headers
        .get(REQUESTED_WITH)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"xmlhttprequest"));
    !is_from_script && accepts_html(headers)
}

/// Whether the client accepts HTML explicitly.
pub(super) fn accepts_html(headers: &HeaderMap) -> bool {
    let mut media_types = headers
        .get_all(ACCEPT)
        .into_iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    media_types.any(|media_type| {
        let media_type = media_type
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default();
        let media_type = media_type.trim_ascii();
        media_type.eq_ignore_ascii_case(b"text/html")
            || media_type.eq_ignore_ascii_case(b"application/xhtml+xml")
    })
}

#[cfg(test)]
mod tests;
