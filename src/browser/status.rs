use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;

use super::browser_request::BrowserRequest;
use super::private;
use crate::check::Outcome;
use crate::contract::Contracts;
use crate::current::Current;
use crate::policy::{Activity, Passivity};
use crate::session::{Remaining, Session, SessionId, Timestamp, Verdict};

/// How long a session still lives.
#[derive(Debug, Serialize)]
struct Status<'a> {
    subject: &'a str,
    /// Seconds until the session ends unless it is used; never more than the other.
    idle_remaining: f64,
    /// Seconds until it ends whatever happens.
    absolute_remaining: f64,
    /// Curfew's time: milliseconds since the epoch.
    server_time: u64,
}

/// `GET /.curfew/session`. Asking is no activity.
pub(super) async fn show(
    Current(contracts): Current<Contracts>,
    browser_request: BrowserRequest,
) -> Result<Response, StatusCode> {
    look(
        &contracts,
        &browser_request,
        Activity::Passive(Passivity::Rule),
    )
    .await
}

/// Answers with the status of the asker's session, or denies as a check does.
pub(super) async fn look(
    contracts: &Contracts,
    browser_request: &BrowserRequest,
    activity: Activity,
) -> Result<Response, StatusCode> {
    let request = browser_request.request()?;
    let outcome = contracts
        .checker
        .evaluate_passively(&request, activity)
        .await;
    let now = contracts.checker.lifecycle.clock.now();
    Ok(private(match &outcome {
        Outcome {
            verdict: Verdict::Allow,
            session: Some(session),
            remaining: Some(remaining),
            ..
        } => status(session, *remaining, now),
        _ => contracts.denial(&request, &outcome).into_response(),
    }))
}

fn status((_, session): &(SessionId, Session), remaining: Remaining, now: Timestamp) -> Response {
    Json(Status {
        subject: session.subject.as_str(),
        idle_remaining: remaining.idle.as_secs_f64(),
        absolute_remaining: remaining.absolute.as_secs_f64(),
        server_time: now.as_millis(),
    })
    .into_response()
}
