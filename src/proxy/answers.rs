//! The answers of Curfew itself, without an application.

use axum::body::Body;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use crate::retry_after::retry_after;

/// The answer to a request that Curfew cannot forward.
pub(super) fn status_response(status: StatusCode) -> Response<Body> {
    let text = match status {
        StatusCode::MISDIRECTED_REQUEST => "No application has this host.\n",
        StatusCode::SERVICE_UNAVAILABLE => "The application is not available at the moment.\n",
        StatusCode::BAD_GATEWAY => "The application did not answer.\n",
        StatusCode::GATEWAY_TIMEOUT => "The application did not answer in time.\n",
        StatusCode::NOT_IMPLEMENTED => "The application does not support this upgrade.\n",
        StatusCode::EXPECTATION_FAILED => "This expectation is not supported.\n",
        StatusCode::METHOD_NOT_ALLOWED => "This method is not allowed.\n",
        _ => "The request is not valid.\n",
    };
    let mut response = text_response(status, text);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, retry_after());
    }
    response
}

/// An answer that no cache keeps.
pub(super) fn text_response(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
