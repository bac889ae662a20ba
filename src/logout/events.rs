//! `POST /ssf/events`: security events of the Shared Signals Framework with push delivery (RFC 8935). The event
//! `session-revoked` (CAEP 1.0) ends sessions.

use std::net::SocketAddr;

use axum::body::Bytes;
use axum::response::Response;
use axum::{Extension, Json};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::{InvalidJwt, InvalidNotice, LogoutEndpoints, Refusal, log_refusal, uncached_response};
use crate::credential::jwt::Issuer;
use crate::current::Current;

const CHANNEL: &str = "security-event";

/// Returns 202 if the event is accepted now or was accepted before, 400 with an error code (RFC 8935, section 2.4) if
/// it is invalid, and 503 for a temporary failure.
pub(super) async fn receive(
    Current(logouts): Current<LogoutEndpoints>,
    peer: Option<Extension<SocketAddr>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let address = logouts.address(&headers, peer);
    let outcome = match parse_token(&headers, &body) {
        Some(token) => {
            logouts
                .accept(token, CHANNEL, Issuer::verify_event, address)
                .await
        }
        None => Err(Refusal::Unreadable),
    };
    let refusal = match outcome {
        // Accept a repeated event, because a sender that did not get the response sends the event again (RFC 8935,
        // section 2).
        Ok(()) | Err(Refusal::Replayed) => return uncached_response(StatusCode::ACCEPTED, ()),
        Err(refusal) => refusal,
    };
    log_refusal(&refusal, CHANNEL);
    if refusal.is_temporary() {
        return uncached_response(StatusCode::SERVICE_UNAVAILABLE, ());
    }
    let error = json!({
        "err": error_code(&refusal),
        "description": format!("event rejected: {refusal}"),
    });
    uncached_response(StatusCode::BAD_REQUEST, Json(error))
}

/// Returns the token from a body with the right content type (RFC 8935, section 2.1).
fn parse_token<'a>(headers: &HeaderMap, body: &'a [u8]) -> Option<&'a str> {
    let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let content_type = content_type.split(';').next()?.trim();
    if !content_type.eq_ignore_ascii_case("application/secevent+jwt") {
        return None;
    }
    std::str::from_utf8(body).ok().map(str::trim)
}

/// Returns the error code of RFC 8935, section 2.4.
const fn error_code(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::UnknownIssuer => "invalid_issuer",
        Refusal::Invalid(InvalidNotice::Token(why)) => match why {
            InvalidJwt::Issuer => "invalid_issuer",
            InvalidJwt::Audience => "invalid_audience",
            InvalidJwt::UnknownKey | InvalidJwt::Algorithm => "invalid_key",
            InvalidJwt::Signature => "authentication_failed",
            _ => "invalid_request",
        },
        _ => "invalid_request",
    }
}
