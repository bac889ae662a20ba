use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use http::header::CONTENT_SECURITY_POLICY;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::store::StoreError;

/// What a page may load: what is its own.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'",
);

/// A page.
pub(super) fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page of the console can't be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Says what is wrong.
#[derive(Template)]
#[template(path = "trouble.html", config = "src/admin/console/askama.toml")]
struct Trouble<'a> {
    place: &'static str,
    title: &'a str,
    text: &'a str,
}

pub(super) fn trouble(status: StatusCode, title: &str, text: &str) -> Response {
    let place = "";
    page(status, &Trouble { place, title, text })
}

pub(super) fn unavailable(error: &StoreError) -> Response {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    trouble(status, "The store can't be asked", &error.to_string())
}

/// The value of a field of a form, for `|safe`: the form sends back the same text.
pub(super) fn attribute(text: impl AsRef<str>) -> String {
    crate::escape::html_value(text.as_ref())
}

/// Seconds as people read them, the same as the script writes.
pub(super) fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        hours => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// What every answer of the console says besides.
pub(super) async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
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
