use axum::response::Response;
use http::StatusCode;

use super::asker::Asker;
use super::{origin, status};
use crate::contract::Contracts;
use crate::current::Current;
use crate::policy::Activity;

/// `POST /.curfew/keep-alive`: a person is there. Answers as the status does.
pub(super) async fn touch(
    Current(contracts): Current<Contracts>,
    asker: Asker,
) -> Result<Response, StatusCode> {
    origin::same(&asker)?;
    status::look(&contracts, &asker, Activity::Touch).await
}
