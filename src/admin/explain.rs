use std::collections::BTreeMap;

use axum::extract::rejection::JsonRejection;
use axum::{Extension, Json};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Admin;
use super::caller::Caller;
use super::error::{ApiError, Problem};
use super::model::{ClientView, SessionView};
use super::sessions::{PathId, parse_id};
use crate::check::{Original, OriginalUrl};
use crate::current::Current;
use crate::explain::{ExplainedRequest, Explanation, explain};
use crate::kubernetes::Verb;
use crate::policy::{Client, Contract};
use crate::session::DenyReason;

/// A request to explain.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainRequest {
    /// The URL that the client requests.
    #[schema(example = "https://app.example.com/orders?page=2")]
    url: String,
    /// The method; `GET` by default.
    method: Option<String>,
    /// The request headers of the client. Each header can have one value.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The contract of the proxy; `auth-request` by default.
    contract: Option<String>,
    /// The additional policy that the proxy names in its check.
    policy: Option<String>,
    /// The client, for a session with a binding. If `user_agent` is omitted, Curfew uses `User-Agent` in `headers`.
    client: Option<ClientView>,
}

/// A session, and the explanation of a request with this session.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExplainedSession {
    /// The session.
    session: SessionView,
    /// The answer to the request, and the reasons.
    explanation: Explanation,
}

/// Explains how a request with a session would be answered now. This does not count as activity.
#[utoipa::path(
    post,
    path = "/api/v1/sessions/{id}/explain",
    tag = "sessions",
    security(("token" = [])),
    params(("id" = String, Path, description = "the session ID, 32 hexadecimal digits")),
    request_body = ExplainRequest,
    responses(
        (status = 200, body = ExplainedSession),
        (status = 400, body = Problem),
        (status = 401, body = Problem),
        (status = 429, description = "too many wrong tokens from this address", body = Problem),
        (status = 403, description = "the admin token lacks the right `read`, or no Kubernetes role allows it", body = Problem),
        (status = 404, body = Problem),
        (status = 503, body = Problem),
    ),
)]
pub(super) async fn explain_session(
    Current(admin): Current<Admin>,
    Extension(caller): Extension<Caller>,
    path: PathId,
    body: Result<Json<ExplainRequest>, JsonRejection>,
) -> Result<Json<ExplainedSession>, ApiError> {
    let id = parse_id(path)?;
    let Json(request) = body?;
    let url = OriginalUrl::parse(request.url.as_bytes()).map_err(|_| {
        invalid("url: must be an absolute URL, such as https://app.example.com/orders?page=2")
    })?;
    let method = request.method.as_deref().unwrap_or("GET");
    let method = Method::from_bytes(method.as_bytes());
    let method = method.map_err(|_| invalid("method: must be an HTTP method, such as GET"))?;
    let contract = match request.contract.as_deref() {
        None => Contract::AuthRequest,
        Some(name) => Contract::from_name(name).ok_or_else(|| {
            let names = Contract::ALL.map(Contract::as_str);
            invalid(&format!("contract: must be one of {}", names.join(", ")))
        })?,
    };
    let headers = parse_headers(&request.headers)?;
    let client = request.client.map(ClientView::parse).transpose()?;
    let client = client.unwrap_or_default();
    let client = Client {
        user_agent: client.user_agent.or(Client::new(None, &headers).user_agent),
        ..client
    };
    let session = admin.load_permitted_session(id, &caller, Verb::Get).await?;
    let explained_request = ExplainedRequest {
        contract,
        policy: request.policy.as_deref(),
        original: Original::new(&method, url),
        headers: &headers,
        client,
    };
    let now = admin.clock.now();
    let mut explanation = explain(&admin.rulebook, &explained_request, &session, now);
    let public = explanation
        .terms
        .as_ref()
        .is_some_and(|terms| terms.access == "public");
    if admin.lifecycle.is_revoked(&session) && explanation.terms.is_some() && !public {
        explanation.verdict = DenyReason::Revoked.as_str();
    }
    Ok(Json(ExplainedSession {
        session: admin.session_view_at(id, &session, now),
        explanation,
    }))
}

fn parse_headers(fields: &BTreeMap<String, String>) -> Result<HeaderMap, ApiError> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let parsed = name.parse::<HeaderName>().ok();
        let parsed = parsed.zip(HeaderValue::from_str(value).ok());
        let (name, value) =
            parsed.ok_or_else(|| invalid("headers: must have valid header names and values"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn invalid(text: &str) -> ApiError {
    ApiError::Invalid(text.to_owned())
}
