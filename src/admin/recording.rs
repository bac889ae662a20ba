use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::{Extension, Json};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Admin;
use super::caller::Caller;
use super::error::{ApiError, Problem};
use crate::actor::Actor;
use crate::check::recording::{MAX_DURATION, Recording};
use crate::current::Current;
use crate::telemetry::audit;

/// A request to start a recording.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordingRequest {
    /// The recording ends after this time, at most `10m`.
    #[schema(example = "5m")]
    duration: String,
}

/// Starts a recording of the checks that proxies send, without secrets. The new recording replaces an earlier
/// recording.
#[utoipa::path(
    post,
    path = "/api/v1/recording",
    tag = "recording",
    security(("token" = [])),
    request_body = RecordingRequest,
    responses(
        (status = 201, body = Recording),
        (status = 400, body = Problem),
        (status = 401, body = Problem),
        (status = 429, description = "too many wrong tokens from this address", body = Problem),
        (status = 403, description = "no admin token, or an admin token without the right `read`", body = Problem),
    ),
)]
pub(super) async fn start(
    Current(admin): Current<Admin>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<RecordingRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<Recording>), ApiError> {
    let actor = require_admin_token(&caller)?;
    let Json(request) = body?;
    let duration = humantime::parse_duration(&request.duration).ok();
    let allowed_durations = Duration::from_secs(1)..=MAX_DURATION;
    let duration = duration.filter(|duration| allowed_durations.contains(duration));
    let duration = duration.ok_or_else(|| {
        ApiError::Invalid("duration: must be between 1s and 10m, such as 5m".to_owned())
    })?;
    let now = admin.clock.now();
    let recording = admin.observers.recorder.start(now, duration);
    audit::recording_started(&recording.until, &actor);
    Ok((StatusCode::CREATED, Json(recording)))
}

/// Returns the checks that were recorded so far. `curfew explain --recording` reads this response.
#[utoipa::path(
    get,
    path = "/api/v1/recording",
    tag = "recording",
    security(("token" = [])),
    responses(
        (status = 200, body = Recording),
        (status = 401, body = Problem),
        (status = 429, description = "too many wrong tokens from this address", body = Problem),
        (status = 403, description = "no admin token, or an admin token without the right `read`", body = Problem),
        (status = 404, description = "there is no recording", body = Problem),
    ),
)]
pub(super) async fn read(
    Current(admin): Current<Admin>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Recording>, ApiError> {
    let actor = require_admin_token(&caller)?;
    let recording = admin.observers.recorder.read().ok_or(ApiError::NotFound)?;
    audit::recording_used("read", &actor);
    Ok(Json(recording))
}

/// Stops the recording and deletes it.
#[utoipa::path(
    delete,
    path = "/api/v1/recording",
    tag = "recording",
    security(("token" = [])),
    responses(
        (status = 204),
        (status = 401, body = Problem),
        (status = 429, description = "too many wrong tokens from this address", body = Problem),
        (status = 403, description = "no admin token, or an admin token without the right `read`", body = Problem),
        (status = 404, description = "there is no recording", body = Problem),
    ),
)]
pub(super) async fn stop(
    Current(admin): Current<Admin>,
    Extension(caller): Extension<Caller>,
) -> Result<StatusCode, ApiError> {
    let actor = require_admin_token(&caller)?;
    if !admin.observers.recorder.stop() {
        return Err(ApiError::NotFound);
    }
    audit::recording_used("stopped", &actor);
    Ok(StatusCode::NO_CONTENT)
}

/// Returns the actor of a request with an admin token. A recording shows the requests of all users, so a Kubernetes
/// role is not enough.
fn require_admin_token(caller: &Caller) -> Result<Actor, ApiError> {
    if caller.has_token() {
        return Ok(caller.actor());
    }
    Err(ApiError::Forbidden(
        "recordings need an admin token (admin.token_hashes)".to_owned(),
    ))
}
