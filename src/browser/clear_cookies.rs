//! Clears ambiguous cookies: two cookies with one name and different values. For example, one cookie belongs to the
//! host, and another host has set the second cookie for the whole domain (`Domain`). Curfew does not know which
//! cookie the application uses, so it denies the check.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use http::header::{LOCATION, SET_COOKIE};
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use url::form_urlencoded::byte_serialize;

use super::browser_request::BrowserRequest;
use super::cookies::{cookie, removal_cookie};
use super::page::render_page;
use super::{framed, private_response, signed_out};
use crate::contract::{CLEAR_COOKIES, Contracts, RemovalCookies, is_framed, is_navigation};
use crate::credential::cookie_values;
use crate::current::Current;

/// The lifetime in seconds of the marker cookie, which shows that this page has just cleared cookies in the browser.
/// If the browser comes back within this time with ambiguous cookies, it gets a page instead of another redirect.
const MARKER_SECONDS: i64 = 30;

#[derive(Debug, Default, Deserialize)]
pub(super) struct ClearCookiesQuery {
    /// The path on this host to open after the cookies are cleared.
    #[serde(default)]
    rd: String,
}

/// `GET /.curfew/clear-cookies?rd=…`: clears ambiguous cookies and redirects. A browser that comes back with
/// ambiguous cookies gets a page that names them.
///
/// Any site can link here (CWE-352). This is harmless, because such a link clears only ambiguous cookies, which give
/// no access anyway.
pub(super) async fn clear_and_redirect(
    Current(contracts): Current<Contracts>,
    query: Result<Query<ClearCookiesQuery>, QueryRejection>,
    browser_request: BrowserRequest,
) -> Result<Response, StatusCode> {
    if is_framed(&browser_request.method, &browser_request.headers) {
        return Ok(framed::framed_page());
    }
    if !is_navigation(&browser_request.method, &browser_request.headers) {
        return Err(StatusCode::BAD_REQUEST);
    }
    let Query(query) = query.unwrap_or_default();
    let next = signed_out::return_path(&query.rd);
    let rd: String = byte_serialize(next.as_bytes()).collect();
    let retry = format!("{CLEAR_COOKIES}?rd={rd}");
    Ok(clear(&contracts, &browser_request, next, &retry))
}

/// Clears ambiguous cookies and redirects to `next`. If the browser comes back and still has ambiguous cookies, shows
/// a page with the link `retry`.
pub(super) fn clear(
    contracts: &Contracts,
    browser_request: &BrowserRequest,
    next: &str,
    retry: &str,
) -> Response {
    let secure = contracts.cookie.is_secure();
    let sources = &contracts.checker.sources;
    let ambiguous = sources.ambiguous_cookies(&browser_request.headers);
    // The marker contains a digest of a page. If it is the digest of `next`, the browser came back for the same page:
    // ambiguous cookies remain for the path of that page, although browsers do not send them here. Otherwise, the
    // marker comes from another tab. It then counts only if this request has ambiguous cookies.
    let digest = page_digest(next);
    let mut markers =
        cookie_values(&browser_request.headers, marker_cookie_name(secure)).peekable();
    let has_marker = markers.peek().is_some();
    if has_marker && (!ambiguous.is_empty() || markers.any(|marker| marker == digest.as_bytes())) {
        return remaining_cookies_page(&ambiguous, contracts.cookie.name(), retry, secure);
    }
    let mut removals = RemovalCookies::default();
    for name in &ambiguous {
        let paths = [contracts.cookie.path(), "/"];
        removals.add_all_scopes(name, &browser_request.host, &paths, secure);
        if let Some(removal) = sources.removal_cookie_of_service(name) {
            removals.add(removal.clone());
        }
    }
    if ambiguous.contains(&contracts.cookie.name()) {
        removals.add(contracts.cookie.removal_cookie());
    }
    // Cookies for the path of `next` or its folders are not in this request, because browsers do not send them to this
    // page. Clear them without seeing them, but not at the path of Curfew's own cookie, because that cookie can be
    // valid.
    let path = next.split(['?', '#']).next().unwrap_or("/");
    let (name, own_path) = (contracts.cookie.name(), contracts.cookie.path());
    removals.add_folders(name, path, own_path, secure);
    let mut response = private_response(StatusCode::SEE_OTHER);
    let headers = response.headers_mut();
    for value in removals.into_values() {
        headers.append(SET_COOKIE, value);
    }
    let mut marker = cookie(marker_cookie_name(secure), &digest, "/", None, secure);
    marker.set_max_age(cookie::time::Duration::seconds(MARKER_SECONDS));
    if let Ok(value) = HeaderValue::try_from(marker.to_string()) {
        headers.append(SET_COOKIE, value);
    }
    headers.insert(
        LOCATION,
        HeaderValue::try_from(next).unwrap_or_else(|_| HeaderValue::from_static("/")),
    );
    response
}

/// Returns the value of the marker cookie for a page.
fn page_digest(next: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(next).into();
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Returns the name of the marker cookie. The cookie shows that this page cleared cookies recently.
const fn marker_cookie_name(secure: bool) -> &'static str {
    if secure {
        "__Host-curfew-cleared"
    } else {
        "curfew-cleared"
    }
}

/// Builds the page that lists the remaining ambiguous cookies and explains how to delete them. If `ambiguous` is empty,
/// the remaining cookies belong to other paths, and the page names the session cookie instead.
fn remaining_cookies_page(
    ambiguous: &[&str],
    session: &str,
    retry: &str,
    secure: bool,
) -> Response {
    let names = match ambiguous {
        [] => format!(
            "For some pages, your browser still sends two different cookies with the name {session}"
        ),
        names => format!(
            "Your browser still sends two different cookies with the name {}",
            names.join(", ")
        ),
    };
    let text = format!(
        "{names}, so Curfew does not know which one to use. One of them could not be removed: it has another path \
         (Path), or it was set in a frame of another site (Partitioned). Delete the cookies of this site in the settings of \
         your browser, and try again."
    );
    let link = (retry.to_owned(), "Try again".to_owned());
    let mut response = render_page("Two sign-in cookies", &text, &[link]);
    *response.status_mut() = StatusCode::BAD_REQUEST;
    if let Some(removal) = removal_cookie(marker_cookie_name(secure), "/", None, secure) {
        response.headers_mut().append(SET_COOKIE, removal);
    }
    response
}
