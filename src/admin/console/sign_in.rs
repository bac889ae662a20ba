use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::super::Admin;
use super::page::{page, trouble};
use super::visit;
use crate::browser::{is_same_origin, local_path};
use crate::secret::Secret;

#[derive(Template)]
#[template(path = "sign_in.html", config = "src/admin/console/askama.toml")]
struct SignIn<'a> {
    to: &'a str,
    refused: bool,
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

/// Where to go on.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    to: String,
}

/// What the form sends.
#[derive(Debug, Deserialize)]
pub(super) struct Presented {
    token: Secret<String>,
    #[serde(default)]
    to: String,
}

/// A page of the console, and nothing else.
pub(super) fn way(to: &str) -> &str {
    let to = local_path(to);
    if to.starts_with("/console/") && !to.starts_with("/console/sign-") {
        to
    } else {
        "/console/"
    }
}

pub(super) async fn form(
    State(admin): State<Arc<Admin>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let Query(asked) = asked.unwrap_or_default();
    let to = way(&asked.to);
    let form = SignIn {
        to,
        refused: false,
        providers: providers(&admin),
    };
    page(StatusCode::OK, &form)
}

pub(super) async fn enter(
    State(admin): State<Arc<Admin>>,
    headers: HeaderMap,
    presented: Result<Form<Presented>, FormRejection>,
) -> Response {
    if !is_same_origin(&headers) {
        let text = "This was sent by a page of another site.";
        return trouble(StatusCode::FORBIDDEN, "Refused", text);
    }
    let Ok(Form(presented)) = presented else {
        return trouble(
            StatusCode::BAD_REQUEST,
            "Refused",
            "The form was not complete.",
        );
    };
    let to = way(&presented.to);
    let token = presented.token.expose().trim().as_bytes();
    let Some(token) = admin.tokens.find(token) else {
        tracing::warn!("somebody tried to come into the console with a token that is none");
        let form = SignIn {
            to,
            refused: true,
            providers: providers(&admin),
        };
        return page(StatusCode::UNAUTHORIZED, &form);
    };
    let mut response = Redirect::to(to).into_response();
    let by = visit::By::Token(token);
    visit::begin(&admin, by, response.headers_mut());
    response
}

pub(super) async fn leave(State(admin): State<Arc<Admin>>) -> Response {
    let mut response = Redirect::to("/console/sign-in").into_response();
    visit::end(&admin, response.headers_mut());
    response
}
