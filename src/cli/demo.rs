//! `curfew demo`: Curfew, an application behind it and a sign-in page, in one process.

mod terminal;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Extension, Router};
use clap::Args;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::output::stdout;
use crate::actor::Actor;
use crate::app::App;
use crate::browser::{self, local_path};
use crate::clock::SystemClock;
use crate::config::ConfigSource;
use crate::contract::Contracts;
use crate::escape::{html, html_value};
use crate::layer::{CurfewLayer, LiveSession};
use crate::lifecycle::SignIn;
use crate::listener::ListenerName;
use crate::live::Live;
use crate::policy::Client;
use crate::session::{Attributes, Subject, Timestamp};
use crate::telemetry::logging::{self, LogFormat};

/// The Content-Security-Policy of the demo pages: same-origin resources only.
const CONTENT_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'",
);

#[derive(Args, Debug)]
pub(super) struct DemoArgs {
    /// The port on this machine; 0 for any free port.
    #[arg(short, long, default_value_t = 8080)]
    port: u16,
    /// The idle limit.
    #[arg(long, default_value = "30s")]
    idle: String,
    /// The absolute limit.
    #[arg(long, default_value = "3m")]
    absolute: String,
    /// How many seconds before the end of a session the warning appears.
    #[arg(long, default_value_t = 15)]
    before: u32,
}

/// State of the demo pages.
#[derive(Clone)]
struct Demo {
    contracts: Live<Contracts>,
    page_values: Arc<[(&'static str, String)]>,
}

/// Runs the demo until Ctrl-C.
pub(super) fn run(args: &DemoArgs) -> anyhow::Result<()> {
    super::build_runtime()?.block_on(async {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
        let listener = tokio::net::TcpListener::bind(address).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let source = ConfigSource {
            file: None,
            environment: demo_environment(args, &url).into_iter().collect(),
        };
        let loaded = source.load()?;
        logging::init(LogFormat::Human, "warn", None)?;
        let app = App::start(source, loaded, Arc::new(SystemClock)).await?;
        let contracts = app.contracts();
        let values = [
            ("idle", args.idle.clone()),
            ("absolute", args.absolute.clone()),
            ("before", args.before.to_string()),
        ];
        let demo = Demo {
            contracts: contracts.clone(),
            page_values: Arc::new(values),
        };
        let browser = browser::router(contracts.clone());
        let routes = build_routes(demo, CurfewLayer::new(contracts, browser, false));
        let mut out = stdout();
        writeln!(out, "open {url}/ in a browser and sign in")?;
        writeln!(
            out,
            "  idle limit {}, absolute limit {}",
            args.idle, args.absolute
        )?;
        writeln!(
            out,
            "  {url}/terminal            a terminal that ends with its session"
        )?;
        writeln!(
            out,
            "  {url}/.curfew/session     the remaining time of the session"
        )?;
        let first_address = |name| app.addresses().get(name).first().copied();
        let address_of =
            |name| first_address(name).context("the ops or admin listener has no address");
        let ops = address_of(ListenerName::Ops)?;
        writeln!(out, "  http://{ops}/metrics   the metrics")?;
        if let Some(token) = &app.ephemeral_secrets().admin_token {
            let admin = address_of(ListenerName::Admin)?;
            writeln!(out, "  http://{admin}/   the console, with this token:")?;
            writeln!(out, "    {}", token.expose())?;
        }
        writeln!(out, "\nPress Ctrl-C to stop.")?;
        out.flush()?;
        let stop = CancellationToken::new();
        let stop_on_signal = stop.clone();
        tokio::spawn(async move {
            let _ = tokio::signal::ctrl_c().await;
            stop_on_signal.cancel();
        });
        let serving =
            axum::serve(listener, routes).with_graceful_shutdown(stop.clone().cancelled_owned());
        let (serve_result, run_result) = tokio::join!(serving, app.run(mpsc::channel(1).1, stop));
        serve_result?;
        Ok(run_result?)
    })
}

/// Returns the configuration of the demo, as environment variables.
fn demo_environment(args: &DemoArgs, url: &str) -> BTreeMap<String, String> {
    let host = url.trim_start_matches("http://");
    let any_port = "127.0.0.1:0";
    let settings = [
        ("LISTEN__CHECK", any_port),
        ("LISTEN__GRPC", "off"),
        ("LISTEN__ADMIN", any_port),
        ("LISTEN__OPS", any_port),
        ("POLICIES__DEFAULT__IDLE", &*args.idle),
        ("POLICIES__DEFAULT__ABSOLUTE", &args.absolute),
        // The terminal sends a message for each key, and nothing else.
        ("POLICIES__DEFAULT__STREAM_ACTIVITY", "client_data"),
        // Plain HTTP is enough: the demo listens on this machine only.
        ("COOKIE__NAME", "curfew_demo"),
        ("COOKIE__SECURE", "false"),
        ("SIGN_IN__URL", &format!("{url}/sign-in")),
        ("SIGN_IN__ALLOWED_HOSTS", host),
    ];
    let settings = settings.into_iter();
    settings
        .map(|(key, value)| (format!("CURFEW__{key}"), value.to_owned()))
        .collect()
}

/// Builds the routes. The layer checks the requests for the application, but not the requests for the sign-in page.
fn build_routes(demo: Demo, layer: CurfewLayer) -> Router {
    let protected = Router::new()
        .route("/", get(show_application))
        .route("/terminal", get(terminal::show_terminal))
        .route("/terminal/socket", get(terminal::open_terminal))
        .fallback(async || StatusCode::NOT_FOUND)
        .layer(layer);
    Router::new()
        .route("/sign-in", get(show_form).post(sign_in))
        .route("/style.css", get(serve_style))
        .route("/terminal.js", get(terminal::serve_script))
        .merge(protected)
        .with_state(demo)
}

async fn serve_style() -> Response {
    let content_type = (CONTENT_TYPE, HeaderValue::from_static("text/css"));
    ([content_type], include_str!("demo/style.css")).into_response()
}

async fn show_application(
    State(demo): State<Demo>,
    live: Option<Extension<LiveSession>>,
) -> Response {
    let text = demo.fill(
        include_str!("demo/application.html"),
        &subject_of(live.as_deref()),
    );
    render_page("An application", &text)
}

/// Returns the name of the signed-in person.
fn subject_of(live: Option<&LiveSession>) -> String {
    live.map_or_else(String::new, |it| it.session.subject.to_string())
}

impl Demo {
    /// Writes the subject and the settings into a page.
    fn fill(&self, page: &str, subject: &str) -> String {
        let mut text = page.replace("{subject}", &html(subject));
        for (name, value) in &*self.page_values {
            text = text.replace(&format!("{{{name}}}"), &html(value));
        }
        text
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SignInForm {
    rd: String,
    subject: String,
}

async fn show_form(form: Result<Query<SignInForm>, QueryRejection>) -> Response {
    let Query(form) = form.unwrap_or_default();
    let text = include_str!("demo/sign_in.html").replace("{rd}", &html_value(&form.rd));
    render_page("Sign in", &text)
}

async fn sign_in(
    State(demo): State<Demo>,
    headers: HeaderMap,
    form: Result<Form<SignInForm>, FormRejection>,
) -> Result<Response, StatusCode> {
    let Form(form) = form.map_err(|_| StatusCode::BAD_REQUEST)?;
    // Prevent login CSRF: another site must not sign a person in as another subject.
    if !browser::is_same_origin(&headers) {
        return Err(StatusCode::FORBIDDEN);
    }
    let contracts = demo.contracts.current();
    let checker = &contracts.checker;
    let subject = Subject::new(form.subject.trim()).map_err(|_| StatusCode::BAD_REQUEST)?;
    let actor = Actor::user(&subject, None);
    let started = checker.lifecycle.start(SignIn {
        actor,
        subject,
        attributes: Attributes::default(),
        policy: checker.rulebook.policies.default_name().clone(),
        remember: false,
        client: Client::default(),
        authenticated: None,
        host: None,
        usable_at: None,
        refresh: None,
    });
    let started = started.await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let now: Timestamp = checker.clock.now();
    let cookie = contracts
        .cookie
        .issue(&started.token, &started.session, now);
    let mut response = Redirect::to(&return_path(&form.rd)).into_response();
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Returns the path of the return address. The host is not used, so that the redirect stays on this host.
fn return_path(address: &str) -> String {
    let Ok(url) = Url::parse(address) else {
        return "/".to_owned();
    };
    let query = url
        .query()
        .map_or_else(String::new, |query| format!("?{query}"));
    local_path(&format!("{}{query}", url.path())).to_owned()
}

fn render_page(title: &str, body: &str) -> Response {
    let page = include_str!("demo/page.html");
    let page = page.replace("{title}", title).replace("{body}", body);
    ([(CONTENT_SECURITY_POLICY, CONTENT_POLICY)], Html(page)).into_response()
}
