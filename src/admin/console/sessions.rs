use askama::Template;
use axum::Extension;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use serde::Deserialize;
use url::form_urlencoded::byte_serialize;

use super::super::Admin;
use super::super::model::{SessionPage, SessionView};
use super::operator_session::Operator;
use super::page::{error_page, escape_attribute, format_seconds, render_page, unavailable_page};
use crate::credential::Right;
use crate::current::Current;
use crate::session::Subject;
use crate::store::{Cursor, StoreError};

/// The number of rows on one page.
const PAGE_SIZE: usize = 50;

#[derive(Template)]
#[template(path = "sessions.html", config = "src/admin/console/askama.toml")]
struct SessionsTemplate<'a> {
    active_page: &'static str,
    subject: &'a str,
    message: Option<String>,
    rows: Vec<SessionView>,
    next: Option<String>,
    /// Whether the operator may end sessions.
    may_end: bool,
}

/// The search form.
#[derive(Debug, Default, Deserialize)]
pub(super) struct SearchQuery {
    #[serde(default)]
    subject: String,
    cursor: Option<String>,
    /// The number of sessions that the previous request has ended.
    ended: Option<usize>,
}

/// The form of the button that ends all sessions of a subject.
#[derive(Debug, Deserialize)]
pub(super) struct EndAllForm {
    subject: String,
}

/// Lists the sessions of a subject. Without a subject, lists the live sessions that end soonest.
pub(super) async fn list(
    Current(admin): Current<Admin>,
    Extension(operator): Extension<Operator>,
    query: Result<Query<SearchQuery>, QueryRejection>,
) -> Response {
    let Query(query) = query.unwrap_or_default();
    let subject = query.subject.trim();
    let cursor = query.cursor.as_deref().and_then(|text| text.parse().ok());
    let found = find_sessions(&admin, subject, cursor).await;
    let SessionPage { sessions, next } = match found {
        Ok(found) => found,
        Err(error) => return unavailable_page(&error),
    };
    let pair = |name: &str, value: &str| -> String {
        let value: String = byte_serialize(value.as_bytes()).collect();
        format!("{name}={value}")
    };
    let message = query.ended.map(|count| match count {
        1 => "One session was ended.".to_owned(),
        count => format!("{count} sessions were ended."),
    });
    let next = next.map(|next| {
        let (subject, cursor) = (pair("subject", subject), pair("cursor", &next));
        format!("/console/?{subject}&{cursor}")
    });
    let active_page = "sessions";
    let rows = sessions;
    render_page(
        StatusCode::OK,
        &SessionsTemplate {
            active_page,
            subject,
            message,
            rows,
            next,
            may_end: operator.has_right(Right::Revoke),
        },
    )
}

async fn find_sessions(
    admin: &Admin,
    subject: &str,
    cursor: Option<Cursor>,
) -> Result<SessionPage, StoreError> {
    let found = match Subject::new(subject) {
        Ok(subject) => {
            admin
                .stores
                .sessions
                .list(&subject, cursor, PAGE_SIZE)
                .await?
        }
        Err(_) if subject.is_empty() => admin.lifecycle.list_ending_soonest(PAGE_SIZE).await?,
        // If the text is not a valid subject, there are no sessions.
        Err(_) => {
            return Ok(SessionPage {
                sessions: Vec::new(),
                next: None,
            });
        }
    };
    Ok(admin.page_view(&found))
}

/// Ends all sessions of a subject.
pub(super) async fn end_all(
    Current(admin): Current<Admin>,
    Extension(operator): Extension<Operator>,
    form: Result<Form<EndAllForm>, FormRejection>,
) -> Response {
    if let Some(refused) = operator.refusal(Right::Revoke) {
        return refused;
    }
    let subject = form
        .ok()
        .and_then(|Form(form)| Subject::new(form.subject).ok());
    let Some(subject) = subject else {
        return error_page(
            StatusCode::BAD_REQUEST,
            "Refused",
            "The subject is invalid.",
        );
    };
    let actor = operator.actor();
    match admin.lifecycle.revoke_all(&subject, None, &actor).await {
        Ok(all) => {
            let name: String = byte_serialize(subject.as_str().as_bytes()).collect();
            let to = format!("/console/?subject={name}&ended={}", all.revoked);
            Redirect::to(&to).into_response()
        }
        Err(error) => unavailable_page(&error),
    }
}
