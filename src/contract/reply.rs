//! What every contract answers; each then says it in its proxy's words.

use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::Contracts;
use super::clear_cookies::{self, CLEAR_COOKIES};
use super::sign_in::{is_framed, is_navigation, wants_html};
use crate::check::{CheckRequest, Detail, Outcome};
use crate::identity::Identity;
use crate::session::{DenyReason, Verdict};

pub(super) const SESSION_REASON: HeaderName = HeaderName::from_static("x-session-reason");
/// Which input was wrong, for `malformed_request` and `unknown_host`.
pub(super) const SESSION_DETAIL: HeaderName = HeaderName::from_static("x-session-detail");

/// Says that a frame asks, and that signing in would help: for proxies that make pages of denials themselves.
const SESSION_FRAME: HeaderName = HeaderName::from_static("x-session-frame");

/// What a frame shows instead of a sign-in page, which identity providers let nobody frame. The link has the address
/// of the frame itself: in the whole window the check denies it as a navigation, and sends the browser to sign in.
pub const FRAMED: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
    <title>Not signed in</title></head><body><p>You are not signed in.</p>\
    <p><a href=\"\" target=\"_top\">Sign in</a></p></body></html>\n";

/// About how many headers an answer has.
const HEADERS: usize = 12;

/// How much of an answer a proxy hands on to its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The status, which must be one that the proxy understands; a redirect is told by its
    /// `Location` alone.
    Status,
    /// All of it: redirects and bodies too.
    Whole,
}

impl Form {
    /// The most bytes of a `Location`: the whole head of an answer must fit in the 4 KiB that NGINX
    /// has for it, and in the proxies' and browsers' limits.
    const fn room_for_location(self) -> usize {
        match self {
            Self::Status => 3 * 1024,
            Self::Whole => 8 * 1024,
        }
    }
}

/// The answer to a check. Allowing is exactly 200 with an empty body and no content type: Envoy
/// takes any other success for a denial, and some proxies copy the type onto the request.
pub(super) fn reply(
    contracts: &Contracts,
    request: &CheckRequest<'_>,
    outcome: &Outcome,
    form: Form,
) -> Response<String> {
    let mut response = Response::new(String::new());
    let headers = response.headers_mut();
    // So that it does not grow on the way.
    *headers = HeaderMap::with_capacity(HEADERS);
    // A cached answer is an idle clock that stands still.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match (outcome.verdict, &outcome.session) {
        (Verdict::Allow, Some((id, session))) => {
            let identity = Identity::of(*id, session);
            contracts.identity.write(headers, &identity);
            contracts.add_identity(headers, request, Some((&identity, session)));
            if let Some(relayed) = &outcome.relayed {
                relay(headers, &relayed.headers);
            }
        }
        (Verdict::Allow, None) if outcome.public => {
            contracts.identity.write(headers, &Identity::default());
            contracts.add_identity(headers, request, None);
        }
        // There is no other allowing without a session: fail closed.
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

fn deny(
    contracts: &Contracts,
    request: &CheckRequest<'_>,
    outcome: &Outcome,
    reason: DenyReason,
    form: Form,
    response: &mut Response<String>,
) {
    let relayed = outcome.relayed.as_deref();
    let told = relayed.and_then(|relayed| relayed.headers.get(LOCATION));
    let leads_on = told.is_some() || outcome.detail == Some(Detail::TwoCookies);
    let framed = framed_sign_in(contracts, request, reason, leads_on);
    let told = told.filter(|_| !framed);
    let location = match (told, &contracts.sign_in, &request.original) {
        (Some(told), ..) => Some(told.clone()).filter(|it| it.len() <= form.room_for_location()),
        (None, Some(sign_in), Ok(original)) => {
            sign_in.location(original, request.headers, reason, form.room_for_location())
        }
        _ => None,
    };
    let location = location.or_else(|| {
        let (secure, limit) = (contracts.cookie.is_secure(), form.room_for_location());
        clear_cookies::location(request, outcome.detail, secure, limit)
    });
    let redirect = location.is_some() && form == Form::Whole;
    *response.status_mut() = match reason {
        DenyReason::Forbidden | DenyReason::UnknownHost | DenyReason::TooManySessions => {
            StatusCode::FORBIDDEN
        }
        _ if reason.is_unavailability() => StatusCode::SERVICE_UNAVAILABLE,
        _ if redirect => StatusCode::FOUND,
        _ => StatusCode::UNAUTHORIZED,
    };
    let status = response.status();
    let headers = response.headers_mut();
    headers.insert(SESSION_REASON, HeaderValue::from_static(reason.as_str()));
    if framed {
        headers.insert(SESSION_FRAME, HeaderValue::from_static("sign-in"));
    }
    let detail = outcome.detail;
    if let Some(text) = detail.and_then(|it| HeaderValue::try_from(it.to_string()).ok()) {
        headers.insert(SESSION_DETAIL, text);
    }
    if status == StatusCode::UNAUTHORIZED {
        let challenge = challenge(reason, outcome.max_auth_age, detail);
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    // Curfew's own cookie stays (ADR 16). A late answer to a script would drop the cookie of a newer sign-in.
    if let Some(cleared) = &outcome.cleared
        && reason.is_terminal()
        && navigates(request)
    {
        headers.insert(SET_COOKIE, cleared.clone());
    }
    if let Some(relayed) = relayed {
        relay(headers, &relayed.headers);
        // What is said above of where to go is all that is said of it.
        headers.remove(LOCATION);
    }
    if let Some(location) = location {
        headers.insert(LOCATION, location);
    }
    if form == Form::Whole && !redirect && !is_grpc(request.headers) {
        let (content_type, body) = match relayed.and_then(|relayed| relayed.body.clone()) {
            _ if framed => (HeaderValue::from_static(HTML), FRAMED.to_owned()),
            Some(relayed) => relayed,
            None => body(reason, outcome.detail, wants_html(request.headers)),
        };
        headers.insert(CONTENT_TYPE, content_type);
        *response.body_mut() = body;
    }
}

/// Whether a browser asks for a page to show in the whole window.
fn navigates(request: &CheckRequest<'_>) -> bool {
    request
        .original
        .is_ok_and(|original| is_navigation(original.method, request.headers))
}

/// Whether a frame asks for a page that signing in would open: here, or where another service sends browsers.
fn framed_sign_in(
    contracts: &Contracts,
    request: &CheckRequest<'_>,
    reason: DenyReason,
    elsewhere: bool,
) -> bool {
    let sign_in = contracts.sign_in.as_ref();
    let helps = elsewhere || sign_in.is_some_and(|sign_in| sign_in.helps(reason));
    let framed = |method| is_framed(method, request.headers);
    helps
        && request
            .original
            .is_ok_and(|original| framed(original.method))
}

/// Hands on what another service says, instead of what is there under its names.
fn relay(headers: &mut HeaderMap, relayed: &HeaderMap) {
    for name in relayed.keys() {
        headers.remove(name);
    }
    for (name, value) in relayed {
        headers.append(name.clone(), value.clone());
    }
}

/// Whether a gRPC client asks. It makes `UNAUTHENTICATED` of a bare 401, and would take a body for a
/// broken message.
fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// The challenge of a 401: RFC 6750 section 3, which wants no error code where no credential came,
/// and RFC 9470 for step-up.
fn challenge(reason: DenyReason, max_auth_age: Option<u64>, detail: Option<Detail>) -> HeaderValue {
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

const HTML: &str = "text/html; charset=utf-8";

/// The content type and the text of a denial. Nothing of the request is in it.
fn body(reason: DenyReason, detail: Option<Detail>, html: bool) -> (HeaderValue, String) {
    let message = message(reason);
    if html {
        let way_out = match detail {
            Some(Detail::TwoCookies) => {
                format!("<p><a href=\"{CLEAR_COOKIES}\">Clear the sign-in cookies</a></p>")
            }
            _ => String::new(),
        };
        let page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <title>Not signed in</title></head><body><p>{message}</p>{way_out}</body></html>"
        );
        return (HeaderValue::from_static(HTML), page);
    }
    let object = format!("{{\"error\":\"{reason}\",\"message\":\"{message}\"}}");
    (HeaderValue::from_static("application/json"), object)
}

/// For the person in front of the screen. Plain text without quotes or markup.
#[must_use]
pub const fn message(reason: DenyReason) -> &'static str {
    match reason {
        DenyReason::NoCredential => "You are not signed in.",
        DenyReason::InvalidCredential | DenyReason::UnknownSession => {
            "Your session is not known. Please sign in again."
        }
        DenyReason::IdleTimeout => {
            "Your session has ended because it was not used for a while. Please sign in again."
        }
        DenyReason::AbsoluteTimeout => {
            "Your session has reached its longest duration. Please sign in again."
        }
        DenyReason::Revoked => "Your session was ended. Please sign in again.",
        DenyReason::SignedOut => "You have signed out. Please sign in again.",
        DenyReason::ReauthenticationRequired => "This asks for a more recent sign-in.",
        DenyReason::Forbidden => "You are not allowed to do this.",
        DenyReason::StoreUnavailable | DenyReason::SourceUnavailable | DenyReason::Overloaded => {
            "Your session can not be checked right now. Please try again in a moment."
        }
        DenyReason::MalformedRequest => "This request can not be checked.",
        DenyReason::UnknownHost => "This host is not known here.",
        DenyReason::TooManySessions => {
            "You are signed in at as many places as you may be. Please sign out at one of them."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9470: a client refreshes an invalid token, and signs in again where the authentication is insufficient.
    #[test]
    fn an_ended_session_of_a_credential_that_is_still_valid_asks_for_a_sign_in() {
        for reason in DenyReason::ALL {
            let text = challenge(reason, Some(0), None);
            let text = text.to_str().unwrap();
            let asks = reason.is_terminal() || reason == DenyReason::ReauthenticationRequired;
            let found = text.contains("insufficient_user_authentication");
            assert_eq!(found && text.ends_with("max_age=0"), asks, "{text}");
        }
    }

    #[test]
    fn bodies_are_what_they_say() {
        for reason in DenyReason::ALL {
            let (content_type, text) = body(reason, None, false);
            assert_eq!(content_type, "application/json");
            let object: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(object["error"], reason.as_str());
            assert_eq!(object["message"], message(reason));
            let (content_type, text) = body(reason, None, true);
            assert_eq!(content_type, "text/html; charset=utf-8");
            assert!(text.contains(message(reason)), "{text}");
            assert!(!message(reason).contains(['"', '<', '&', '\\']), "{reason}");
        }
    }
}
