use askama::Template;
use axum::Extension;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;

use super::super::Admin;
use super::super::model::SessionView;
use super::operator_session::Operator;
use super::page::{format_seconds, render_page, unavailable_page};
use crate::credential::Right;
use crate::current::Current;
use crate::session::Subject;
use crate::store::Cursor;

/// The number of rows on one page.
const PAGE_SIZE: usize = 50;

#[derive(Template)]
#[template(path = "operators.html", config = "src/admin/console/askama.toml")]
struct OperatorsTemplate {
    active_page: &'static str,
    rows: Vec<Row>,
    next: Option<String>,
    may_end: bool,
}

/// A session of an operator.
struct Row {
    operator: String,
    session: SessionView,
    /// Whether this is the session of the operator who sent this request.
    is_own: bool,
}

/// The query of the page.
#[derive(Debug, Default, Deserialize)]
pub(super) struct OperatorsQuery {
    cursor: Option<String>,
}

/// Lists the sessions of operators. An ended session stays in the list until its tombstone (the record of the end)
/// expires.
pub(super) async fn list(
    Current(admin): Current<Admin>,
    Extension(operator): Extension<Operator>,
    query: Result<Query<OperatorsQuery>, QueryRejection>,
) -> Response {
    let Query(query) = query.unwrap_or_default();
    let cursor = query.cursor.and_then(|text| text.parse::<Cursor>().ok());
    let subject = Subject::operators();
    let found = admin.stores.sessions.list(&subject, cursor, PAGE_SIZE);
    let found = match found.await {
        Ok(found) => found,
        Err(error) => return unavailable_page(&error),
    };
    let now = admin.clock.now();
    let rows = found.sessions.iter().map(|(id, session)| Row {
        operator: session.user_id().to_owned(),
        session: admin.session_view_at(*id, session, now),
        is_own: *id == operator.id,
    });
    let template = OperatorsTemplate {
        active_page: "operators",
        rows: rows.collect(),
        next: found
            .next
            .map(|next| format!("/console/operators?cursor={next}")),
        may_end: operator.has_right(Right::Revoke),
    };
    render_page(StatusCode::OK, &template)
}
