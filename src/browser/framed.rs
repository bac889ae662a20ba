use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;

use super::private;
use crate::contract::FRAMED;

/// `GET /.curfew/framed`: the page for a frame, for a proxy that drops the body of a denial. Its link opens the frame's
/// address in the whole window.
pub(super) async fn show() -> Response {
    page()
}

/// The page, with status 401.
pub(super) fn page() -> Response {
    private((StatusCode::UNAUTHORIZED, Html(FRAMED)).into_response())
}
