//! Coming in by an identity provider: for whoever is in one of the groups.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, RawQuery, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;

use super::super::{Admin, ConsoleLogin};
use super::page::trouble;
use super::sign_in::way;
use super::visit::{self, By, IDLE};
use crate::browser::{gone, passing};
use crate::login::{Answer, Attempt, Login, LoginError, Outcome, Provider};
use crate::session::Attributes;
use crate::telemetry::audit;

/// Who is to say who somebody is, and where they want to go.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    provider: String,
    #[serde(default)]
    to: String,
}

/// Sends a person to a provider.
pub(super) async fn begin(
    State(admin): State<Arc<Admin>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let Query(asked) = asked.unwrap_or_default();
    let Some((login, provider)) = meant(&admin, &asked.provider) else {
        return nobody();
    };
    send(&admin, login, provider, way(&asked.to), false).await
}

async fn send(
    admin: &Admin,
    login: &ConsoleLogin,
    provider: &Provider,
    to: &str,
    again: bool,
) -> Response {
    let now = admin.lifecycle.clock.now();
    let login = &login.login;
    match login.begin(provider, to, again, Some(IDLE), now).await {
        Ok((url, name, sealed)) => {
            let mut response = Redirect::to(url.as_str()).into_response();
            let cookie = passing(&name, &sealed, login.secure).to_string();
            if let Ok(cookie) = HeaderValue::from_str(&cookie) {
                response.headers_mut().append(SET_COOKIE, cookie);
            }
            response
        }
        Err(error) => refuse(admin, provider, &error),
    }
}

/// Where a provider sends a person back to.
pub(super) async fn finish(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Some((login, provider)) = meant(&admin, &name) else {
        return nobody();
    };
    let answer = Answer::new(query.as_deref().unwrap_or(""));
    let clock = &*admin.lifecycle.clock;
    let found = Attempt::find(&headers, answer.state(), &login.login, clock.now());
    let attempt = match found {
        Ok(attempt) => attempt,
        Err(error) => return refuse(&admin, provider, &error),
    };
    let max_age = |_: &Attributes| Some(IDLE);
    let mut response = match Login::judge(provider, &attempt, &answer, clock, max_age).await {
        Ok(Outcome::Again) => send(&admin, login, provider, &attempt.target, true).await,
        Ok(Outcome::In(redeemed, _)) => {
            // Those that matter alone: there can be many.
            let groups = redeemed.signed_in.attributes.get(Attributes::GROUPS);
            let groups = groups.filter(|it| login.groups.iter().any(|wanted| wanted == it));
            let by = By::Groups(groups.map(str::to_owned).collect());
            let subject = &redeemed.signed_in.subject;
            if by.opens(&admin) {
                audit::console_entered(subject, provider.name());
                let mut response = Redirect::to(way(&attempt.target)).into_response();
                visit::begin(&admin, by, response.headers_mut());
                response
            } else {
                audit::console_refused(subject, provider.name());
                let text = "You are not in a group that may use the console.";
                trouble(StatusCode::FORBIDDEN, "Not for you", text)
            }
        }
        Err(error) => refuse(&admin, provider, &error),
    };
    let cookie = Attempt::cookie_name(answer.state(), login.login.secure);
    let cookie = cookie.and_then(|name| gone(&name, "/", None, login.login.secure));
    if let Some(gone) = cookie {
        response.headers_mut().append(SET_COOKIE, gone);
    }
    response
}

fn meant<'a>(admin: &'a Admin, name: &str) -> Option<(&'a ConsoleLogin, &'a Provider)> {
    let login = admin.login.as_ref()?;
    Some((login, login.login.meant(Some(name))?))
}

fn nobody() -> Response {
    let text = "There is no such identity provider.";
    trouble(StatusCode::NOT_FOUND, "Not signed in", text)
}

fn refuse(admin: &Admin, provider: &Provider, error: &LoginError) -> Response {
    let name = provider.name();
    audit::login_refused(name, error.as_str(), error);
    admin.lifecycle.metrics.login(name, error.as_str());
    let status = match error {
        LoginError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        LoginError::NotAsked(_) => StatusCode::BAD_REQUEST,
        LoginError::Refused(_) | LoginError::Invalid(_) => StatusCode::FORBIDDEN,
    };
    trouble(status, "Not signed in", "The log says why.")
}
