use askama::Template;
use axum::Extension;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use serde::Deserialize;

use super::super::Admin;
use super::super::model::{SessionView, StreamView};
use super::operator_session::Operator;
use super::page::{error_page, escape_attribute, format_seconds, render_page, unavailable_page};
use super::policies::{ExplanationLines, explain_request, method_or_default};
use crate::credential::Right;
use crate::current::Current;
use crate::session::{Session, SessionId};
use crate::store::EndOutcome;

#[derive(Template)]
#[template(path = "session.html", config = "src/admin/console/askama.toml")]
struct SessionTemplate<'a> {
    active_page: &'static str,
    session: SessionView,
    streams: Vec<StreamView>,
    url: &'a str,
    method: &'a str,
    explanation: Option<ExplanationLines>,
    /// Whether the operator has the right `revoke`.
    may_end: bool,
    /// The operator's name if this is a console session.
    operator: Option<String>,
    /// Whether this is the session of the operator who sent this request.
    is_own: bool,
}

/// The form to explain a request. If `url` is empty, the page shows no explanation.
#[derive(Debug, Default, Deserialize)]
pub(super) struct SessionQuery {
    #[serde(default)]
    url: String,
    #[serde(default)]
    method: String,
}

/// Shows a session, and explains a request with this session.
pub(super) async fn show(
    Current(admin): Current<Admin>,
    Extension(operator): Extension<Operator>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<SessionQuery>, QueryRejection>,
) -> Response {
    let Query(query) = query.unwrap_or_default();
    let (id, session) = match find_session(&admin, path).await {
        Ok(found) => found,
        Err(response) => return response,
    };
    let method = method_or_default(&query.method);
    let explanation =
        (!query.url.is_empty()).then(|| explain_request(&admin, &query.url, method, &session));
    let template = SessionTemplate {
        active_page: "sessions",
        session: admin.session_view_at(id, &session, admin.clock.now()),
        streams: admin.stream_views(id),
        url: &query.url,
        method,
        explanation,
        may_end: operator.has_right(Right::Revoke),
        operator: session.is_operator().then(|| session.user_id().to_owned()),
        is_own: operator.id == id,
    };
    render_page(StatusCode::OK, &template)
}

/// Ends a session.
pub(super) async fn end(
    Current(admin): Current<Admin>,
    Extension(operator): Extension<Operator>,
    path: Result<Path<String>, PathRejection>,
) -> Response {
    if let Some(refused) = operator.refusal(Right::Revoke) {
        return refused;
    }
    let Some(id) = session_id(path) else {
        return not_found_page();
    };
    match admin.lifecycle.revoke(id, &operator.actor()).await {
        Ok((EndOutcome::Unknown, _)) => not_found_page(),
        Ok(_) => Redirect::to(&format!("/console/sessions/{id}")).into_response(),
        Err(error) => unavailable_page(&error),
    }
}

fn session_id(path: Result<Path<String>, PathRejection>) -> Option<SessionId> {
    path.ok()?.0.parse().ok()
}

async fn find_session(
    admin: &Admin,
    path: Result<Path<String>, PathRejection>,
) -> Result<(SessionId, Session), Response> {
    let id = session_id(path).ok_or_else(not_found_page)?;
    let session = admin.stores.sessions.load(id).await;
    let session = session.map_err(|error| unavailable_page(&error))?;
    Ok((id, session.ok_or_else(not_found_page)?))
}

fn not_found_page() -> Response {
    let text = "The session ID is wrong, or the session ended some time ago and Curfew has deleted its record.";
    error_page(StatusCode::NOT_FOUND, "Session not found", text)
}
