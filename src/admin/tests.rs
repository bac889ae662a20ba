use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::response::Response;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::contract::CookieSettings;
use crate::credential::NamedToken;
use crate::policy::Rules;
use crate::session::Subject;
use crate::telemetry::{Replica, Replicas};
use crate::testing::outputs::{Output, OutputFormat};
use crate::testing::{HOUR, MINUTE, START, TestService, cookie_settings};

/// The admin API, with a valid admin token.
pub(super) struct Fixture {
    pub(super) bench: TestService,
    pub(super) routes: Router,
    pub(super) token: String,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::with_bench(TestService::new())
    }

    fn with_bench(bench: TestService) -> Self {
        Self::with_ageing(bench, true)
    }

    fn with_ageing(bench: TestService, allow_ageing: bool) -> Self {
        let token = AdminToken::generate().unwrap();
        let tokens = vec![NamedToken::unnamed(token.hash)];
        Self {
            routes: Self::routes(&bench, tokens, allow_ageing),
            bench,
            token: token.token.expose().clone(),
        }
    }

    /// Returns routes on the same store with other admin tokens, as after a reload or on another replica.
    pub(super) fn with_tokens(&self, tokens: Vec<NamedToken>) -> Router {
        Self::routes(&self.bench, tokens, true)
    }

    fn routes(bench: &TestService, tokens: Vec<NamedToken>, allow_ageing: bool) -> Router {
        let cookie = CookieSettings {
            persistent: true,
            ..cookie_settings()
        };
        let admin = Admin {
            route_reports: None,
            streams: Arc::clone(&bench.parts.streams),
            observers: Arc::default(),
            rulebook: Arc::new(bench.rulebook(Rules::default())),
            lifecycle: bench.lifecycle.clone(),
            stores: bench.parts.stores.clone(),
            clock: Arc::clone(&bench.parts.clock),
            key_ring: Arc::clone(&bench.parts.key_ring),
            recent_events: Arc::clone(&bench.parts.recent_events),
            cookie: SessionCookie::new(cookie).unwrap(),
            tokens: AdminTokens::new(tokens),
            kubernetes: None,
            allow_ageing,
            secure: false,
            login: None,
            ops: Arc::new(Ops {
                store: Arc::clone(&bench.parts.stores.sessions),
                metrics: Arc::clone(&bench.parts.metrics),
                diagnostics: Arc::default(),
                replicas: Arc::new(Replicas::new(Replica::this(START))),
                routes: crate::live::Live::new(crate::policy::Routes::default()),
                draining: Arc::default(),
            }),
            store_kind: "memory",
            wrong_credentials: Arc::default(),
            address_header: None,
        };
        router(Live::new(admin))
    }

    /// Sends a request with the admin token and returns the status and the JSON of the response.
    async fn send_json(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let response = self
            .send_raw(method, path, body.map(|body| body.to_string()))
            .await;
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    /// Sends a request with the admin token and returns the response.
    async fn send_raw(&self, method: &str, path: &str, body: Option<String>) -> Response {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(AUTHORIZATION, format!("Bearer {}", self.token));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Body::empty, Body::from);
        self.routes
            .clone()
            .oneshot(request.body(body).unwrap())
            .await
            .unwrap()
    }

    /// Starts a session and returns the response.
    pub(super) async fn create(&self, body: Value) -> Value {
        let (status, created) = self.send_json("POST", "/api/v1/sessions", Some(body)).await;
        assert_eq!(status, StatusCode::CREATED, "{created}");
        created
    }

    /// Sends a request, asserts that it fails with this status, and returns the detail of the error.
    async fn assert_refused(
        &self,
        status: u16,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> String {
        let (actual, problem) = self.send_json(method, path, body).await;
        assert_eq!(actual.as_u16(), status, "{method} {path}: {problem}");
        assert_eq!(problem["status"], status);
        problem["detail"].as_str().unwrap().to_owned()
    }
}

/// Returns responses and pages that contain `text`, so that a test can check how they escape it. The text is in an
/// error, and in a session if the text is a valid subject.
pub(crate) async fn outputs(text: &str) -> Vec<Output> {
    let fixture = Fixture::new();
    let read = async |response: Response| {
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await;
        String::from_utf8(bytes.unwrap().to_vec()).unwrap()
    };
    let body = json!({ "subject": "alice", text: 1 }).to_string();
    let refused = fixture
        .send_raw("POST", "/api/v1/sessions", Some(body))
        .await;
    let mut all = vec![(
        "error of the admin API",
        OutputFormat::Json,
        read(refused).await,
    )];
    if Subject::new(text).is_ok() {
        let attributes = json!({ "groups": [text], "name": [text] });
        let body = json!({ "subject": text, "attributes": attributes });
        fixture.create(body).await;
        let listed = fixture.send_raw("GET", "/api/v1/sessions", None).await;
        all.push((
            "session in the admin API",
            OutputFormat::Json,
            read(listed).await,
        ));
    }
    all.extend(console::tests::outputs(&fixture, text).await);
    all
}

/// Returns the method and the path of every operation of the OpenAPI document. The path has a real ID.
fn described_operations() -> Vec<(String, String)> {
    let document = serde_json::to_value(openapi::document()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let path = path.replace("{id}", &"0".repeat(32));
            operations.push((method.to_uppercase(), path));
        }
    }
    operations
}

#[tokio::test]
async fn requests_without_a_valid_token_are_refused() {
    for (method, path) in described_operations() {
        // Use a new fixture for each request, because Curfew counts wrong tokens.
        let fixture = Fixture::new();
        let good = format!("Bearer {}", fixture.token);
        let wrong = format!("Bearer {}x", fixture.token);
        let basic = format!("Basic {}", fixture.token);
        for header_values in [
            &[][..],
            &["Bearer "],
            &[&*wrong],
            &[&*basic],
            &[&*fixture.token],
            &[&*good, &*wrong],
            &[&*good, &*good],
        ] {
            let mut request = Request::builder().method(&*method).uri(&path);
            for value in header_values {
                request = request.header(AUTHORIZATION, *value);
            }
            let request = request.body(Body::empty()).unwrap();
            let response = fixture.routes.clone().oneshot(request).await.unwrap();
            assert_eq!(
                response.status(),
                StatusCode::UNAUTHORIZED,
                "{method} {path} {header_values:?}"
            );
            assert_eq!(response.headers()["www-authenticate"], "Bearer");
        }
    }
}

#[tokio::test]
async fn the_openapi_document_describes_every_served_operation() {
    let fixture = Fixture::new();
    let described_operations = described_operations();
    assert_eq!(described_operations.len(), 15);
    let paths: BTreeSet<&String> = described_operations.iter().map(|(_, path)| path).collect();
    for path in paths {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let response = fixture.send_raw(method, path, None).await;
            let served = response.status() != StatusCode::METHOD_NOT_ALLOWED;
            let is_described = described_operations.contains(&(method.to_owned(), path.clone()));
            assert_eq!(served, is_described, "{method} {path}");
        }
    }
    let (status, served) = fixture.send_json("GET", "/api/v1/openapi.json", None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(served, serde_json::to_value(openapi::document()).unwrap());
    fixture
        .assert_refused(404, "GET", "/api/v1/nonesuch", None)
        .await;
}

mod endpoints;
mod revocations;
mod rights;
mod sessions;
