use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;

use super::private_response;
use crate::contract::FRAMED_PAGE;

/// `GET /.curfew/framed`: the framed page (the answer to a frame without a valid session), for proxies that drop the
/// body of a denial. The link on the page opens the frame's address in the whole window.
pub(super) async fn show() -> Response {
    framed_page()
}

/// Builds the framed page, with status 401.
pub(super) fn framed_page() -> Response {
    private_response((StatusCode::UNAUTHORIZED, Html(FRAMED_PAGE)).into_response())
}
