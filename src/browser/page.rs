//! The HTML pages for users. They have no scripts, and share one style.

use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use super::private_response;
use crate::escape::{html, html_value};

/// Content Security Policy: allows only the style of the page, by its hash.
const CSP: &str = concat!(
    "default-src 'none'; style-src 'sha256-STYLE'; base-uri 'none'; form-action 'none'; ",
    "frame-ancestors 'none'"
);
const STYLE: &str = include_str!("page.css");

/// Renders a page with a title, a text and links. Each link is a pair of address and text.
pub(super) fn render_page(title: &str, text: &str, links: &[(String, String)]) -> Response {
    let link_html: String = links
        .iter()
        .map(|(address, label)| {
            let (address, label) = (html_value(address), html(label));
            format!("<p><a href=\"{address}\">{label}</a></p>\n")
        })
        .collect();
    let (title, text) = (html(title), html(text));
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n<p>{text}</p>\n\
         {link_html}</main>\n</body>\n</html>\n"
    );
    let mut response = Html(page).into_response();
    let name = HeaderName::from_static("content-security-policy");
    if let Ok(policy) = HeaderValue::try_from(CSP.replace("STYLE", &style_hash())) {
        response.headers_mut().insert(name, policy);
    }
    private_response(response)
}

/// Returns the hash of the style in the format of a Content Security Policy (CSP Level 3, 2.3.1).
fn style_hash() -> String {
    STANDARD.encode(Sha256::digest(STYLE))
}
