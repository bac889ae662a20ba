use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::header::SET_COOKIE;
use http::{HeaderName, HeaderValue, StatusCode};

use super::asker::Asker;
use super::{PREFIX, origin, private};
use crate::contract::Contracts;
use crate::policy::{Activity, Passivity};
use crate::session::{DenyReason, Verdict};
use crate::store::Ending;

/// What the signed-out page is told of those who signed out.
pub(super) const SIGNED_OUT: &str = "signed_out";

/// `POST /.curfew/sign-out`: ends the session, and makes the browser drop its cookie. A form is shown
/// the signed-out page, a script gets 204.
///
/// Where the session can't be ended now the answer is 503 and the cookie stays: the person must know
/// that they are still signed in.
pub(super) async fn end(
    State(contracts): State<Arc<Contracts>>,
    asker: Asker,
) -> Result<Response, StatusCode> {
    origin::same(&asker)?;
    let request = asker.request()?;
    let passive = Activity::Passive(Passivity::Rule);
    let outcome = contracts.checker.look(&request, passive).await;
    let unavailable =
        matches!(outcome.verdict, Verdict::Deny(reason) if reason.is_unavailability());
    if unavailable {
        return Ok(private(contracts.denial(&request, &outcome)));
    }
    // What has ended is signed out already; what needs a fresher sign-in, or may not go somewhere,
    // lives.
    if let Some((id, _)) = outcome.session {
        let lifecycle = &contracts.checker.lifecycle;
        let ending = Ending::revoked(lifecycle.clock.now());
        if lifecycle.end(id, ending).await.is_err() {
            let mut failed = outcome;
            failed.verdict = Verdict::Deny(DenyReason::StoreUnavailable);
            return Ok(private(contracts.denial(&request, &failed)));
        }
    }
    let mut response = if contracts.wants_page(&asker.headers) {
        Redirect::to(&format!("{PREFIX}/signed-out?reason={SIGNED_OUT}")).into_response()
    } else {
        StatusCode::NO_CONTENT.into_response()
    };
    let headers = response.headers_mut();
    let cleared = outcome
        .cleared
        .unwrap_or_else(|| contracts.cookie.cleared());
    headers.append(SET_COOKIE, cleared);
    if let Some(data) = &contracts.clear_site_data {
        let name = HeaderName::from_static("clear-site-data");
        headers.insert(name, HeaderValue::clone(data));
    }
    Ok(private(response))
}
