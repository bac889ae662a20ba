use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;

pub(super) async fn serve_style() -> Response {
    let content_type = HeaderValue::from_static("text/css");
    ([(CONTENT_TYPE, content_type)], include_str!("console.css")).into_response()
}

pub(super) async fn serve_script() -> Response {
    let content_type = HeaderValue::from_static("text/javascript");
    ([(CONTENT_TYPE, content_type)], include_str!("console.js")).into_response()
}
