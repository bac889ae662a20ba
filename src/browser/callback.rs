use std::sync::Arc;

use axum::extract::{Path, RawQuery};
use axum::response::Response;
use http::header::{LOCATION, SET_COOKIE};
use http::{HeaderValue, StatusCode};
use url::Url;

use super::browser_request::BrowserRequest;
use super::cookies::removal_cookie;
use super::login::{self, redirect_to_provider, sign_in_failed_page};
use super::{private_response, rp_logout};
use crate::actor::Actor;
use crate::contract::Contracts;
use crate::current::Current;
use crate::lifecycle::{SignIn, StartError};
use crate::login::{
    Attempt, AuthorizationResponse, Login, LoginError, LoginOutcome, Provider, TokenResponse,
};
use crate::policy::{Activity, PassiveReason, normalize_host};
use crate::session::{Attributes, Timestamp, Verdict};
use crate::store::EndRequest;
use crate::telemetry::audit;

/// `GET /.curfew/callback/{provider}?code=…&state=…`: the address to which a provider redirects the browser.
/// The request ends the attempt, which is one sign-in of one browser with a provider.
pub(super) async fn finish(
    Current(contracts): Current<Contracts>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    browser_request: BrowserRequest,
) -> Result<Response, StatusCode> {
    let login = contracts.login.as_deref().ok_or(StatusCode::NOT_FOUND)?;
    let provider = login.provider(Some(&name)).ok_or(StatusCode::NOT_FOUND)?;
    let authorization_response = AuthorizationResponse::new(query.as_deref().unwrap_or(""));
    let checker = &contracts.checker;
    let (clock, state) = (&*checker.clock, authorization_response.state());
    let attempt = match Attempt::find(&browser_request.headers, state, login, clock.now()) {
        Ok(attempt) => attempt,
        Err(error) => {
            return Ok(answer_without_attempt(
                &contracts,
                login,
                provider,
                state,
                &error,
                &browser_request,
            )
            .await);
        }
    };
    let max_age = |attributes: &Attributes| {
        let (_, policy) = Login::policy(provider, &checker.rulebook.policies)?;
        login.max_age(policy, attributes)
    };
    let outcome =
        Login::evaluate(provider, &attempt, &authorization_response, clock, max_age).await;
    let mut response = match outcome {
        Ok(LoginOutcome::Authenticated(tokens, session_start)) => {
            start_session(
                &contracts,
                login,
                provider,
                &attempt,
                *tokens,
                session_start,
                &browser_request,
            )
            .await
        }
        Ok(LoginOutcome::Reauthenticate) => {
            let (target, headers) = (&attempt.target, &browser_request.headers);
            redirect_to_provider(&contracts, login, provider, target, true, headers).await
        }
        Err(error) => refuse_sign_in(
            &contracts,
            provider,
            &error,
            Some(&attempt.target),
            &browser_request,
        ),
    };
    // The attempt cookie is single-use: clear it after success and failure.
    let name = Attempt::cookie_name(state, login.secure);
    if let Some(removal) = name.and_then(|name| removal_cookie(&name, "/", None, login.secure)) {
        response.headers_mut().append(SET_COOKIE, removal);
    }
    Ok(response)
}

/// Answers a browser that has no valid attempt for this `state`. Without an attempt, no session can start. If the
/// browser already has a session that allows the target page, the answer is a redirect to the target page. Otherwise
/// the answer is a page that offers to try again.
///
/// Possible causes of a missing attempt: the person went back to an old page or restored a window, the attempt was
/// deleted or has expired, or another browser started the attempt.
async fn answer_without_attempt(
    contracts: &Contracts,
    login: &Login,
    provider: &Provider,
    state: &str,
    error: &LoginError,
    browser_request: &BrowserRequest,
) -> Response {
    let target = Attempt::target_of(state, login);
    // Check the target again, because the configuration can have changed since the attempt started.
    let target =
        target.and_then(|requested| login::allowed_target(contracts, login, Some(&requested)));
    if let Some(target) = &target
        && login::evaluate_target(contracts, browser_request, Some(target))
            .await
            .verdict
            == Verdict::Allow
        && let Ok(location) = HeaderValue::from_str(target)
    {
        let metrics = &contracts.checker.metrics;
        metrics.count_login(provider.name(), "resumed");
        let mut response = private_response(StatusCode::SEE_OTHER);
        response.headers_mut().insert(LOCATION, location);
        return response;
    }
    refuse_sign_in(
        contracts,
        provider,
        error,
        target.as_deref(),
        browser_request,
    )
}

/// Starts the session, and ends the previous session of the browser.
async fn start_session(
    contracts: &Contracts,
    login: &Login,
    provider: &Provider,
    attempt: &Attempt,
    tokens: TokenResponse,
    session_start: Timestamp,
    browser_request: &BrowserRequest,
) -> Response {
    let (checker, lifecycle) = (&contracts.checker, &contracts.checker.lifecycle);
    let (Ok(request), Some((policy, _))) = (
        browser_request.to_check_request(),
        Login::policy(provider, &checker.rulebook.policies),
    ) else {
        return private_response(StatusCode::BAD_REQUEST);
    };
    let revalidation = checker.revalidation.as_ref();
    let now = checker.clock.now();
    let refresh =
        revalidation.and_then(|revalidation| revalidation.refresh_grant(provider, &tokens, now));
    let TokenResponse {
        signed_in,
        id_token,
        ..
    } = tokens;
    let actor = Actor::user(&signed_in.subject, checker.client_address(&request));
    let passive = Activity::Passive(PassiveReason::Rule);
    if let Some((id, _)) = checker.evaluate_passively(&request, passive).await.session {
        // Ignore a failure: the browser gets a new cookie anyway.
        let _ = lifecycle
            .end(id, EndRequest::revoked(checker.clock.now()), &actor)
            .await;
    }
    let host = sign_in_host(&attempt.target, browser_request);
    let started = lifecycle.start(SignIn {
        subject: signed_in.subject,
        attributes: signed_in.attributes,
        policy: policy.clone(),
        remember: false,
        client: checker.client(&request),
        authenticated: Some(session_start),
        usable_at: usable_at(contracts.cookie.domain(), &host, &browser_request.host),
        host: Some(host),
        refresh,
        actor,
    });
    let started = match started.await {
        Ok(started) => started,
        // A revocation of this person is newer than the authentication, so the session would end at once. Ask the
        // provider for a new authentication instead, but only once.
        Err(StartError::TooOld) if !attempt.reauthenticate => {
            return redirect_to_provider(
                contracts,
                login,
                provider,
                &attempt.target,
                true,
                &browser_request.headers,
            )
            .await;
        }
        Err(error) => {
            tracing::warn!(provider = provider.name(), %error, "could not start a session after a sign-in");
            let (status, text) = match error {
                StartError::SessionLimitReached(_) => (
                    StatusCode::FORBIDDEN,
                    "You have reached the maximum number of sessions. Sign out on another device first.",
                ),
                StartError::TooOld => (
                    StatusCode::FORBIDDEN,
                    "Your sign-in is too old. Please sign in again.",
                ),
                _ => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "You cannot be signed in right now. Please try again in a moment.",
                ),
            };
            checker.metrics.count_login(provider.name(), "not_started");
            return sign_in_failed_page(status, text, Some(&attempt.target));
        }
    };
    checker.metrics.count_login(provider.name(), "ok");
    let mut response = private_response(StatusCode::SEE_OTHER);
    let headers = response.headers_mut();
    let (cookie, now) = (&contracts.cookie, checker.clock.now());
    let session = cookie.issue(&started.token, &started.session, now);
    let hint = rp_logout::hint_cookie(login, provider, &id_token);
    let cookies = HeaderValue::try_from(session).ok().into_iter().chain(hint);
    for cookie in cookies {
        headers.append(SET_COOKIE, cookie);
    }
    if let Ok(target) = HeaderValue::from_str(&attempt.target) {
        headers.insert(LOCATION, target);
    }
    response
}

/// Returns the host of the sign-in: the host of the target page, or the host of this request if the target has none.
fn sign_in_host(target: &str, browser_request: &BrowserRequest) -> Arc<str> {
    let url = Url::parse(target).ok();
    let host = url.as_ref().and_then(Url::host_str);
    normalize_host(host.unwrap_or(&browser_request.host)).into()
}

/// The hosts at which browsers send the cookie. The client chooses the page that it wants to open, so the host of this page
/// cannot replace the host that issues the cookie. With a domain, these are all hosts below it.
fn usable_at(domain: Option<&str>, target: &Arc<str>, issuer: &str) -> Option<Vec<Arc<str>>> {
    let issuer = normalize_host(issuer).into();
    domain.is_none().then(|| vec![Arc::clone(target), issuer])
}

/// Logs a failed sign-in, and answers the browser with an error page.
fn refuse_sign_in(
    contracts: &Contracts,
    provider: &Provider,
    error: &LoginError,
    target: Option<&str>,
    browser_request: &BrowserRequest,
) -> Response {
    let name = provider.name();
    let request = browser_request.to_check_request().ok();
    let address = request.and_then(|request| contracts.checker.client_address(&request));
    audit::login_refused(name, error.as_str(), error, &Actor::anonymous(address));
    contracts.checker.metrics.count_login(name, error.as_str());
    let (status, text) = match error {
        LoginError::Unavailable(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The identity provider cannot be reached right now. Please try again in a moment.",
        ),
        LoginError::NoMatchingAttempt(_) => (
            StatusCode::BAD_REQUEST,
            "This sign-in was not started in this browser, or it took too long.",
        ),
        LoginError::Refused(_) => (
            StatusCode::FORBIDDEN,
            "The identity provider refused the sign-in.",
        ),
        LoginError::Invalid(_) => (
            StatusCode::FORBIDDEN,
            "The response of the identity provider is invalid.",
        ),
    };
    sign_in_failed_page(status, text, target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_that_a_client_asks_for_does_not_replace_the_host_of_the_cookie() {
        let target: Arc<str> = "wiki.example.com".into();
        let hosts = usable_at(None, &target, "CRM.example.com:443");
        assert_eq!(hosts.unwrap(), [target.clone(), "crm.example.com".into()]);
        assert_eq!(
            usable_at(Some("example.com"), &target, "crm.example.com"),
            None
        );
    }
}
