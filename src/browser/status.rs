use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;

use super::browser_request::BrowserRequest;
use super::private_response;
use crate::check::Outcome;
use crate::contract::Contracts;
use crate::current::Current;
use crate::policy::{Activity, PassiveReason};
use crate::session::{Remaining, Session, SessionId, Timestamp, Verdict};

/// The remaining time of a session.
#[derive(Debug, Serialize)]
struct Status<'a> {
    subject: &'a str,
    /// Seconds until the session ends without activity; at most `absolute_remaining`.
    idle_remaining: f64,
    /// Seconds until the session ends even with activity.
    absolute_remaining: f64,
    /// The decision time, which all replicas share, in milliseconds since the epoch.
    server_time: u64,
}

/// `GET /.curfew/session`: the status. This request does not count as activity.
pub(super) async fn show(
    Current(contracts): Current<Contracts>,
    browser_request: BrowserRequest,
) -> Result<Response, StatusCode> {
    respond(
        &contracts,
        &browser_request,
        Activity::Passive(PassiveReason::Rule),
    )
    .await
}

/// Answers with the status of the browser's session, or with the same denial as a check.
pub(super) async fn respond(
    contracts: &Contracts,
    browser_request: &BrowserRequest,
    activity: Activity,
) -> Result<Response, StatusCode> {
    let request = browser_request.to_check_request()?;
    let outcome = contracts
        .checker
        .evaluate_passively(&request, activity)
        .await;
    let now = contracts.checker.clock.now();
    Ok(private_response(match &outcome {
        Outcome {
            verdict: Verdict::Allow,
            session: Some(session),
            remaining: Some(remaining),
            ..
        } => status_response(session, *remaining, now),
        _ => contracts.denial(&request, &outcome).into_response(),
    }))
}

fn status_response(
    (_, session): &(SessionId, Session),
    remaining: Remaining,
    now: Timestamp,
) -> Response {
    Json(Status {
        subject: session.subject.as_str(),
        idle_remaining: remaining.idle.as_secs_f64(),
        absolute_remaining: remaining.absolute.as_secs_f64(),
        server_time: now.as_millis(),
    })
    .into_response()
}
