//! The console: HTML pages for operators, on the `admin` listener.
//!
//! The pages work without JavaScript. Every change is a form with `POST`. An operator signs in with an admin token or
//! with an identity provider. The module [`operator_session`] implements the operator's session.

mod assets;
mod health;
mod login;
mod operator_session;
mod operators;
mod page;
mod policies;
mod revoke;
mod routes;
mod session;
mod sessions;
mod sign_in;

use std::time::Duration;

use axum::response::Redirect;
use axum::routing::{get, post};
use axum::{Router, middleware};

use super::Admin;
use crate::live::Live;
use crate::policy::Policies;

/// Returns the maximum age of an operator's authentication at the identity provider: the idle limit of the console.
#[must_use]
pub fn max_console_auth_age(policies: &Policies) -> Duration {
    policies.console().limits.longest_inactivity()
}

/// Builds the routes below `/console`, and the redirects to them.
pub(super) fn router(admin: &Live<Admin>) -> Router<Live<Admin>> {
    let signed_in_routes = Router::new()
        .route("/console/", get(sessions::list))
        .route("/console/subjects/end", post(sessions::end_all))
        .route("/console/sessions/{id}", get(session::show))
        .route("/console/sessions/{id}/end", post(session::end))
        .route("/console/policies", get(policies::show))
        .route("/console/operators", get(operators::list))
        .route("/console/routes", get(routes::show))
        .route("/console/health", get(health::show))
        .route(
            "/console/revoke",
            get(revoke::show_form).post(revoke::revoke),
        )
        .route_layer(middleware::from_fn(operator_session::require_read))
        .route("/console/sign-out", post(sign_in::sign_out))
        .route_layer(middleware::from_fn_with_state(
            admin.clone(),
            operator_session::require_operator,
        ));
    Router::new()
        .route("/", get(async || Redirect::to("/console/")))
        .route("/console", get(async || Redirect::to("/console/")))
        .route(
            "/console/sign-in",
            get(sign_in::show_form).post(sign_in::submit),
        )
        .route("/console/login", get(login::begin))
        .route("/console/callback/{provider}", get(login::finish))
        .route("/console/console.css", get(assets::serve_style))
        .route("/console/console.js", get(assets::serve_script))
        .merge(signed_in_routes)
        .layer(middleware::map_response(page::add_security_headers))
}

#[cfg(test)]
pub(super) mod tests;
