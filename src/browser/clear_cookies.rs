//! Leads a browser out that sends two different cookies of one name: one of the host, and one that a host of the same
//! domain has set (`Domain`), say. A check can't know which of them the application uses, and denies.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use http::header::{LOCATION, SET_COOKIE};
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use url::form_urlencoded::byte_serialize;

use super::browser_request::BrowserRequest;
use super::cookies::{cookie, gone};
use super::page::page;
use super::{framed, private, signed_out};
use crate::contract::{CLEAR_COOKIES, Clearing, Contracts, is_framed, is_navigation};
use crate::credential::cookie_values;
use crate::current::Current;

/// How long the browser remembers that its cookies were cleared, in seconds: long enough to come back if one of them is
/// still there, so that it is not sent around for ever.
const REMEMBERED_SECONDS: i64 = 30;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    /// Where to go on: a path on this host.
    #[serde(default)]
    rd: String,
}

/// `GET /.curfew/clear-cookies?rd=…`: clears ambiguous cookies, and goes on. A browser that comes back because one of them
/// is still there gets a page that names it.
///
/// Any site can link here. That clears nothing but cookies that contradict each other, which admit nobody (CWE-352).
pub(super) async fn show(
    Current(contracts): Current<Contracts>,
    asked: Result<Query<Asked>, QueryRejection>,
    browser_request: BrowserRequest,
) -> Result<Response, StatusCode> {
    if is_framed(&browser_request.method, &browser_request.headers) {
        return Ok(framed::page());
    }
    if !is_navigation(&browser_request.method, &browser_request.headers) {
        return Err(StatusCode::BAD_REQUEST);
    }
    let Query(asked) = asked.unwrap_or_default();
    let next = signed_out::way_back(&asked.rd);
    let rd: String = byte_serialize(next.as_bytes()).collect();
    let again = format!("{CLEAR_COOKIES}?rd={rd}");
    Ok(clear(&contracts, &browser_request, next, &again))
}

/// Clears ambiguous cookies and goes on to `next`; or says which can't be cleared, with the link `again`.
pub(super) fn clear(
    contracts: &Contracts,
    browser_request: &BrowserRequest,
    next: &str,
    again: &str,
) -> Response {
    let secure = contracts.cookie.is_secure();
    let sources = &contracts.checker.sources;
    let ambiguous = sources.ambiguous_cookies(&browser_request.headers);
    // Another tab may have been here for another page, and cleared them.
    let page = page_mark(next);
    let mut marks = cookie_values(&browser_request.headers, marker(secure)).peekable();
    let was_here = marks.peek().is_some();
    if was_here && (!ambiguous.is_empty() || marks.any(|mark| mark == page.as_bytes())) {
        return stuck(&ambiguous, contracts.cookie.name(), again, secure);
    }
    let mut clearing = Clearing::default();
    for name in &ambiguous {
        let paths = [contracts.cookie.path(), "/"];
        clearing.everywhere(name, &browser_request.host, &paths, secure);
        if let Some(cleared) = sources.cleared_by_service(name) {
            clearing.add(cleared.clone());
        }
    }
    if ambiguous.contains(&contracts.cookie.name()) {
        clearing.add(contracts.cookie.cleared());
    }
    // A cookie of a path is not seen here. That of Curfew has the configured path, which is left out.
    let path = next.split(['?', '#']).next().unwrap_or("/");
    let (name, own) = (contracts.cookie.name(), contracts.cookie.path());
    clearing.below(name, path, own, secure);
    let mut response = private(StatusCode::SEE_OTHER);
    let headers = response.headers_mut();
    for value in clearing.values() {
        headers.append(SET_COOKIE, value);
    }
    let mut remembered = cookie(marker(secure), &page, "/", None, secure);
    remembered.set_max_age(cookie::time::Duration::seconds(REMEMBERED_SECONDS));
    if let Ok(value) = HeaderValue::try_from(remembered.to_string()) {
        headers.append(SET_COOKIE, value);
    }
    headers.insert(
        LOCATION,
        HeaderValue::try_from(next).unwrap_or_else(|_| HeaderValue::from_static("/")),
    );
    response
}

/// What stands for a page in the cookie that says that cookies were cleared for it.
fn page_mark(next: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(next).into();
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The cookie that says that cookies were cleared a moment ago.
const fn marker(secure: bool) -> &'static str {
    if secure {
        "__Host-curfew-cleared"
    } else {
        "curfew-cleared"
    }
}

/// Says which cookies are still there, and that the browser's own settings can delete them. A cookie of another path is
/// not sent to this page; it has the name of the session cookie.
fn stuck(ambiguous: &[&str], session: &str, again: &str, secure: bool) -> Response {
    let names = match ambiguous {
        [] => format!(
            "To some pages, your browser still sends two different cookies with the name {session}"
        ),
        names => format!(
            "Your browser still sends two different cookies with the name {}",
            names.join(", ")
        ),
    };
    let text = format!(
        "{names}, so it is not clear which sign-in counts. One of them could not be removed: it has another path \
         (Path), or it belongs to another site's page (Partitioned). Delete the cookies of this site in the settings of \
         your browser, and try again."
    );
    let way = (again.to_owned(), "Try again".to_owned());
    let mut response = page("Two sign-in cookies", &text, &[way]);
    *response.status_mut() = StatusCode::BAD_REQUEST;
    if let Some(gone) = gone(marker(secure), "/", None, secure) {
        response.headers_mut().append(SET_COOKIE, gone);
    }
    response
}
