use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::private;
use super::sign_out::SIGNED_OUT;
use crate::contract::message;
use crate::session::DenyReason;

/// The page's own style, by its hash, and nothing else.
const POLICY: &str = concat!(
    "default-src 'none'; style-src 'sha256-STYLE'; base-uri 'none'; form-action 'none'; ",
    "frame-ancestors 'none'"
);
const STYLE: &str = include_str!("signed_out.css");

/// What the page is asked for. Whatever it is not known by is left out.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    reason: String,
    /// Where to go on: a path on this host.
    #[serde(default)]
    rd: String,
}

/// `GET /.curfew/signed-out?reason=…`: says why, and leads back in.
pub(super) async fn page(asked: Result<Query<Asked>, QueryRejection>) -> Response {
    let Query(asked) = asked.unwrap_or_default();
    let (title, text) = words(&asked.reason);
    let way = escaped(way_back(&asked.rd));
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n<p>{text}</p>\n\
         <p><a href=\"{way}\">Sign in again</a></p>\n</main>\n</body>\n</html>\n"
    );
    let mut response = Html(page).into_response();
    let name = HeaderName::from_static("content-security-policy");
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(POLICY.replace("STYLE", &style_hash())) {
        headers.insert(name, policy);
    }
    private(response)
}

/// The title, and why, for the person in front of the screen.
fn words(reason: &str) -> (&'static str, &'static str) {
    let known = DenyReason::ALL.into_iter();
    match known
        .filter(|known| known.is_terminal())
        .find(|known| known.as_str() == reason)
    {
        Some(DenyReason::Revoked) => ("Signed out", "Your session was ended."),
        Some(reason) => ("Signed out", message(reason)),
        None if reason == SIGNED_OUT => ("Signed out", "You have signed out."),
        None => ("Signed out", "You are not signed in."),
    }
}

/// A path on this host, and nothing that a browser would take for another (CWE-601).
pub(super) fn way_back(asked: &str) -> &str {
    let mut start = asked.chars();
    let local = start.next() == Some('/') && !matches!(start.next(), Some('/' | '\\'));
    let plain = !asked.chars().any(|it| it.is_control() || it == '\\');
    if local && plain && !asked.starts_with(super::PREFIX) {
        asked
    } else {
        "/"
    }
}

pub(super) fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut all, it| {
        match it {
            '&' => all.push_str("&amp;"),
            '<' => all.push_str("&lt;"),
            '>' => all.push_str("&gt;"),
            '"' => all.push_str("&quot;"),
            '\'' => all.push_str("&#39;"),
            it => all.push(it),
        }
        all
    })
}

/// As a Content Security Policy names an inline style (CSP Level 3, 2.3.1).
fn style_hash() -> String {
    STANDARD.encode(Sha256::digest(STYLE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_stays_here() {
        for here in ["/", "/a/b?c=d#e", "/search?q=//x"] {
            assert_eq!(way_back(here), here);
        }
        for elsewhere in [
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
            assert_eq!(way_back(elsewhere), "/", "{elsewhere:?}");
        }
    }
}
