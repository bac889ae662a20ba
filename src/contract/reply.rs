//! The HTTP reply to a check. Each contract then translates the reply for its proxy.

use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::Contracts;
use super::clear_cookies::{self, CLEAR_COOKIES};
use super::sign_in::{accepts_html, is_framed, is_navigation};
use super::stream_deadline::{GRPC_TIMEOUT, stream_deadline};
use crate::check::{CheckRequest, Detail, Outcome};
use crate::identity::Identity;
use crate::policy::Contract;
use crate::retry_after::retry_after;
use crate::session::{DenyReason, Verdict};

pub(super) const SESSION_REASON: HeaderName = HeaderName::from_static("x-session-reason");
/// The header with the detail of a denial, for example for `malformed_request` and `unknown_host`.
pub(super) const SESSION_DETAIL: HeaderName = HeaderName::from_static("x-session-detail");

/// The header of a denial for a frame that needs a sign-in. Proxies that show their own pages for denials use it.
const SESSION_FRAME: HeaderName = HeaderName::from_static("x-session-frame");

/// The page that a frame shows instead of a sign-in page, which cannot be framed. Its link opens the frame's address
/// in the whole window. The check of that navigation then redirects the browser to sign in.
pub const FRAMED_PAGE: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
    <title>Not signed in</title></head><body><p>You are not signed in.</p>\
    <p><a href=\"\" target=\"_top\">Sign in</a></p></body></html>\n";

/// The usual number of headers in a reply.
const HEADER_CAPACITY: usize = 12;

/// Which part of a reply the proxy passes on to its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyForm {
    /// Only the status, and the proxy understands only some statuses. So instead of a redirect, the reply is a 401
    /// whose `Location` contains the address.
    StatusOnly,
    /// The whole reply, with redirects and bodies.
    Complete,
}

impl ReplyForm {
    /// The maximum size of a `Location`. The whole head of a reply must fit in NGINX's buffer of 4 KiB, and within
    /// the limits of other proxies and browsers.
    const fn max_location_bytes(self) -> usize {
        match self {
            Self::StatusOnly => 3 * 1024,
            Self::Complete => 8 * 1024,
        }
    }
}

/// Builds the reply to a check. An allowed request gets exactly 200, an empty body and no content type, because Envoy
/// treats any other success status as a denial, and some proxies copy the content type to the request.
pub(super) fn build_reply(
    contracts: &Contracts,
    request: &CheckRequest<'_>,
    outcome: &Outcome,
    form: ReplyForm,
) -> Response<String> {
    let mut response = Response::new(String::new());
    let headers = response.headers_mut();
    // Reserve enough space for all headers.
    *headers = HeaderMap::with_capacity(HEADER_CAPACITY);
    // A cached reply would bypass the idle limit.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match (outcome.verdict, &outcome.session) {
        (Verdict::Allow, Some((id, session))) => {
            let identity = Identity::of(*id, session);
            contracts.identity.write(headers, &identity);
            contracts.add_assertion(headers, request, Some((&identity, session)));
            add_stream_deadline(contracts, request, outcome, headers);
            if let Some(relayed) = &outcome.relayed {
                copy_relayed_headers(headers, &relayed.headers);
            }
        }
        (Verdict::Allow, None) if outcome.public => {
            contracts.identity.write(headers, &Identity::default());
            contracts.add_assertion(headers, request, None);
        }
        // Fail closed: only a public request may be allowed without a session.
        (Verdict::Allow, None) => deny(
            contracts,
            request,
            outcome,
            DenyReason::StoreUnavailable,
            form,
            &mut response,
        ),
        (Verdict::Deny(reason), _) => {
            deny(contracts, request, outcome, reason, form, &mut response);
        }
    }
    response
}

/// Adds the time until the absolute limit, for Envoy.
fn add_stream_deadline(
    contracts: &Contracts,
    request: &CheckRequest<'_>,
    outcome: &Outcome,
    headers: &mut HeaderMap,
) {
    let is_envoy = matches!(
        request.contract,
        Contract::ExtAuthz | Contract::ExtAuthzGrpc
    );
    if let Some(remaining) = outcome
        .remaining
        .filter(|_| is_envoy && contracts.stream_deadline)
    {
        let deadline = stream_deadline(request.headers, remaining.absolute);
        headers.insert(GRPC_TIMEOUT, deadline);
    }
}

fn deny(
    contracts: &Contracts,
    request: &CheckRequest<'_>,
    outcome: &Outcome,
    reason: DenyReason,
    form: ReplyForm,
    response: &mut Response<String>,
) {
    let relayed = outcome.relayed.as_deref();
    let relayed_location = relayed.and_then(|relayed| relayed.headers.get(LOCATION));
    let has_redirect_target =
        relayed_location.is_some() || outcome.detail == Some(Detail::TwoCookies);
    let is_framed = is_framed_sign_in(contracts, request, reason, has_redirect_target);
    let relayed_location = relayed_location.filter(|_| !is_framed);
    let location = match (relayed_location, &contracts.sign_in, &request.original) {
        (Some(relayed_location), ..) => {
            Some(relayed_location.clone()).filter(|it| it.len() <= form.max_location_bytes())
        }
        (None, Some(sign_in), Ok(original)) => {
            sign_in.redirect_location(original, request.headers, reason, form.max_location_bytes())
        }
        _ => None,
    };
    let location = location.or_else(|| {
        let (secure, limit) = (contracts.cookie.is_secure(), form.max_location_bytes());
        clear_cookies::redirect_location(request, outcome.detail, secure, limit)
    });
    let is_redirect = location.is_some() && form == ReplyForm::Complete;
    *response.status_mut() = match reason {
        DenyReason::Forbidden | DenyReason::UnknownHost | DenyReason::TooManySessions => {
            StatusCode::FORBIDDEN
        }
        _ if reason.is_temporary_failure() => StatusCode::SERVICE_UNAVAILABLE,
        _ if is_redirect => StatusCode::FOUND,
        _ => StatusCode::UNAUTHORIZED,
    };
    let status = response.status();
    let headers = response.headers_mut();
    headers.insert(SESSION_REASON, HeaderValue::from_static(reason.as_str()));
    if is_framed {
        headers.insert(SESSION_FRAME, HeaderValue::from_static("sign-in"));
    }
    let detail = outcome.detail;
    if let Some(text) = detail.and_then(|it| HeaderValue::try_from(it.to_string()).ok()) {
        headers.insert(SESSION_DETAIL, text);
    }
    if status == StatusCode::UNAUTHORIZED {
        let challenge = build_challenge(reason, outcome.max_auth_age, detail);
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, retry_after());
    }
    // Clear only the cookie of a delegated service, and only on a navigation, because a late answer to a script would
    // clear the cookie of a newer sign-in. Checks never clear Curfew's own cookie (ADR 16).
    if let Some(removal_cookie) = &outcome.removal_cookie
        && reason.is_terminal()
        && is_page_navigation(request)
    {
        headers.insert(SET_COOKIE, removal_cookie.clone());
    }
    if let Some(relayed) = relayed {
        copy_relayed_headers(headers, &relayed.headers);
        // Remove the redirect of the delegated service. If the reply may redirect to it, `location` contains it.
        headers.remove(LOCATION);
    }
    if let Some(location) = location {
        headers.insert(LOCATION, location);
    }
    if form == ReplyForm::Complete && !is_redirect && !is_grpc(request.headers) {
        let (content_type, body) = match relayed.and_then(|relayed| relayed.body.clone()) {
            _ if is_framed => (
                HeaderValue::from_static(HTML_CONTENT_TYPE),
                FRAMED_PAGE.to_owned(),
            ),
            Some(relayed) => relayed,
            None => denial_body(reason, outcome.detail, accepts_html(request.headers)),
        };
        headers.insert(CONTENT_TYPE, content_type);
        *response.body_mut() = body;
    }
}

/// Whether a browser loads a page for the whole window.
fn is_page_navigation(request: &CheckRequest<'_>) -> bool {
    request
        .original
        .is_ok_and(|original| is_navigation(original.method, request.headers))
}

/// Whether the request loads a page in a frame, and Curfew would redirect the same request in the whole window to the
/// sign-in.
fn is_framed_sign_in(
    contracts: &Contracts,
    request: &CheckRequest<'_>,
    reason: DenyReason,
    has_redirect_target: bool,
) -> bool {
    let sign_in = contracts.sign_in.as_ref();
    let can_redirect =
        has_redirect_target || sign_in.is_some_and(|sign_in| sign_in.can_help(reason));
    let framed = |method| is_framed(method, request.headers);
    can_redirect
        && request
            .original
            .is_ok_and(|original| framed(original.method))
}

/// Copies the headers of a delegated service. They replace headers with the same name.
fn copy_relayed_headers(headers: &mut HeaderMap, relayed: &HeaderMap) {
    for name in relayed.keys() {
        headers.remove(name);
    }
    for (name, value) in relayed {
        headers.append(name.clone(), value.clone());
    }
}

/// Whether the client uses gRPC. Such a client reads a 401 without a body as `UNAUTHENTICATED`, and any body as an
/// invalid message.
fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Builds the challenge (`WWW-Authenticate`) of a 401. If the request has no credential, the challenge has no error
/// code (RFC 6750, section 3). If a new sign-in is required, the challenge follows RFC 9470.
fn build_challenge(
    reason: DenyReason,
    max_auth_age: Option<u64>,
    detail: Option<Detail>,
) -> HeaderValue {
    let text = match (reason, max_auth_age) {
        (DenyReason::NoCredential, _) => "Bearer".to_owned(),
        (DenyReason::MalformedRequest, _) => match detail {
            Some(detail) => {
                format!("Bearer error=\"invalid_request\", error_description=\"{detail}\"")
            }
            None => "Bearer error=\"invalid_request\"".to_owned(),
        },
        (DenyReason::ReauthenticationRequired, Some(age)) => {
            format!("Bearer error=\"insufficient_user_authentication\", max_age={age}")
        }
        (ended, Some(age)) if ended.is_terminal() => format!(
            "Bearer error=\"insufficient_user_authentication\", error_description=\"{reason}\", max_age={age}"
        ),
        (DenyReason::ReauthenticationRequired, None) => {
            "Bearer error=\"insufficient_user_authentication\"".to_owned()
        }
        _ => format!("Bearer error=\"invalid_token\", error_description=\"{reason}\""),
    };
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
}

const HTML_CONTENT_TYPE: &str = "text/html; charset=utf-8";

/// Returns the content type and the text of a denial. The text contains no data of the request.
fn denial_body(reason: DenyReason, detail: Option<Detail>, html: bool) -> (HeaderValue, String) {
    let message = denial_message(reason);
    if html {
        let clear_cookies_link = match detail {
            Some(Detail::TwoCookies) => {
                format!("<p><a href=\"{CLEAR_COOKIES}\">Clear the sign-in cookies</a></p>")
            }
            _ => String::new(),
        };
        let page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <title>Not signed in</title></head><body><p>{message}</p>{clear_cookies_link}</body></html>"
        );
        return (HeaderValue::from_static(HTML_CONTENT_TYPE), page);
    }
    let object = format!("{{\"error\":\"{reason}\",\"message\":\"{message}\"}}");
    (HeaderValue::from_static("application/json"), object)
}

/// Returns the message to the person, in plain text without quotes or markup.
#[must_use]
pub const fn denial_message(reason: DenyReason) -> &'static str {
    match reason {
        DenyReason::NoCredential => "You are not signed in.",
        DenyReason::InvalidCredential | DenyReason::UnknownSession => {
            "Your session is not valid. Please sign in again."
        }
        DenyReason::IdleTimeout => {
            "Your session has ended because it was not used for a while. Please sign in again."
        }
        DenyReason::AbsoluteTimeout => {
            "Your session has reached its longest duration. Please sign in again."
        }
        DenyReason::Revoked => "Your session was ended. Please sign in again.",
        DenyReason::SignedOut => "You have signed out. Please sign in again.",
        DenyReason::ReauthenticationRequired => "A more recent sign-in is required.",
        DenyReason::Forbidden => "You are not allowed to do this.",
        DenyReason::StoreUnavailable | DenyReason::SourceUnavailable | DenyReason::Overloaded => {
            "Your session could not be checked. Please try again in a moment."
        }
        DenyReason::MalformedRequest => "The request could not be checked.",
        DenyReason::UnknownHost => "This host is not configured.",
        DenyReason::TooManySessions => {
            "You have reached the maximum number of sessions. Please sign out of one of them."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client refreshes an invalid token, but signs in again after `insufficient_user_authentication` (RFC 9470).
    #[test]
    fn an_ended_session_with_a_valid_credential_requires_a_sign_in() {
        for reason in DenyReason::ALL {
            let text = build_challenge(reason, Some(0), None);
            let text = text.to_str().unwrap();
            let requires_sign_in =
                reason.is_terminal() || reason == DenyReason::ReauthenticationRequired;
            let found = text.contains("insufficient_user_authentication");
            assert_eq!(
                found && text.ends_with("max_age=0"),
                requires_sign_in,
                "{text}"
            );
        }
    }

    #[test]
    fn bodies_match_their_content_type() {
        for reason in DenyReason::ALL {
            let (content_type, text) = denial_body(reason, None, false);
            assert_eq!(content_type, "application/json");
            let object: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(object["error"], reason.as_str());
            assert_eq!(object["message"], denial_message(reason));
            let (content_type, text) = denial_body(reason, None, true);
            assert_eq!(content_type, "text/html; charset=utf-8");
            assert!(text.contains(denial_message(reason)), "{text}");
            assert!(
                !denial_message(reason).contains(['"', '<', '&', '\\']),
                "{reason}"
            );
        }
    }
}
