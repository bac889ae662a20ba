use std::time::Duration;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use http::header::LOCATION;

use super::Admin;
use super::caller::Caller;
use super::error::{ApiError, Problem};
use super::model::{
    AgeSession, CountSessions, CreateSession, CreatedSession, ListSessions, ReplicationView,
    RevokeAll, RevokedAll, RevokedSession, SessionCount, SessionPage, SessionView,
    SessionWithStreams, StreamView,
};
use crate::current::Current;
use crate::kubernetes::Verb;
use crate::session::{EndReason, Session, SessionId, Subject, Timestamp};
use crate::store::{Cursor, EndOutcome, Page, Replication};

/// The maximum number of sessions on a page.
const MAX_PAGE_SIZE: usize = 1000;
/// The longest time by which one request can age a session (move its times into the past); longer than any limit.
const MAX_AGEING: Duration = Duration::from_secs(1000 * 86_400);

/// The session ID in the path of a request, not yet validated; see [`parse_id`].
pub(super) type PathId = Result<Path<String>, PathRejection>;

impl Admin {
    /// Describes the session at the current time.
    /// Describes the open streams of a session on this replica.
    pub(super) fn stream_views(&self, id: SessionId) -> Vec<StreamView> {
        let streams = self.streams.of_session(id);
        streams.iter().map(|it| StreamView::new(it)).collect()
    }

    fn session_view(&self, id: SessionId, session: &Session) -> SessionView {
        self.session_view_at(id, session, self.clock.now())
    }

    /// Loads a session and checks that the caller may use `verb` on it. If the caller has this permission only for
    /// certain subjects, a missing session and a session of another subject give the same error. So the caller does not
    /// learn which sessions exist.
    pub(super) async fn load_permitted_session(
        &self,
        id: SessionId,
        caller: &Caller,
        verb: Verb,
    ) -> Result<Session, ApiError> {
        let session = self.stores.sessions.load(id).await?;
        let subject = session.as_ref().map(|session| &session.subject);
        caller.require_verb(verb, subject).await?;
        session.ok_or(ApiError::UnknownSession)
    }

    /// Describes a page of sessions at the current time.
    pub(super) fn page_view(&self, page: &Page) -> SessionPage {
        let sessions = page.sessions.iter();
        SessionPage {
            sessions: sessions
                .map(|(id, session)| self.session_view(*id, session))
                .collect(),
            next: page.next.map(|cursor| cursor.to_string()),
        }
    }

    pub(super) fn session_view_at(
        &self,
        id: SessionId,
        session: &Session,
        now: Timestamp,
    ) -> SessionView {
        let home = self.rulebook.policies.home(session);
        if self.lifecycle.is_revoked(session) {
            let mut revoked = session.clone();
            revoked.end(EndReason::Revoked, now);
            return SessionView::new(id, &revoked, &home, now);
        }
        SessionView::new(id, session, &home, now)
    }
}

/// Starts a session for a subject that has signed in with another service.
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
        (status = 429, description = "too many wrong tokens from this address", body = Problem),
        (status = 403, description = "the admin token lacks the right `create`, or no Kubernetes role allows it", body = Problem),
        (status = 409, description = "the subject has reached the session limit of its policy", body = Problem),
        (status = 503, description = "the store failed or is full", body = Problem),
    ),
)]
pub(super) async fn create(
    Current(admin): Current<Admin>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<CreateSession>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(request) = body?;
    let sign_in = request.parse(&admin.rulebook.policies, caller.actor())?;
    caller
        .require_verb(Verb::Create, Some(&sign_in.subject))
        .await?;
    let started = admin.lifecycle.start(sign_in).await?;
    // Describe the session at its start, so that the remaining seconds equal the limits. At the current time, these
    // seconds would be rounded down.
    let now = started.session.started;
    let created = CreatedSession {
        token: started.token.expose(),
        set_cookie: admin.cookie.issue(&started.token, &started.session, now),
        session: admin.session_view_at(started.id, &started.session, now),
        replication: ReplicationView::new(started.replication),
    };
    let location = [(LOCATION, format!("/api/v1/sessions/{}", started.id))];
    Ok((StatusCode::CREATED, location, Json(created)).into_response())
}

/// Lists the sessions of a subject. An ended session stays in the list until its tombstone (the record of the end)
/// expires. Without a subject, the list has the live sessions that end soonest, whatever their subject.
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
        (status = 429, description = "too many wrong tokens from this address", body = Problem),
        (status = 403, description = "the admin token lacks the right `read`, or no Kubernetes role allows it", body = Problem),
        (status = 503, body = Problem),
    ),
)]
pub(super) async fn list(
    Current(admin): Current<Admin>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<ListSessions>, QueryRejection>,
) -> Result<Json<SessionPage>, ApiError> {
    let Query(query) = query?;
    let limit = query.limit.unwrap_or(100);
    if !(1..=MAX_PAGE_SIZE).contains(&limit) {
        return Err(ApiError::Invalid(format!(
            "limit: must be between 1 and {MAX_PAGE_SIZE}"
        )));
    }
    let cursor = query.cursor.map(|text| text.parse::<Cursor>()).transpose();
    let cursor = cursor.map_err(|error| ApiError::Invalid(format!("cursor: {error}")))?;
    let page = match (query.subject, cursor) {
        (Some(subject), cursor) => {
            let subject = parse_subject(subject)?;
            caller.require_verb(Verb::List, Some(&subject)).await?;
            admin.stores.sessions.list(&subject, cursor, limit).await?
        }
        (None, None) => {
            caller.require_verb(Verb::List, None).await?;
            admin.lifecycle.list_ending_soonest(limit).await?
        }
        (None, Some(_)) => {
            let message = "cursor: requires the `subject` of the previous page";
            return Err(ApiError::Invalid(message.to_owned()));
        }
    };
    Ok(Json(admin.page_view(&page)))
}

/// Shows a session. This does not count as activity.
#[utoipa::path(
    get,
    path = "/api/v1/sessions/{id}",
    tag = "sessions",
    security(("token" = [])),
    params(("id" = String, Path, description = "the session ID, 32 hexadecimal digits")),
    responses(
        (status = 200, body = SessionWithStreams),
        (status = 400, body = Problem),
        (status = 401, body = Problem),
        (status = 429, description = "too many wrong tokens from this address", body = Problem),
        (status = 403, description = "the admin token lacks the right `read`, or no Kubernetes role allows it", body = Problem),
        (status = 404, body = Problem),
        (status = 503, body = Problem),
    ),
)]
pub(super) async fn show(
    Current(admin): Current<Admin>,
    Extension(caller): Extension<Caller>,
    path: PathId,
) -> Result<Json<SessionWithStreams>, ApiError> {
    let id = parse_id(path)?;
    let session = admin.load_permitted_session(id, &caller, Verb::Get).await?;
    Ok(Json(SessionWithStreams {
        session: admin.session_view(id, &session),
        streams: admin.stream_views(id),
    }))
}

/// Ends a session. A second request changes nothing: the session keeps its first reason.
#[utoipa::path(
    delete,
    path = "/api/v1/sessions/{id}",
    tag = "sessions",
    security(("token" = [])),
    params(("id" = String, Path, description = "the session ID, 32 hexadecimal digits")),
    responses(
        (status = 200, description = "the session has ended, now or earlier", body = RevokedSession),
        (status = 202, description = "the session has ended, but too few Redis replicas have confirmed it: a fail-over could lose the end. Repeat the request to wait again", body = RevokedSession),
        (status = 400, body = Problem),
        (status = 401, body = Problem),
        (status = 429, description = "too many wrong tokens from this address", body = Problem),
        (status = 403, description = "the admin token lacks the right `revoke`, or no Kubernetes role allows it", body = Problem),
        (status = 404, body = Problem),
        (status = 503, description = "the session may not have ended; repeat the request", body = Problem),
    ),
)]
pub(super) async fn revoke(
    Current(admin): Current<Admin>,
    Extension(caller): Extension<Caller>,
    path: PathId,
) -> Result<(StatusCode, Json<RevokedSession>), ApiError> {
    let id = parse_id(path)?;
    if !caller.has_token() {
        admin
            .load_permitted_session(id, &caller, Verb::Delete)
            .await?;
    }
    let (outcome, replication) = admin.lifecycle.revoke(id, &caller.actor()).await?;
    match outcome {
        EndOutcome::Ended(session) | EndOutcome::AlreadyEnded(session) => {
            let revoked = RevokedSession {
                session: admin.session_view(id, &session),
                replication: ReplicationView::new(replication),
            };
            Ok((replication_status(replication), Json(revoked)))
        }
        EndOutcome::Unknown => Err(ApiError::UnknownSession),
        // This outcome cannot occur here, because this session end does not depend on the last activity.
        EndOutcome::Touched(_) => Err(ApiError::Internal(
            "the session had activity while it was being ended".to_owned(),
        )),
    }
}

/// Ends all sessions of a subject, or only sessions that started before a time. This includes a session that the
/// store has lost, if a fail-over brings it back later. Later sign-ins are not affected.
#[utoipa::path(
    delete,
    path = "/api/v1/sessions",
    tag = "sessions",
    security(("token" = [])),
    params(RevokeAll),
    responses(
        (status = 200, body = RevokedAll),
        (status = 202, description = "the sessions have ended, but too few Redis replicas have confirmed it", body = RevokedAll),
        (status = 400, body = Problem),
        (status = 401, body = Problem),
        (status = 429, description = "too many wrong tokens from this address", body = Problem),
        (status = 403, description = "the admin token lacks the right `revoke`, or no Kubernetes role allows it", body = Problem),
        (status = 503, description = "some sessions may not have ended; repeat the request", body = Problem),
    ),
)]
pub(super) async fn revoke_all(
    Current(admin): Current<Admin>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<RevokeAll>, QueryRejection>,
) -> Result<(StatusCode, Json<RevokedAll>), ApiError> {
    let Query(query) = query?;
    let subject = parse_subject(query.subject)?;
    caller.require_verb(Verb::Delete, Some(&subject)).await?;
    let before = query.before.map(|text| {
        let time = humantime::parse_rfc3339_weak(&text)
            .ok()
            .map(Timestamp::from);
        // A time in the future would also end the sessions of later sign-ins.
        time.filter(|time| *time <= admin.clock.now())
            .ok_or_else(|| {
                let message = "before: must be a time in the past, such as 2026-11-23T09:30:00Z";
                ApiError::Invalid(message.to_owned())
            })
    });
    let all = admin
        .lifecycle
        .revoke_all(&subject, before.transpose()?, &caller.actor())
        .await?;
    let revoked = RevokedAll {
        revoked: all.revoked,
        not_before: all.not_before.to_string(),
        replication: ReplicationView::new(all.replication),
    };
    Ok((replication_status(all.replication), Json(revoked)))
}

/// Counts the sessions of a subject.
#[utoipa::path(
    get,
    path = "/api/v1/sessions/count",
    tag = "sessions",
    security(("token" = [])),
    params(CountSessions),
    responses(
        (status = 200, body = SessionCount),
        (status = 400, body = Problem),
        (status = 401, body = Problem),
        (status = 429, description = "too many wrong tokens from this address", body = Problem),
        (status = 403, description = "the admin token lacks the right `read`, or no Kubernetes role allows it", body = Problem),
        (status = 503, body = Problem),
    ),
)]
pub(super) async fn count(
    Current(admin): Current<Admin>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<CountSessions>, QueryRejection>,
) -> Result<Json<SessionCount>, ApiError> {
    let Query(query) = query?;
    let subject = parse_subject(query.subject)?;
    caller.require_verb(Verb::List, Some(&subject)).await?;
    let count = admin.lifecycle.count(&subject).await?;
    Ok(Json(SessionCount {
        live: count.live,
        ended: count.ended,
    }))
}

/// Returns status 200, or 202 if a fail-over could lose the change.
const fn replication_status(replication: Replication) -> StatusCode {
    if replication.is_confirmed() {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    }
}

/// Moves all times of a live session into the past, to test a timeout without waiting. Needs `admin.allow_ageing`.
#[utoipa::path(
    post,
    path = "/api/v1/sessions/{id}/age",
    tag = "sessions",
    security(("token" = [])),
    params(("id" = String, Path, description = "the session ID, 32 hexadecimal digits")),
    request_body = AgeSession,
    responses(
        (status = 200, body = SessionView),
        (status = 400, body = Problem),
        (status = 401, body = Problem),
        (status = 429, description = "too many wrong tokens from this address", body = Problem),
        (status = 403, description = "ageing is disabled, the admin token lacks the right `revoke`, or no Kubernetes role allows it", body = Problem),
        (status = 404, body = Problem),
        (status = 503, body = Problem),
    ),
)]
pub(super) async fn age(
    Current(admin): Current<Admin>,
    Extension(caller): Extension<Caller>,
    path: PathId,
    body: Result<Json<AgeSession>, JsonRejection>,
) -> Result<Json<SessionView>, ApiError> {
    if !admin.allow_ageing {
        return Err(ApiError::AgeingDisabled);
    }
    let id = parse_id(path)?;
    let Json(request) = body?;
    let by = humantime::parse_duration(&request.by)
        .ok()
        .filter(|by| *by <= MAX_AGEING);
    let by = by.ok_or_else(|| {
        ApiError::Invalid("by: must be a duration such as `14m 30s`, at most 1000 days".to_owned())
    })?;
    if !caller.has_token() {
        // Ageing can end the session, so the user needs the permission to delete it.
        admin
            .load_permitted_session(id, &caller, Verb::Delete)
            .await?;
    }
    let session = admin
        .lifecycle
        .age(id, by, &caller.actor())
        .await?
        .ok_or(ApiError::UnknownSession)?;
    Ok(Json(admin.session_view(id, &session)))
}

pub(super) fn parse_id(path: PathId) -> Result<SessionId, ApiError> {
    let Path(text) = path?;
    text.parse()
        .map_err(|error| ApiError::Invalid(format!("id: {error}")))
}

fn parse_subject(text: String) -> Result<Subject, ApiError> {
    Subject::new(text).map_err(|error| ApiError::Invalid(format!("subject: {error}")))
}
