//! Middleware that escapes characters in JSON responses that could mislead a reader, such as control characters.

use std::borrow::Cow;

use axum::body::{Body, to_bytes};
use axum::response::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};

use crate::escape::json;

/// Escapes the body of a JSON response; other responses do not change.
pub async fn escape_json_response(response: Response) -> Response {
    let content_type = response.headers().get(CONTENT_TYPE);
    let content_type = content_type
        .and_then(|content_type| content_type.to_str().ok())
        .unwrap_or_default();
    let content_type = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim_end();
    if content_type != "application/json" && !content_type.ends_with("+json") {
        return response;
    }
    let (mut head, body) = response.into_parts();
    // The handler has already built the whole body in memory.
    let body = match to_bytes(body, usize::MAX).await {
        Ok(body) => body,
        Err(error) => {
            tracing::error!(%error, "could not read the body of a JSON response");
            head.status = StatusCode::INTERNAL_SERVER_ERROR;
            head.headers.remove(CONTENT_LENGTH);
            return Response::from_parts(head, Body::empty());
        }
    };
    let body = match std::str::from_utf8(&body).map(json) {
        Ok(Cow::Owned(escaped)) => escaped.into(),
        _ => body,
    };
    if head.headers.contains_key(CONTENT_LENGTH) {
        head.headers
            .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    Response::from_parts(head, Body::from(body))
}
