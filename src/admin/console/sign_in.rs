use std::net::SocketAddr;
use std::time::Duration;

use askama::Template;
use axum::Extension;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query};
use axum::response::{IntoResponse, Redirect, Response};
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::super::Admin;
use super::super::caller::missing_right;
use super::super::error::retry_after;
use super::operator_session::{self, Operator, OperatorStartError, SignInMethod};
use super::page::{error_page, escape_attribute, render_page, unavailable_page};
use crate::actor::{Actor, ActorKind};
use crate::browser::{is_same_origin, local_path};
use crate::credential::Right;
use crate::current::Current;
use crate::lifecycle::StartError;
use crate::secret::Secret;
use crate::telemetry::audit::{self, AdminInterface};

#[derive(Template)]
#[template(path = "sign_in.html", config = "src/admin/console/askama.toml")]
struct SignInTemplate<'a> {
    to: &'a str,
    /// The error message if a sign-in has failed.
    error_message: Option<&'a str>,
    /// The name and the title of each provider.
    providers: Vec<(&'a str, &'a str)>,
}

fn providers(admin: &Admin) -> Vec<(&str, &str)> {
    let providers = admin
        .login
        .iter()
        .flat_map(|login| login.login.providers.values());
    let all = providers.map(|it| (it.name(), &*it.settings.title));
    all.collect()
}

/// The page to open after the sign-in.
#[derive(Debug, Default, Deserialize)]
pub(super) struct SignInQuery {
    #[serde(default)]
    to: String,
}

/// The sign-in form.
#[derive(Debug, Deserialize)]
pub(super) struct SignInForm {
    token: Secret<String>,
    #[serde(default)]
    to: String,
}

/// Returns `to` if it is the path of a console page, and `/console/` otherwise.
pub(super) fn console_path(to: &str) -> &str {
    let to = local_path(to);
    if to.starts_with("/console/") && !to.starts_with("/console/sign-") {
        to
    } else {
        "/console/"
    }
}

pub(super) async fn show_form(
    Current(admin): Current<Admin>,
    query: Result<Query<SignInQuery>, QueryRejection>,
) -> Response {
    let Query(query) = query.unwrap_or_default();
    let to = console_path(&query.to);
    let form = SignInTemplate {
        to,
        error_message: None,
        providers: providers(&admin),
    };
    render_page(StatusCode::OK, &form)
}

pub(super) async fn submit(
    Current(admin): Current<Admin>,
    peer: Option<Extension<SocketAddr>>,
    headers: HeaderMap,
    sign_in_form: Result<Form<SignInForm>, FormRejection>,
) -> Response {
    if !is_same_origin(&headers) {
        let text = "The request came from a page of another site.";
        return error_page(StatusCode::FORBIDDEN, "Refused", text);
    }
    let Ok(Form(sign_in_form)) = sign_in_form else {
        return error_page(
            StatusCode::BAD_REQUEST,
            "Refused",
            "The form is incomplete.",
        );
    };
    let to = console_path(&sign_in_form.to);
    let form_page = |status, error_message| {
        let form = SignInTemplate {
            to,
            error_message: Some(error_message),
            providers: providers(&admin),
        };
        render_page(status, &form)
    };
    let address = admin.address_of(&headers, peer.map(|Extension(peer)| peer));
    let token = sign_in_form.token.expose().trim().as_bytes();
    let Some(token) = admin.tokens.find(token) else {
        return match admin.retry_delay(AdminInterface::Console, address) {
            Some(wait) => too_many_attempts_page(wait),
            None => {
                let actor = Actor::anonymous(address);
                admin.count_wrong_credential(AdminInterface::Console, address, |reason| {
                    audit::console_refused(reason, None, None, &actor);
                });
                form_page(StatusCode::UNAUTHORIZED, "Wrong admin token.")
            }
        };
    };
    let method = SignInMethod::Token(&token);
    if !token.has_right(Right::Read) {
        let actor = Actor::new(ActorKind::Operator, &method.name(), address);
        audit::console_refused("missing_right", None, None, &actor);
        return form_page(StatusCode::FORBIDDEN, &missing_right(&token.name, "read"));
    }
    let mut response = Redirect::to(to).into_response();
    match operator_session::start(&admin, &method, &headers, address, response.headers_mut()).await
    {
        Ok(actor) => {
            audit::console_entered(None, &actor);
            response
        }
        Err(error) => start_failure_page(&error),
    }
}

/// Builds the page for an operator's session that could not be started.
pub(super) fn start_failure_page(error: &OperatorStartError) -> Response {
    tracing::warn!(%error, "could not start an operator session");
    match error {
        OperatorStartError::Start(StartError::Store(error)) => unavailable_page(error),
        OperatorStartError::Start(StartError::TooOld) => {
            let text = "Your sign-in is too old, or it was revoked. Please sign in again.";
            error_page(StatusCode::FORBIDDEN, "Not signed in", text)
        }
        _ => error_page(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Not signed in",
            "Sign-in failed. Curfew's log has the reason.",
        ),
    }
}

/// Builds the page for an address that must wait after many wrong credentials.
pub(super) fn too_many_attempts_page(wait: Duration) -> Response {
    let text = "Too many failed sign-ins from this address. Please wait a minute.";
    let mut response = error_page(StatusCode::TOO_MANY_REQUESTS, "Too many attempts", text);
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, retry_after(wait));
    response
}

/// Ends the operator's session. If the store is unavailable, the answer is 503 and the browser keeps the cookie,
/// because the operator must know that the session is still valid.
pub(super) async fn sign_out(
    Current(admin): Current<Admin>,
    Extension(operator): Extension<Operator>,
) -> Response {
    if let Err(error) = operator_session::end(&admin, &operator).await {
        return unavailable_page(&error);
    }
    let mut response = Redirect::to("/console/sign-in").into_response();
    operator_session::clear_cookie(&admin, response.headers_mut());
    response
}
