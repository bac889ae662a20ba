//! Console sign-in with an identity provider, for members of the configured groups.

use std::net::{IpAddr, SocketAddr};

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, RawQuery};
use axum::response::{IntoResponse, Redirect, Response};
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;

use super::super::{Admin, ConsoleLogin};
use super::max_console_auth_age;
use super::operator_session::{self, OperatorStartError, SignInMethod};
use super::page::error_page;
use super::sign_in::console_path;
use super::sign_in::{start_failure_page, too_many_attempts_page};
use crate::actor::{Actor, ActorKind};
use crate::browser::{attempt_cookie, removal_cookie};
use crate::credential::jwt::ProviderSignIn;
use crate::current::Current;
use crate::lifecycle::StartError;
use crate::login::{Attempt, AuthorizationResponse, Login, LoginError, LoginOutcome, Provider};
use crate::session::{Attributes, Timestamp};
use crate::telemetry::audit::{self, AdminInterface};

/// The query of the sign-in: the provider, and the page to open after the sign-in.
#[derive(Debug, Default, Deserialize)]
pub(super) struct LoginQuery {
    #[serde(default)]
    provider: String,
    #[serde(default)]
    to: String,
}

/// Redirects an operator to a provider.
pub(super) async fn begin(
    Current(admin): Current<Admin>,
    peer: Option<Extension<SocketAddr>>,
    headers: HeaderMap,
    query: Result<Query<LoginQuery>, QueryRejection>,
) -> Response {
    let Query(query) = query.unwrap_or_default();
    let Some((login, provider)) = find_provider(&admin, &query.provider) else {
        return unknown_provider_page();
    };
    let address = admin.address_of(&headers, peer.map(|Extension(peer)| peer));
    if let Some(wait) = admin.retry_delay(AdminInterface::Console, address) {
        return too_many_attempts_page(wait);
    }
    redirect_to_provider(
        &admin,
        login,
        provider,
        console_path(&query.to),
        false,
        address,
    )
    .await
}

async fn redirect_to_provider(
    admin: &Admin,
    login: &ConsoleLogin,
    provider: &Provider,
    to: &str,
    reauthenticate: bool,
    address: Option<IpAddr>,
) -> Response {
    let now = admin.clock.now();
    let login = &login.login;
    let max_age = max_console_auth_age(&admin.rulebook.policies);
    match login
        .begin(provider, to, reauthenticate, Some(max_age), now)
        .await
    {
        Ok((url, name, sealed)) => {
            let mut response = Redirect::to(url.as_str()).into_response();
            let cookie = attempt_cookie(&name, &sealed, login.secure).to_string();
            if let Ok(cookie) = HeaderValue::from_str(&cookie) {
                response.headers_mut().append(SET_COOKIE, cookie);
            }
            response
        }
        Err(error) => refuse(admin, provider, &error, address),
    }
}

/// Handles the redirect back from a provider.
pub(super) async fn finish(
    Current(admin): Current<Admin>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    peer: Option<Extension<SocketAddr>>,
    headers: HeaderMap,
) -> Response {
    let Some((login, provider)) = find_provider(&admin, &name) else {
        return unknown_provider_page();
    };
    let address = admin.address_of(&headers, peer.map(|Extension(peer)| peer));
    if let Some(wait) = admin.retry_delay(AdminInterface::Console, address) {
        return too_many_attempts_page(wait);
    }
    let answer = AuthorizationResponse::new(query.as_deref().unwrap_or(""));
    let clock = &*admin.clock;
    let found = Attempt::find(&headers, answer.state(), &login.login, clock.now());
    let attempt = match found {
        Ok(attempt) => attempt,
        Err(error) => return refuse(&admin, provider, &error, address),
    };
    let max_age = |_: &Attributes| Some(max_console_auth_age(&admin.rulebook.policies));
    let mut response = match Login::evaluate(provider, &attempt, &answer, clock, max_age).await {
        Ok(LoginOutcome::Reauthenticate) => {
            redirect_to_provider(&admin, login, provider, &attempt.target, true, address).await
        }
        Ok(LoginOutcome::Authenticated(token_response, authenticated_at)) => {
            let signed_in = &token_response.signed_in;
            let started = start_session(
                &admin,
                login,
                provider,
                signed_in,
                authenticated_at,
                &attempt.target,
                &headers,
                address,
            )
            .await;
            match started {
                Ok(response) => response,
                // A revocation of this operator is newer than the authentication, so the session would end at once.
                // Ask the provider for a new authentication instead, but only once.
                Err(OperatorStartError::Start(StartError::TooOld)) if !attempt.reauthenticate => {
                    redirect_to_provider(&admin, login, provider, &attempt.target, true, address)
                        .await
                }
                Err(error) => start_failure_page(&error),
            }
        }
        Err(error) => refuse(&admin, provider, &error, address),
    };
    let cookie = Attempt::cookie_name(answer.state(), login.login.secure);
    let cookie = cookie.and_then(|name| removal_cookie(&name, "/", None, login.login.secure));
    if let Some(removal) = cookie {
        response.headers_mut().append(SET_COOKIE, removal);
    }
    response
}

/// Starts the session of an operator, or answers 403 if the operator is not in a group that may use the console.
#[expect(
    clippy::too_many_arguments,
    reason = "the arguments are the parts of one request"
)]
async fn start_session(
    admin: &Admin,
    login: &ConsoleLogin,
    provider: &Provider,
    signed_in: &ProviderSignIn,
    authenticated_at: Timestamp,
    to: &str,
    headers: &HeaderMap,
    address: Option<IpAddr>,
) -> Result<Response, OperatorStartError> {
    let method = SignInMethod::Provider {
        provider: provider.name(),
        subject: signed_in.subject.as_str(),
        attributes: &signed_in.attributes,
        groups: &login.groups,
        authenticated: authenticated_at,
    };
    let actor = Actor::new(ActorKind::Operator, &method.name(), address);
    if !signed_in.attributes.is_in_any_group(&login.groups) {
        let (subject, name) = (Some(&signed_in.subject), Some(provider.name()));
        admin.count_wrong_credential(AdminInterface::Console, address, |reason| {
            let reason = match reason {
                "wrong_credential" => "not_in_group",
                other => other,
            };
            audit::console_refused(reason, subject, name, &actor);
        });
        let text = "You are not in a group that is allowed to use the console.";
        return Ok(error_page(StatusCode::FORBIDDEN, "Not allowed", text));
    }
    let mut response = Redirect::to(console_path(to)).into_response();
    let actor =
        operator_session::start(admin, &method, headers, address, response.headers_mut()).await?;
    audit::console_entered(Some(provider.name()), &actor);
    Ok(response)
}

fn find_provider<'a>(admin: &'a Admin, name: &str) -> Option<(&'a ConsoleLogin, &'a Provider)> {
    let login = admin.login.as_ref()?;
    Some((login, login.login.provider(Some(name))?))
}

fn unknown_provider_page() -> Response {
    let text = "This identity provider is not configured.";
    error_page(StatusCode::NOT_FOUND, "Not signed in", text)
}

/// Logs a failed sign-in and answers the browser with an error page.
fn refuse(
    admin: &Admin,
    provider: &Provider,
    error: &LoginError,
    address: Option<IpAddr>,
) -> Response {
    let (name, actor) = (provider.name(), Actor::anonymous(address));
    admin.ops.metrics.count_login(name, error.as_str());
    audit::login_refused(name, error.as_str(), error, &actor);
    let status = match error {
        LoginError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        LoginError::NoMatchingAttempt(_) => StatusCode::BAD_REQUEST,
        LoginError::Refused(_) | LoginError::Invalid(_) => StatusCode::FORBIDDEN,
    };
    // Only a refusal by the provider and an invalid response count as wrong credentials. A request without a matching
    // sign-in attempt does not count, because any site can send a browser here, and such a request guesses no
    // credential.
    if matches!(error, LoginError::Refused(_) | LoginError::Invalid(_)) {
        admin.count_wrong_credential(AdminInterface::Console, address, |reason| {
            audit::console_refused(reason, None, Some(name), &actor);
        });
    }
    error_page(
        status,
        "Not signed in",
        "Sign-in failed. Curfew's log has the reason.",
    )
}
