use askama::Template;
use axum::Extension;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use serde::Deserialize;

use super::super::Admin;
use super::super::model::SessionView;
use super::page::{attribute, clock, page, trouble, unavailable};
use super::policies::{Told, explained, method_of};
use super::visit::Operator;
use crate::credential::Right;
use crate::current::Current;
use crate::session::{Session, SessionId};
use crate::store::EndOutcome;

#[derive(Template)]
#[template(path = "session.html", config = "src/admin/console/askama.toml")]
struct Shown<'a> {
    place: &'static str,
    session: SessionView,
    url: &'a str,
    method: &'a str,
    told: Option<Told>,
    /// Whether the operator has the right `revoke`.
    may_end: bool,
    /// The operator's name if this is a console session.
    operator: Option<String>,
    /// Whether this request uses this session.
    own: bool,
}

/// The form: a request to explain. An empty `url` means none.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    url: String,
    #[serde(default)]
    method: String,
}

/// Shows a session, and explains a request with it.
pub(super) async fn show(
    Current(admin): Current<Admin>,
    Extension(operator): Extension<Operator>,
    path: Result<Path<String>, PathRejection>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let Query(asked) = asked.unwrap_or_default();
    let (id, session) = match find(&admin, path).await {
        Ok(found) => found,
        Err(response) => return response,
    };
    let method = method_of(&asked.method);
    let told = (!asked.url.is_empty()).then(|| explained(&admin, &asked.url, method, &session));
    let shown = Shown {
        place: "sessions",
        session: admin.view_at(id, &session, admin.lifecycle.clock.now()),
        url: &asked.url,
        method,
        told,
        may_end: operator.may(Right::Revoke),
        operator: session.is_operator().then(|| session.user_id().to_owned()),
        own: operator.id == id,
    };
    page(StatusCode::OK, &shown)
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
    let Some(id) = name(path) else {
        return unknown();
    };
    match admin.lifecycle.revoke(id, &operator.actor()).await {
        Ok((EndOutcome::Unknown, _)) => unknown(),
        Ok(_) => Redirect::to(&format!("/console/sessions/{id}")).into_response(),
        Err(error) => unavailable(&error),
    }
}

fn name(path: Result<Path<String>, PathRejection>) -> Option<SessionId> {
    path.ok()?.0.parse().ok()
}

async fn find(
    admin: &Admin,
    path: Result<Path<String>, PathRejection>,
) -> Result<(SessionId, Session), Response> {
    let id = name(path).ok_or_else(unknown)?;
    let session = admin.lifecycle.store.load(id).await;
    let session = session.map_err(|error| unavailable(&error))?;
    Ok((id, session.ok_or_else(unknown)?))
}

fn unknown() -> Response {
    let text = "Curfew deletes the record of a session some time after its end.";
    trouble(StatusCode::NOT_FOUND, "Session not found", text)
}
