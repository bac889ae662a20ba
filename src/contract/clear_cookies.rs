//! Redirects a browser that sends two different cookies with one name. The target is a page of the `browser`
//! listener, which clears these cookies.

use http::HeaderValue;
use http::header::SET_COOKIE;
use url::form_urlencoded::byte_serialize;

use super::sign_in::{is_navigation, with_https};
use crate::check::{CheckRequest, Detail};

/// The path of the page. The page is on the host of the request, because only that host can clear its cookies.
pub const CLEAR_COOKIES: &str = "/.curfew/clear-cookies";

/// Returns the redirect for a browser with ambiguous cookies. The redirect has at most `limit` bytes, and contains
/// the path to return to.
///
/// Returns `None` if the request is not a navigation. Also returns `None` for Curfew's own paths, because a proxy
/// checks these paths only by mistake, and the redirect would loop.
///
/// The page accepts only a path as `rd`, so it cannot redirect to another host (CWE-601).
pub(super) fn redirect_location(
    request: &CheckRequest<'_>,
    detail: Option<Detail>,
    secure: bool,
    limit: usize,
) -> Option<HeaderValue> {
    let original = request.original.ok()?;
    let is_wanted = detail == Some(Detail::TwoCookies)
        && is_navigation(original.method, request.headers)
        && !original.url.path.starts_with(b"/.curfew/");
    if !is_wanted {
        return None;
    }
    let url = with_https(&original.url, secure);
    let scheme = if url.secure { "https" } else { "http" };
    let page = format!("{scheme}://{}{CLEAR_COOKIES}", url.host);
    let target: String = byte_serialize(&url.target()).collect();
    // If the path is too long, the redirect does not contain it.
    let location = [format!("{page}?rd={target}"), page]
        .into_iter()
        .find(|location| location.len() <= limit)?;
    HeaderValue::try_from(location).ok()
}

/// The maximum size of all `Set-Cookie` headers in one answer. NGINX has a buffer of 4 KiB for the whole head.
const MAX_SET_COOKIE_BYTES: usize = 2560;
/// The maximum number of domains of one host, and of folders of one path, for which cookies are cleared.
const MAX_DOMAINS_OR_FOLDERS: usize = 6;

/// The `Set-Cookie` headers that clear a cookie for every `Path` and `Domain`, as far as the headers fit into the
/// answer.
#[derive(Debug, Default)]
pub struct RemovalCookies {
    values: Vec<HeaderValue>,
    bytes: usize,
}

impl RemovalCookies {
    /// Adds a `Set-Cookie` value if it fits and is not in the list yet.
    pub fn add(&mut self, value: HeaderValue) {
        let size = SET_COOKIE.as_str().len() + value.len() + 4;
        if self.bytes + size <= MAX_SET_COOKIE_BYTES && !self.values.contains(&value) {
            self.bytes += size;
            self.values.push(value);
        }
    }

    /// Clears the cookie `name` for each of these paths: without `Domain`, as a partitioned cookie (CHIPS), and with
    /// each domain that the host can set cookies for.
    pub fn add_all_scopes(&mut self, name: &str, host: &str, paths: &[&str], secure: bool) {
        let secure = secure || name.starts_with("__");
        for path in paths {
            self.add_cookie(name, path, None, secure);
            if secure {
                let partitioned = build_removal(name, path, None, true)
                    .partitioned(true)
                    .build();
                self.add_built(&partitioned);
            }
        }
        // A cookie with this prefix has no domain, and only the path `/` (RFC 6265bis section 4.1.3.2).
        if name.starts_with("__Host-") {
            return;
        }
        for domain in cookie_domains(host) {
            for path in paths {
                self.add_cookie(name, path, Some(domain), secure);
            }
        }
    }

    /// Clears the host-only cookies `name` whose `Path` is a folder of `path`. `except` is the path of Curfew's own
    /// cookie, which is kept.
    pub fn add_folders(&mut self, name: &str, path: &str, except: &str, secure: bool) {
        if name.starts_with("__Host-") {
            return;
        }
        let secure = secure || name.starts_with("__");
        let slashes = path.match_indices('/').map(|(at, _)| at).skip(1);
        let folder_ends = slashes.chain([path.len()]).take(MAX_DOMAINS_OR_FOLDERS);
        for folder in folder_ends
            .map(|end| &path[..end])
            .filter(|it| it.len() > 1)
        {
            for folder in [folder, &*format!("{folder}/")] {
                if folder != except && !folder.ends_with("//") {
                    self.add_cookie(name, folder, None, secure);
                }
            }
        }
    }

    /// Returns the `Set-Cookie` values.
    #[must_use]
    pub fn into_values(self) -> Vec<HeaderValue> {
        self.values
    }

    fn add_cookie(&mut self, name: &str, path: &str, domain: Option<&str>, secure: bool) {
        self.add_built(&build_removal(name, path, domain, secure).build());
    }

    fn add_built(&mut self, cookie: &cookie::Cookie<'_>) {
        if let Ok(value) = HeaderValue::try_from(cookie.to_string()) {
            self.add(value);
        }
    }
}

fn build_removal<'a>(
    name: &'a str,
    path: &'a str,
    domain: Option<&'a str>,
    secure: bool,
) -> cookie::CookieBuilder<'a> {
    let cookie = cookie::Cookie::build((name, ""))
        .path(path)
        .secure(secure)
        .http_only(true)
        .max_age(cookie::time::Duration::ZERO);
    match domain {
        Some(domain) => cookie.domain(domain),
        None => cookie,
    }
}

/// Returns the domains that a host can set cookies for: its own name, and parent domains with two labels or more. The
/// list can contain public suffixes, because browsers reject them anyway. An IP address, or a name with one label, has
/// no such domains.
fn cookie_domains(host: &str) -> impl Iterator<Item = &str> {
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_address = host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
    let parents = host.match_indices('.').map(|(dot, _)| &host[dot + 1..]);
    [host]
        .into_iter()
        .chain(parents)
        .filter(move |domain| !is_address && domain.contains('.'))
        .take(MAX_DOMAINS_OR_FOLDERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_cookie_texts(removals: RemovalCookies) -> Vec<String> {
        let values = removals.into_values().into_iter();
        values
            .map(|value| value.to_str().unwrap().replace("; Max-Age=0", ""))
            .collect()
    }

    #[test]
    fn a_host_can_set_cookies_for_itself_and_its_parent_domains() {
        for (host, expected) in [
            (
                "a.b.example.com:8443",
                &["a.b.example.com", "b.example.com", "example.com"][..],
            ),
            ("example.com", &["example.com"]),
            ("example.com.", &["example.com"]),
            ("localhost:80", &[]),
            ("192.0.2.1:80", &[]),
            ("192.0.2.1", &[]),
            ("[2001:db8::1]:80", &[]),
        ] {
            assert_eq!(cookie_domains(host).collect::<Vec<_>>(), expected, "{host}");
        }
    }

    #[test]
    fn every_cookie_of_the_name_is_cleared() {
        let mut removals = RemovalCookies::default();
        removals.add_all_scopes("session", "a.example.com:80", &["/"], false);
        assert_eq!(
            set_cookie_texts(removals),
            [
                "session=; HttpOnly; Path=/",
                "session=; HttpOnly; Path=/; Domain=a.example.com",
                "session=; HttpOnly; Path=/; Domain=example.com",
            ]
        );
        let mut removals = RemovalCookies::default();
        removals.add_all_scopes("__Host-session", "a.example.com", &["/"], false);
        assert_eq!(
            set_cookie_texts(removals),
            [
                "__Host-session=; HttpOnly; Secure; Path=/",
                "__Host-session=; HttpOnly; Partitioned; Secure; Path=/",
            ]
        );
    }

    #[test]
    fn folders_of_a_path_are_cleared_but_not_the_real_cookie() {
        let mut removals = RemovalCookies::default();
        removals.add_folders("session", "/app/a", "/app", false);
        assert_eq!(
            set_cookie_texts(removals),
            [
                "session=; HttpOnly; Path=/app/",
                "session=; HttpOnly; Path=/app/a",
                "session=; HttpOnly; Path=/app/a/",
            ]
        );
        let mut removals = RemovalCookies::default();
        removals.add_folders("__Host-session", "/app/a", "/", true);
        assert!(removals.into_values().is_empty());
    }

    #[test]
    fn the_removal_cookies_fit_into_an_answer() {
        let mut removals = RemovalCookies::default();
        let host = format!("{}example.com", "label.".repeat(40));
        let path = "/folder".repeat(100);
        removals.add_all_scopes("session", &host, &["/", &path], true);
        removals.add_folders("session", &path, "/", true);
        assert!(removals.bytes <= MAX_SET_COOKIE_BYTES, "{}", removals.bytes);
        assert_eq!(
            removals.into_values()[0],
            "session=; HttpOnly; Secure; Path=/; Max-Age=0"
        );
    }
}
