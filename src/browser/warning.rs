use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

use super::add_security_headers;

const SCRIPT: &str = include_str!("warning.js");

/// Browsers may use the script for one hour without a new request.
const CACHE_POLICY: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// The `ETag` of the script. It changes with the script.
static SCRIPT_ETAG: LazyLock<String> = LazyLock::new(|| {
    let hash = Sha256::digest(SCRIPT);
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(&hash[..12]))
});

/// `GET /.curfew/warning.js`: the script, or 304 if the browser has the current version.
pub(super) async fn serve_script(headers: HeaderMap) -> Response {
    let is_current = headers.get(IF_NONE_MATCH).is_some_and(|tags| {
        let tags = tags.to_str().unwrap_or_default().split(',');
        let tags = tags.map(|tag| tag.trim().trim_start_matches("W/"));
        { tags }.any(|tag| tag == *SCRIPT_ETAG)
    });
    let mut response = if is_current {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        SCRIPT.into_response()
    };
    let response_headers = response.headers_mut();
    let content_type = HeaderValue::from_static("text/javascript; charset=utf-8");
    response_headers.insert(CONTENT_TYPE, content_type);
    response_headers.insert(CACHE_CONTROL, CACHE_POLICY);
    if let Ok(tag) = HeaderValue::from_str(&SCRIPT_ETAG) {
        response_headers.insert(ETAG, tag);
    }
    add_security_headers(response_headers);
    response
}
