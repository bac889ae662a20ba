//! A sample application behind Curfew: a sign-in page, and a page that shows the user.
//!
//! The application has no code for time limits. For a sign-in, it starts a session with the admin API, which returns
//! the cookie. For every other request, the proxy first asks Curfew, and then sends the user in `X-Session-User`.
//!
//! Environment variables:
//! - `CURFEW_ADMIN_URL`: the URL of the admin API.
//! - `CURFEW_ADMIN_TOKEN_FILE`: the file with the admin token.
//! - `LISTEN`: the address to listen on (default `127.0.0.1:3000`).

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use askama::Template;
use axum::Router;
use axum::extract::{Form, Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use http::header::{CONTENT_TYPE, HOST, ORIGIN, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::json;
use url::Url;

struct Application {
    sessions: Url,
    token: String,
    client: reqwest::Client,
}

#[derive(Template)]
#[template(path = "sign_in.html", config = "examples/application/askama.toml")]
struct SignInPage<'a> {
    /// The page to open after the sign-in.
    rd: &'a str,
}

#[derive(Template)]
#[template(path = "page.html", config = "examples/application/askama.toml")]
struct Page<'a> {
    user: &'a str,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let variable = |name: &'static str| std::env::var(name).context(name);
    let listen = variable("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listen: SocketAddr = listen.parse().context("LISTEN")?;
    let admin: Url = variable("CURFEW_ADMIN_URL")?.parse()?;
    let token = std::fs::read_to_string(variable("CURFEW_ADMIN_TOKEN_FILE")?);
    let application = Application {
        sessions: admin.join("/api/v1/sessions")?,
        token: token.context("CURFEW_ADMIN_TOKEN_FILE")?.trim().to_owned(),
        client: curfew::http_client::http_client(std::time::Duration::from_secs(5), None)?,
    };
    let routes = Router::new()
        .route("/sign-in", get(sign_in_page).post(sign_in))
        .route("/style.css", get(style))
        .fallback(page)
        .with_state(Arc::new(application));
    let listener = tokio::net::TcpListener::bind(listen).await?;
    axum::serve(listener, routes)
        .with_graceful_shutdown(shutdown_signal())
        .await?;
    Ok(())
}

async fn shutdown_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (terminate, interrupt) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    let (Ok(mut terminate), Ok(mut interrupt)) = (terminate, interrupt) else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

async fn style() -> Response {
    let kind = (CONTENT_TYPE, HeaderValue::from_static("text/css"));
    ([kind], include_str!("../../src/cli/demo/style.css")).into_response()
}

/// Returns the page for a signed-in user. The proxy forwards only requests with a session.
async fn page(headers: HeaderMap) -> Response {
    let user = headers.get("x-session-user");
    let user = user.and_then(|user| std::str::from_utf8(user.as_bytes()).ok());
    match user.filter(|user| !user.is_empty()) {
        Some(user) => html(&Page { user }),
        // The proxy sent no user, so it did not check the request. The configuration of the proxy is wrong.
        None => StatusCode::UNAUTHORIZED.into_response(),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SignInQuery {
    rd: String,
    subject: String,
}

/// The admin API's answer when it has started a session.
#[derive(Deserialize)]
struct CreatedSession {
    set_cookie: String,
}

async fn sign_in_page(Query(query): Query<SignInQuery>) -> Response {
    html(&SignInPage { rd: &query.rd })
}

async fn sign_in(
    State(application): State<Arc<Application>>,
    headers: HeaderMap,
    Form(query): Form<SignInQuery>,
) -> Response {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let Some(host) = host else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    // Accept forms only from this site, because another site must not sign a browser in as another person (login
    // CSRF).
    let origin = headers.get(ORIGIN).and_then(|it| it.to_str().ok());
    let is_same_origin =
        origin.is_some_and(|it| it.split_once("://").is_some_and(|(_, of)| of == host));
    if !is_same_origin {
        return StatusCode::FORBIDDEN.into_response();
    }
    // A real application verifies a password here.
    let started = application
        .client
        .post(application.sessions.clone())
        .bearer_auth(&application.token)
        .json(&json!({ "subject": query.subject.trim() }))
        .send()
        .await;
    let answer = match started {
        Ok(answer) if answer.status() == StatusCode::CREATED => answer,
        Ok(answer) if answer.status().is_client_error() => {
            return StatusCode::BAD_REQUEST.into_response();
        }
        _ => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
    };
    let Ok(CreatedSession { set_cookie }) = answer.json().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let back = return_url(&query.rd, host);
    ([(SET_COOKIE, set_cookie)], Redirect::to(&back)).into_response()
}

/// Returns the requested URL if it is on this host, with any port. Otherwise, returns `/`.
fn return_url(requested: &str, host: &str) -> String {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let url = Url::parse(requested).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.filter(|url| url.host_str() == Some(name));
    url.map_or_else(|| "/".to_owned(), |url| url.to_string())
}

fn html(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => Html(text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
