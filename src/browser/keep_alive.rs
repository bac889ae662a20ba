use axum::response::Response;
use http::StatusCode;

use super::browser_request::BrowserRequest;
use super::{origin, status};
use crate::contract::Contracts;
use crate::current::Current;
use crate::policy::Activity;

/// `POST /.curfew/keep-alive`: counts as activity of the person. The response is the session's status, as in the
/// response of `GET /.curfew/session`.
pub(super) async fn touch(
    Current(contracts): Current<Contracts>,
    browser_request: BrowserRequest,
) -> Result<Response, StatusCode> {
    origin::require_same_origin(&browser_request)?;
    status::respond(&contracts, &browser_request, Activity::Touch).await
}
