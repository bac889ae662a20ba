use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use http::HeaderValue;
use http::header::SET_COOKIE;
use serde::Deserialize;

use super::browser_request::BrowserRequest;
use super::page;
use crate::contract::{Contracts, denial_message, is_navigation};
use crate::current::Current;
use crate::policy::{Activity, PassiveReason};
use crate::session::{DenyReason, Verdict};

/// The query of the signed-out page. Unknown parameters are ignored.
#[derive(Debug, Default, Deserialize)]
pub(super) struct SignedOutQuery {
    #[serde(default)]
    reason: String,
    /// The reason, if an identity provider redirected the browser here. Curfew sends the reason to the provider as
    /// `state`, and the provider returns it.
    #[serde(default)]
    state: String,
    /// The path on this host for the next sign-in.
    #[serde(default)]
    rd: String,
}

/// `GET /.curfew/signed-out?reason=…`: shows the reason and a link to sign in, and clears the cookie of an ended
/// session.
pub(super) async fn show(
    Current(contracts): Current<Contracts>,
    query: Result<Query<SignedOutQuery>, QueryRejection>,
    browser_request: BrowserRequest,
) -> Response {
    let Query(query) = query.unwrap_or_default();
    let reason = if query.reason.is_empty() {
        &query.state
    } else {
        &query.reason
    };
    let (title, text) = title_and_text(reason);
    let link = (
        return_path(&query.rd).to_owned(),
        "Sign in again".to_owned(),
    );
    let mut response = page::render_page(title, text, &[link]);
    if let Some(removal_cookie) = removal_if_ended(&contracts, &browser_request).await {
        response.headers_mut().insert(SET_COOKIE, removal_cookie);
    }
    response
}

/// Returns the `Set-Cookie` value that clears the cookie of an ended session. Returns `None` for any other cookie,
/// because another tab can have signed in after the session ended. Checks do not clear cookies (ADR 16), so this page
/// must do it.
async fn removal_if_ended(
    contracts: &Contracts,
    browser_request: &BrowserRequest,
) -> Option<HeaderValue> {
    if !is_navigation(&browser_request.method, &browser_request.headers) {
        return None;
    }
    let request = browser_request.to_check_request().ok()?;
    let passive = Activity::Passive(PassiveReason::Rule);
    let outcome = contracts
        .checker
        .evaluate_passively(&request, passive)
        .await;
    let ended = matches!(outcome.verdict, Verdict::Deny(reason) if reason.is_terminal());
    let own_removal = || contracts.cookie.removal_cookie();
    ended.then(|| outcome.removal_cookie.unwrap_or_else(own_removal))
}

/// Returns the title and the text of the page for a reason.
fn title_and_text(reason: &str) -> (&'static str, &'static str) {
    let known = DenyReason::ALL.into_iter();
    match known
        .filter(|known| known.is_terminal())
        .find(|known| known.as_str() == reason)
    {
        Some(DenyReason::Revoked) => ("Signed out", "Your session was ended."),
        Some(DenyReason::SignedOut) => ("Signed out", "You have signed out."),
        Some(reason) => ("Signed out", denial_message(reason)),
        None => ("Not signed in", "Sign in again to continue."),
    }
}

/// Returns `requested` if it is a path on this host, and `/` otherwise (CWE-601).
pub(super) fn return_path(requested: &str) -> &str {
    let mut characters = requested.chars();
    let is_local = characters.next() == Some('/') && !matches!(characters.next(), Some('/' | '\\'));
    let is_plain = !requested.chars().any(|it| it.is_control() || it == '\\');
    if is_local && is_plain && !requested.starts_with(super::PREFIX) {
        requested
    } else {
        "/"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn return_paths_stay_on_this_host() {
        for path in ["/", "/a/b?c=d#e", "/search?q=//x"] {
            assert_eq!(return_path(path), path);
        }
        for rejected in [
            "",
            "a",
            "//evil.example",
            "/\\evil.example",
            "\\/evil.example",
            "https://evil.example/",
            "javascript:alert(1)",
            "/\t/evil.example",
            "/a\\b",
            "/.curfew/sign-out",
        ] {
            assert_eq!(return_path(rejected), "/", "{rejected:?}");
        }
    }
}
