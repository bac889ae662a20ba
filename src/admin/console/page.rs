use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use http::header::CONTENT_SECURITY_POLICY;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::store::StoreError;

/// Content Security Policy: pages load only the console's own style and script.
const CSP: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'",
);

/// Renders a page.
pub(super) fn render_page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(error) => {
            tracing::error!(%error, "could not render a console page");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The template of a page with an error message.
#[derive(Template)]
#[template(path = "error.html", config = "src/admin/console/askama.toml")]
struct ErrorPage<'a> {
    active_page: &'static str,
    title: &'a str,
    text: &'a str,
}

pub(super) fn error_page(status: StatusCode, title: &str, text: &str) -> Response {
    let active_page = "";
    render_page(
        status,
        &ErrorPage {
            active_page,
            title,
            text,
        },
    )
}

pub(super) fn unavailable_page(error: &StoreError) -> Response {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    error_page(status, "The store is unavailable", &error.to_string())
}

/// Escapes the value of a form field, so that the form sends exactly this text. The template must add `|safe`, because
/// the text is already escaped.
pub(super) fn escape_attribute(text: impl AsRef<str>) -> String {
    crate::escape::html_value(text.as_ref())
}

/// Formats seconds as `m:ss` or `h:mm:ss`, as `console.js` does.
pub(super) fn format_seconds(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        hours => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// Adds security headers to every response of the console.
pub(super) async fn add_security_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, CSP);
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("referrer-policy", "no-referrer"),
    ] {
        let name = HeaderName::from_static(name);
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
