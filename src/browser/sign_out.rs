use axum::response::{IntoResponse, Redirect, Response};
use http::header::{LOCATION, SET_COOKIE};
use http::{HeaderName, HeaderValue, StatusCode};

use super::browser_request::BrowserRequest;
use super::{PREFIX, origin, private_response, rp_logout};
use crate::actor::Actor;
use crate::contract::Contracts;
use crate::current::Current;
use crate::policy::{Activity, PassiveReason};
use crate::session::{DenyReason, Verdict};
use crate::store::EndRequest;

/// The reason on the signed-out page after a sign-out.
const SIGNED_OUT: &str = DenyReason::SignedOut.as_str();

/// `POST /.curfew/sign-out`: ends the session and clears its cookie. A form gets a redirect to the signed-out page,
/// and a script gets 204. If an identity provider authenticated the person, a form gets a redirect to the provider's
/// logout page instead, and a script gets the address of the logout page in `Location`.
///
/// If the session cannot be ended now, the answer is 503 and the browser keeps the cookie, because the person must
/// know that they are still signed in.
pub(super) async fn end(
    Current(contracts): Current<Contracts>,
    browser_request: BrowserRequest,
) -> Result<Response, StatusCode> {
    origin::require_same_origin(&browser_request)?;
    let request = browser_request.to_check_request()?;
    let passive = Activity::Passive(PassiveReason::Rule);
    let outcome = contracts
        .checker
        .evaluate_passively(&request, passive)
        .await;
    let unavailable =
        matches!(outcome.verdict, Verdict::Deny(reason) if reason.is_temporary_failure());
    if unavailable {
        return Ok(private_response(contracts.denial(&request, &outcome)));
    }
    // The outcome has a session if the session is live, even if the check was denied because the sign-in is too old or
    // a group is missing.
    if let Some((id, session)) = &outcome.session {
        let checker = &contracts.checker;
        let address = contracts.checker.client_address(&request);
        let actor = Actor::user(&session.subject, address);
        let ending = EndRequest::signed_out(checker.clock.now());
        if checker.lifecycle.end(*id, ending, &actor).await.is_err() {
            let mut store_failure = outcome;
            store_failure.verdict = Verdict::Deny(DenyReason::StoreUnavailable);
            return Ok(private_response(contracts.denial(&request, &store_failure)));
        }
    }
    let url = rp_logout::end_session_url(&contracts, &browser_request).await;
    let mut response = if contracts.accepts_html(&browser_request.headers) {
        let signed_out_page = || format!("{PREFIX}/signed-out?reason={SIGNED_OUT}");
        let url = url.map_or_else(signed_out_page, String::from);
        Redirect::to(&url).into_response()
    } else {
        let mut response = StatusCode::NO_CONTENT.into_response();
        // A script must open this address itself.
        if let Some(url) = url.and_then(|url| HeaderValue::try_from(String::from(url)).ok()) {
            response.headers_mut().insert(LOCATION, url);
        }
        response
    };
    let headers = response.headers_mut();
    if let Some(removal) = rp_logout::clear_hint_cookie(&contracts) {
        headers.append(SET_COOKIE, removal);
    }
    let removal_cookie = outcome
        .removal_cookie
        .unwrap_or_else(|| contracts.cookie.removal_cookie());
    headers.append(SET_COOKIE, removal_cookie);
    if let Some(value) = &contracts.clear_site_data {
        let name = HeaderName::from_static("clear-site-data");
        headers.insert(name, HeaderValue::clone(value));
    }
    Ok(private_response(response))
}
