use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;

use super::private;
use crate::contract::FRAMED;

/// `GET /.curfew/framed`: what a proxy that drops the body of a denial shows in a frame; its link opens the frame's
/// own address in the whole window.
pub(super) async fn show() -> Response {
    page()
}

/// The page, as a denial.
pub(super) fn page() -> Response {
    private((StatusCode::UNAUTHORIZED, Html(FRAMED)).into_response())
}
