//! `POST /oidc/backchannel-logout`: OpenID Connect Back-Channel Logout 1.0, sections 2.5 to 2.8.

use std::net::SocketAddr;

use axum::body::Bytes;
use axum::response::Response;
use axum::{Extension, Json};
use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::{LogoutEndpoints, Refusal, log_refusal, uncached_response};
use crate::credential::jwt::Issuer;
use crate::current::Current;

const CHANNEL: &str = "back-channel";

/// Returns 200 if the sessions have ended, 400 with the reason for an invalid token, and 503 for a temporary failure.
/// The standard requires 400 for failures, too, but Curfew sends 503, so that the provider tries again.
pub(super) async fn logout(
    Current(logouts): Current<LogoutEndpoints>,
    peer: Option<Extension<SocketAddr>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let address = logouts.address(&headers, peer);
    let outcome = match parse_token(&body) {
        Some(token) => {
            logouts
                .accept(&token, CHANNEL, Issuer::verify_logout, address)
                .await
        }
        None => Err(Refusal::Unreadable),
    };
    let Err(refusal) = outcome else {
        return uncached_response(StatusCode::OK, ());
    };
    log_refusal(&refusal, CHANNEL);
    let status = if refusal.is_temporary() {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::BAD_REQUEST
    };
    let error = json!({
        "error": "invalid_request",
        "error_description": format!("logout token rejected: {refusal}"),
    });
    uncached_response(status, Json(error))
}

/// Returns the parameter `logout_token` of the form (section 2.5), which must occur exactly once. Other parameters are
/// ignored.
fn parse_token(body: &[u8]) -> Option<String> {
    let mut tokens = url::form_urlencoded::parse(body).filter(|(name, _)| name == "logout_token");
    let token = tokens.next()?.1.into_owned();
    tokens.next().is_none().then_some(token)
}
