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
    /// Creates the redirect from its settings. `secure` says whether the session cookie is sent over TLS only.
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
            // Cannot fail: both schemes are special schemes with a host.
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
    /// * the host is not allowed (otherwise an open redirect, CWE-601),
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
    // Some proxies leave `Upgrade` out of the check.
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
mod tests {
    use super::*;

    fn sign_in(url: &str, hosts: Vec<ReturnHost>) -> SignInRedirect {
        let config = SignInSettings {
            url: url.parse().unwrap(),
            return_parameter: "rd".to_owned(),
            allowed_hosts: hosts,
        };
        SignInRedirect::new(config, false)
    }

    fn example_redirect() -> SignInRedirect {
        let hosts = vec![
            ReturnHost::Exact("app.example.com".to_owned()),
            ReturnHost::Exact("dev.example.com:8443".to_owned()),
            ReturnHost::Below(".apps.example.com".to_owned()),
        ];
        sign_in("https://login.example.com/", hosts)
    }

    fn location(
        sign_in: &SignInRedirect,
        method: &str,
        url: &str,
        header_lines: &[(&'static str, &'static str)],
        reason: DenyReason,
    ) -> Option<String> {
        let headers: HeaderMap = header_lines
            .iter()
            .map(|(name, value)| {
                let value = HeaderValue::from_static(value);
                (HeaderName::from_static(name), value)
            })
            .collect();
        let original = Original {
            method: &method.parse().unwrap(),
            url: OriginalUrl::parse(url.as_bytes()).unwrap(),
        };
        let location = sign_in.redirect_location(&original, &headers, reason, 300);
        location.map(|value| value.to_str().unwrap().to_owned())
    }

    const MAX_LOCATION_BYTES: usize = 300;
    const NAVIGATE: [(&str, &str); 1] = [("sec-fetch-mode", "navigate")];
    const HTML: (&str, &str) = ("accept", "text/html, */*;q=0.8");

    #[test]
    fn the_exact_url_is_the_return_address() {
        let location_for = |url| {
            location(
                &example_redirect(),
                "GET",
                url,
                &NAVIGATE,
                DenyReason::IdleTimeout,
            )
            .unwrap()
        };
        assert_eq!(
            location_for("https://app.example.com/a%2Fb/gr\u{fc}n?x=1&y=a+b%20c#d"),
            "https://login.example.com/?rd=https%3A%2F%2Fapp.example.com%2Fa%252Fb%2Fgr%C3%BCn\
             %3Fx%3D1%26y%3Da%2Bb%2520c%23d&reason=idle_timeout"
        );
        let with_query = sign_in(
            "https://login.example.com/in?tenant=1",
            vec![ReturnHost::Exact("a".to_owned())],
        );
        let target = location(
            &with_query,
            "GET",
            "http://a/",
            &NAVIGATE,
            DenyReason::Revoked,
        )
        .unwrap();
        assert_eq!(
            target,
            "https://login.example.com/in?tenant=1&rd=http%3A%2F%2Fa%2F&reason=revoked"
        );
    }

    #[test]
    fn a_too_long_redirect_is_omitted() {
        // Percent-encoded, `https://app.example.com/` has 32 bytes.
        let bytes_without_path = "https://login.example.com/?rd=&reason=revoked".len() + 32;
        for (length, fits) in [
            (MAX_LOCATION_BYTES - bytes_without_path, true),
            (MAX_LOCATION_BYTES - bytes_without_path + 1, false),
        ] {
            let url = format!("https://app.example.com/{}", "x".repeat(length));
            let location = location(
                &example_redirect(),
                "GET",
                &url,
                &NAVIGATE,
                DenyReason::Revoked,
            );
            assert_eq!(location.is_some(), fits, "{location:?}");
        }
    }

    #[test]
    fn return_addresses_need_an_allowed_host() {
        for (url, allowed) in [
            ("https://app.example.com/", true),
            ("https://APP.example.com/", true),
            ("https://app.example.com:443/", true),
            ("http://app.example.com:80/", true),
            ("https://app.example.com:80/", false),
            ("https://app.example.com:8443/", false),
            ("https://dev.example.com:8443/", true),
            ("https://dev.example.com/", false),
            ("https://a.apps.example.com/", true),
            ("https://b.a.apps.example.com/", true),
            ("https://apps.example.com/", false),
            ("https://evilapps.example.com/", false),
            ("https://a.apps.example.com:8443/", false),
            ("https://app.example.com.evil.example/", false),
            ("https://app.example.com./", false),
            ("https://evil.example/app.example.com/", false),
        ] {
            let target = location(
                &example_redirect(),
                "GET",
                url,
                &NAVIGATE,
                DenyReason::NoCredential,
            );
            assert_eq!(target.is_some(), allowed, "{url}");
        }
    }

    #[test]
    fn only_navigations_are_redirected() {
        let json = ("accept", "application/json");
        let script = ("x-requested-with", "XMLHttpRequest");
        let upgrade = ("upgrade", "websocket");
        for (method, header_lines, redirected) in [
            ("GET", &[HTML][..], true),
            ("GET", &NAVIGATE, true),
            ("GET", &[NAVIGATE[0], json], true),
            ("GET", &[], false),
            ("GET", &[json], false),
            ("GET", &[("accept", "*/*")], false),
            ("GET", &[HTML, script], false),
            ("GET", &[NAVIGATE[0], ("sec-fetch-dest", "document")], true),
            ("GET", &[NAVIGATE[0], ("sec-fetch-dest", "iframe")], false),
            (
                "GET",
                &[NAVIGATE[0], HTML, ("sec-fetch-dest", "frame")],
                false,
            ),
            ("GET", &[HTML, ("sec-fetch-mode", "cors")], false),
            ("GET", &[HTML, ("sec-fetch-mode", "websocket")], false),
            ("GET", &[HTML, upgrade], false),
            ("GET", &[HTML, ("sec-websocket-key", "x")], false),
            ("HEAD", &[HTML], false),
            ("POST", &[HTML, NAVIGATE[0]], false),
            ("OPTIONS", &[HTML], false),
        ] {
            let url = "https://app.example.com/";
            let target = location(
                &example_redirect(),
                method,
                url,
                header_lines,
                DenyReason::NoCredential,
            );
            assert_eq!(target.is_some(), redirected, "{method} {header_lines:?}");
        }
    }

    /// A cookie that is sent over TLS only would be missing after a return over HTTP.
    #[test]
    fn with_a_secure_cookie_the_return_address_is_https() {
        let secure = SignInRedirect {
            secure: true,
            ..example_redirect()
        };
        for (url, return_address) in [
            ("http://app.example.com/a", "https://app.example.com/a"),
            ("http://app.example.com:80/a", "https://app.example.com/a"),
            ("https://app.example.com/a", "https://app.example.com/a"),
            (
                "http://dev.example.com:8443/",
                "https://dev.example.com:8443/",
            ),
        ] {
            let target = location(&secure, "GET", url, &NAVIGATE, DenyReason::NoCredential);
            let query = target.unwrap().parse::<url::Url>().unwrap();
            let (_, found) = query.query_pairs().next().unwrap();
            assert_eq!(found, return_address);
            let url = secure.upgrade_to_https(url.parse().unwrap());
            assert_eq!(url.as_str(), return_address);
        }
        let plain = example_redirect().upgrade_to_https("http://app.example.com/".parse().unwrap());
        assert_eq!(plain.scheme(), "http");
    }

    #[test]
    fn frames_are_recognized() {
        let framed = |method: &str, header_lines: &[(&str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in header_lines {
                headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
            }
            is_framed(&method.parse().unwrap(), &headers)
        };
        for dest in ["iframe", "frame", "embed", "object", "fencedframe"] {
            assert!(framed("GET", &[NAVIGATE[0], ("sec-fetch-dest", dest)]));
        }
        for (method, header_lines) in [
            ("GET", &[NAVIGATE[0], ("sec-fetch-dest", "document")][..]),
            ("GET", &[NAVIGATE[0]]),
            ("POST", &[NAVIGATE[0], ("sec-fetch-dest", "iframe")]),
            ("GET", &[("sec-fetch-dest", "iframe")]),
        ] {
            assert!(!framed(method, header_lines), "{method} {header_lines:?}");
        }
    }

    #[test]
    fn only_helpful_reasons_redirect_and_never_in_a_loop() {
        for reason in DenyReason::ALL {
            let url = "https://app.example.com/";
            let target = location(&example_redirect(), "GET", url, &NAVIGATE, reason);
            let can_help = !matches!(
                reason.as_str(),
                "forbidden"
                    | "store_unavailable"
                    | "source_unavailable"
                    | "overloaded"
                    | "malformed_request"
                    | "unknown_host"
                    | "too_many_sessions"
            );
            assert_eq!(target.is_some(), can_help, "{reason}");
        }
        let on_same_host = sign_in(
            "https://app.example.com/sign-in",
            vec![ReturnHost::Exact("app.example.com".to_owned())],
        );
        let location_for = |url| {
            location(
                &on_same_host,
                "GET",
                url,
                &NAVIGATE,
                DenyReason::NoCredential,
            )
        };
        assert!(location_for("https://app.example.com/sign-in?rd=x").is_none());
        assert!(location_for("https://app.example.com/sign-in-again").is_some());
    }
}
