use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::LOCATION;

use super::Admin;
use super::error::{ApiError, Problem};
use super::model::{
    AgeSession, CreateSession, CreatedSession, ListSessions, RevokeAll, RevokedAll, SessionPage,
    SessionView,
};
use crate::session::{Session, SessionId, Subject, Timestamp};
use crate::store::{Cursor, EndOutcome};

/// The most sessions on a page.
const MAX_PAGE: usize = 1000;
/// The farthest that a session can be aged at once: longer than any limit.
const MAX_AGE: Duration = Duration::from_secs(1000 * 86_400);

type PathId = Result<Path<String>, PathRejection>;

impl Admin {
    /// The session as it is now.
    fn view(&self, id: SessionId, session: &Session) -> SessionView {
        self.view_at(id, session, self.lifecycle.clock.now())
    }

    fn view_at(&self, id: SessionId, session: &Session, now: Timestamp) -> SessionView {
        let policy = self.lifecycle.policies.home(&session.policy);
        SessionView::new(id, session, policy, now)
    }
}

/// Starts a session for a subject that has signed in elsewhere.
#[utoipa::path(
    post,
    path = "/api/v1/sessions",
    tag = "sessions",
    security(("token" = [])),
    request_body = CreateSession,
    responses(
        (status = 201, body = CreatedSession, headers(("Location" = String, description = "the session"))),
        (status = 400, body = Problem),
        (status = 401, body = Problem),
        (status = 503, description = "the store failed or is full", body = Problem),
    ),
)]
pub(super) async fn create(
    State(admin): State<Arc<Admin>>,
    body: Result<Json<CreateSession>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(request) = body?;
    let started = admin
        .lifecycle
        .start(request.parse(&admin.lifecycle.policies)?)
        .await?;
    // The answer is about the instant of the sign-in: whole limits, not a millisecond less.
    let now = started.session.started;
    let created = CreatedSession {
        token: started.token.expose(),
        set_cookie: admin.cookie.issue(&started.token, &started.session, now),
        session: admin.view_at(started.id, &started.session, now),
    };
    let location = [(LOCATION, format!("/api/v1/sessions/{}", started.id))];
    Ok((StatusCode::CREATED, location, Json(created)).into_response())
}

/// Lists a subject's sessions, ended ones included for as long as their end can be told.
#[utoipa::path(
    get,
    path = "/api/v1/sessions",
    tag = "sessions",
    security(("token" = [])),
    params(ListSessions),
    responses(
        (status = 200, body = SessionPage),
        (status = 400, body = Problem),
        (status = 401, body = Problem),
        (status = 503, body = Problem),
    ),
)]
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    query: Result<Query<ListSessions>, QueryRejection>,
) -> Result<Json<SessionPage>, ApiError> {
    let Query(query) = query?;
    let subject = parse_subject(query.subject)?;
    let limit = query.limit.unwrap_or(100);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(ApiError::Invalid(format!(
            "limit: must be between 1 and {MAX_PAGE}"
        )));
    }
    let cursor = query.cursor.map(|text| text.parse::<Cursor>()).transpose();
    let cursor = cursor.map_err(|error| ApiError::Invalid(format!("cursor: {error}")))?;
    let page = admin.lifecycle.store.list(&subject, cursor, limit).await?;
    let sessions = page
        .sessions
        .iter()
        .map(|(id, session)| admin.view(*id, session))
        .collect();
    Ok(Json(SessionPage {
        sessions,
        next: page.next.map(|cursor| cursor.to_string()),
    }))
}

/// Shows a session. This is not activity.
#[utoipa::path(
    get,
    path = "/api/v1/sessions/{id}",
    tag = "sessions",
    security(("token" = [])),
    params(("id" = String, Path, description = "the session's name, 32 hexadecimal digits")),
    responses(
        (status = 200, body = SessionView),
        (status = 400, body = Problem),
        (status = 401, body = Problem),
        (status = 404, body = Problem),
        (status = 503, body = Problem),
    ),
)]
pub(super) async fn show(
    State(admin): State<Arc<Admin>>,
    path: PathId,
) -> Result<Json<SessionView>, ApiError> {
    let id = parse_id(path)?;
    let session = admin
        .lifecycle
        .store
        .load(id)
        .await?
        .ok_or(ApiError::UnknownSession)?;
    Ok(Json(admin.view(id, &session)))
}

/// Ends a session. Ending it again changes nothing: the first reason stands.
#[utoipa::path(
    delete,
    path = "/api/v1/sessions/{id}",
    tag = "sessions",
    security(("token" = [])),
    params(("id" = String, Path, description = "the session's name, 32 hexadecimal digits")),
    responses(
        (status = 200, description = "it has ended, now or before", body = SessionView),
        (status = 400, body = Problem),
        (status = 401, body = Problem),
        (status = 404, body = Problem),
        (status = 503, description = "it may not have ended; repeating this is safe", body = Problem),
    ),
)]
pub(super) async fn revoke(
    State(admin): State<Arc<Admin>>,
    path: PathId,
) -> Result<Json<SessionView>, ApiError> {
    let id = parse_id(path)?;
    match admin.lifecycle.revoke(id).await? {
        EndOutcome::Ended(session) | EndOutcome::AlreadyEnded(session) => {
            Ok(Json(admin.view(id, &session)))
        }
        EndOutcome::Unknown => Err(ApiError::UnknownSession),
        // Only an end that is conditional on idleness is answered so, and this one is not.
        EndOutcome::Touched(_) => Err(ApiError::Internal(
            "the session was used while it was being ended".to_owned(),
        )),
    }
}

/// Ends every session of a subject.
#[utoipa::path(
    delete,
    path = "/api/v1/sessions",
    tag = "sessions",
    security(("token" = [])),
    params(RevokeAll),
    responses(
        (status = 200, body = RevokedAll),
        (status = 400, body = Problem),
        (status = 401, body = Problem),
        (status = 503, description = "some may not have ended; repeating this is safe", body = Problem),
    ),
)]
pub(super) async fn revoke_all(
    State(admin): State<Arc<Admin>>,
    query: Result<Query<RevokeAll>, QueryRejection>,
) -> Result<Json<RevokedAll>, ApiError> {
    let Query(query) = query?;
    let subject = parse_subject(query.subject)?;
    Ok(Json(RevokedAll {
        revoked: admin.lifecycle.revoke_all(&subject).await?,
    }))
}

/// Moves every time of a live session into the past, so that a time-out can be tested without
/// waiting for it. Off unless `admin.allow_ageing` is set.
#[utoipa::path(
    post,
    path = "/api/v1/sessions/{id}/age",
    tag = "sessions",
    security(("token" = [])),
    params(("id" = String, Path, description = "the session's name, 32 hexadecimal digits")),
    request_body = AgeSession,
    responses(
        (status = 200, body = SessionView),
        (status = 400, body = Problem),
        (status = 401, body = Problem),
        (status = 403, description = "ageing is off", body = Problem),
        (status = 404, body = Problem),
        (status = 503, body = Problem),
    ),
)]
pub(super) async fn age(
    State(admin): State<Arc<Admin>>,
    path: PathId,
    body: Result<Json<AgeSession>, JsonRejection>,
) -> Result<Json<SessionView>, ApiError> {
    if !admin.allow_ageing {
        return Err(ApiError::AgeingOff);
    }
    let id = parse_id(path)?;
    let Json(request) = body?;
    let by = humantime::parse_duration(&request.by)
        .ok()
        .filter(|by| *by <= MAX_AGE);
    let by = by.ok_or_else(|| {
        ApiError::Invalid("by: a duration such as `14m 30s`, at most 1000 days".to_owned())
    })?;
    let session = admin
        .lifecycle
        .store
        .age(id, by)
        .await?
        .ok_or(ApiError::UnknownSession)?;
    tracing::info!(session = %id, by = %request.by, "session aged");
    Ok(Json(admin.view(id, &session)))
}

fn parse_id(path: PathId) -> Result<SessionId, ApiError> {
    let Path(text) = path?;
    text.parse()
        .map_err(|error| ApiError::Invalid(format!("id: {error}")))
}

fn parse_subject(text: String) -> Result<Subject, ApiError> {
    Subject::new(text).map_err(|error| ApiError::Invalid(format!("subject: {error}")))
}
