use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;

use super::private;
use crate::contract::FRAMED;

/// `GET /.curfew/framed`: the framed page, for proxies that drop the body of a denial. The link on the page opens the
/// frame's address in the whole window.
pub(super) async fn show() -> Response {
    page()
}

/// Builds the framed page, with status 401.
pub(super) fn page() -> Response {
    private((StatusCode::UNAUTHORIZED, Html(FRAMED)).into_response())
}
