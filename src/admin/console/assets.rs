use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;

pub(super) async fn style() -> Response {
    let kind = HeaderValue::from_static("text/css");
    ([(CONTENT_TYPE, kind)], include_str!("console.css")).into_response()
}

pub(super) async fn script() -> Response {
    let kind = HeaderValue::from_static("text/javascript");
    ([(CONTENT_TYPE, kind)], include_str!("console.js")).into_response()
}
