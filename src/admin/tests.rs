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
use crate::testing::outputs::{Form, Output};
use crate::testing::{Bench, HOUR, MINUTE, START, cookie_config};

/// The admin API, with a valid admin token.
pub(super) struct Fixture {
    pub(super) bench: Bench,
    pub(super) routes: Router,
    pub(super) token: String,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::on(Bench::new())
    }

    fn on(bench: Bench) -> Self {
        Self::with_ageing(bench, true)
    }

    fn with_ageing(bench: Bench, allow_ageing: bool) -> Self {
        let token = AdminToken::generate().unwrap();
        let tokens = vec![NamedToken::unnamed(token.hash)];
        Self {
            routes: Self::routes(&bench, tokens, allow_ageing),
            bench,
            token: token.token.expose().clone(),
        }
    }

    /// The same service with other admin tokens, as after a reload of the configuration, or on another replica.
    pub(super) fn with_tokens(&self, tokens: Vec<NamedToken>) -> Router {
        Self::routes(&self.bench, tokens, true)
    }

    fn routes(bench: &Bench, tokens: Vec<NamedToken>, allow_ageing: bool) -> Router {
        let cookie = CookieSettings {
            persistent: true,
            ..cookie_config()
        };
        let admin = Admin {
            observers: Arc::default(),
            book: Arc::new(bench.book(Rules::default())),
            lifecycle: bench.lifecycle.clone(),
            stores: bench.parts.stores.clone(),
            clock: Arc::clone(&bench.parts.clock),
            key_ring: Arc::clone(&bench.parts.key_ring),
            recent: Arc::clone(&bench.parts.recent),
            cookie: SessionCookie::new(cookie).unwrap(),
            tokens: AdminTokens::new(tokens),
            kubernetes: None,
            allow_ageing,
            secure: false,
            login: None,
            ops: Arc::new(Ops {
                store: Arc::clone(&bench.parts.stores.sessions),
                metrics: Arc::clone(&bench.parts.metrics),
                advice: Arc::default(),
                replicas: Arc::new(Replicas::new(Replica::this(START))),
                draining: Arc::default(),
            }),
            store: "memory",
            attempts: Arc::default(),
            address: None,
        };
        router(Live::new(admin))
    }

    async fn send(&self, method: &str, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let response = self
            .raw(method, path, body.map(|body| body.to_string()))
            .await;
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn raw(&self, method: &str, path: &str, body: Option<String>) -> Response {
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

    pub(super) async fn create(&self, body: Value) -> Value {
        let (status, created) = self.send("POST", "/api/v1/sessions", Some(body)).await;
        assert_eq!(status, StatusCode::CREATED, "{created}");
        created
    }

    /// Sends a request that fails with this status, and returns the detail of the error.
    async fn refused(&self, status: u16, method: &str, path: &str, body: Option<Value>) -> String {
        let (actual, problem) = self.send(method, path, body).await;
        assert_eq!(actual.as_u16(), status, "{method} {path}: {problem}");
        assert_eq!(problem["status"], status);
        problem["detail"].as_str().unwrap().to_owned()
    }
}

/// A text in responses and pages: in an error, and, if it is a valid subject, in sessions.
pub(crate) async fn outputs(text: &str) -> Vec<Output> {
    let fixture = Fixture::new();
    let read = async |response: Response| {
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await;
        String::from_utf8(bytes.unwrap().to_vec()).unwrap()
    };
    let body = json!({ "subject": "alice", text: 1 }).to_string();
    let refused = fixture.raw("POST", "/api/v1/sessions", Some(body)).await;
    let mut all = vec![("error of the admin API", Form::Json, read(refused).await)];
    if Subject::new(text).is_ok() {
        let attributes = json!({ "groups": [text], "name": [text] });
        let body = json!({ "subject": text, "attributes": attributes });
        fixture.create(body).await;
        let listed = fixture.raw("GET", "/api/v1/sessions", None).await;
        all.push(("session in the admin API", Form::Json, read(listed).await));
    }
    all.extend(console::tests::outputs(&fixture, text).await);
    all
}

#[tokio::test]
async fn a_new_session_is_returned_with_its_token_cookie_and_deadlines() {
    let fixture = Fixture::new();
    let body = json!({
        "subject": "alice",
        "attributes": { "groups": ["staff", "admin"], "email": "alice@example.com" },
    });
    let response = fixture
        .raw("POST", "/api/v1/sessions", Some(body.to_string()))
        .await;
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    let location = response.headers()[LOCATION].to_str().unwrap().to_owned();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .unwrap();
    let created: Value = serde_json::from_slice(&bytes).unwrap();
    let token = created["token"].as_str().unwrap();
    let id = fixture
        .bench
        .parts
        .key_ring
        .verify(token.as_bytes())
        .unwrap();
    assert_eq!(location, format!("/api/v1/sessions/{id}"));
    assert_eq!(
        created["set_cookie"],
        format!("__Host-session={token}; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=28800")
    );
    assert_eq!(
        created["session"],
        json!({
            "id": id.to_string(),
            "subject": "alice",
            "source": "token",
            "policy": "default",
            "attributes": { "groups": ["staff", "admin"], "email": ["alice@example.com"] },
            "state": "live",
            "started": "2027-01-15T08:00:00.000Z",
            "last_seen": "2027-01-15T08:00:00.000Z",
            "idle_deadline": "2027-01-15T08:15:00.000Z",
            "absolute_deadline": "2027-01-15T16:00:00.000Z",
            "idle_remaining": 900,
            "absolute_remaining": 28800,
        })
    );
    let (status, shown) = fixture.send("GET", &location, None).await;
    assert_eq!(
        (status, shown),
        (StatusCode::OK, created["session"].clone())
    );
}

#[tokio::test]
async fn invalid_sessions_are_refused_with_the_reason() {
    let fixture = Fixture::new();
    for (body, hint) in [
        (json!({}), "subject"),
        (json!({ "subject": "" }), "subject"),
        (json!({ "subject": "a\nb" }), "subject"),
        (json!({ "subject": "x".repeat(256) }), "subject"),
        (
            json!({ "subject": "alice", "policy": "nonesuch" }),
            "/api/v1/policies",
        ),
        (json!({ "subject": "alice", "polcy": "default" }), "polcy"),
        (
            json!({ "subject": "alice", "attributes": { "a": 1 } }),
            "attributes",
        ),
        (
            json!({ "subject": "alice", "attributes": { "a": "b\r\nSet-Cookie: c" } }),
            "attributes",
        ),
        (json!([]), "CreateSession"),
    ] {
        let detail = fixture
            .refused(400, "POST", "/api/v1/sessions", Some(body.clone()))
            .await;
        assert!(detail.contains(hint), "{body}: {detail}");
    }
    let response = fixture
        .raw("POST", "/api/v1/sessions", Some("{".to_owned()))
        .await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    let large = json!({ "subject": "x".repeat(70_000) });
    fixture
        .refused(413, "POST", "/api/v1/sessions", Some(large))
        .await;
    assert_eq!(fixture.bench.store.memory.len(), 0);
}

#[tokio::test]
async fn a_subject_is_listed_page_by_page() {
    let fixture = Fixture::new();
    let mut expected = BTreeSet::new();
    for _ in 0..5 {
        let created = fixture.create(json!({ "subject": "alice & bob" })).await;
        expected.insert(created["session"]["id"].as_str().unwrap().to_owned());
    }
    fixture.create(json!({ "subject": "carol" })).await;
    let list = "/api/v1/sessions?subject=alice%20%26%20bob&limit=2";
    let (mut seen, mut path, mut pages) = (BTreeSet::new(), list.to_owned(), 0);
    loop {
        let (status, page) = fixture.send("GET", &path, None).await;
        assert_eq!(status, StatusCode::OK);
        let ids = page["sessions"].as_array().unwrap().iter();
        seen.extend(ids.map(|session| session["id"].as_str().unwrap().to_owned()));
        pages += 1;
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("{list}&cursor={next}");
    }
    assert_eq!((seen, pages), (expected, 3));
    // The sessions of all subjects, those that end soonest first.
    let first = "/api/v1/sessions?limit=4";
    let (_, page) = fixture.send("GET", first, None).await;
    assert_eq!(page["sessions"].as_array().unwrap().len(), 4);
    assert_eq!(page["next"], Value::Null);
    for (query, hint) in [
        ("?subject=", "subject"),
        (
            "?cursor=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "requires the `subject`",
        ),
        ("?subject=a&limit=0", "limit"),
        ("?subject=a&limit=1001", "limit"),
        ("?subject=a&limit=x", "limit"),
        ("?subject=a&cursor=x", "cursor"),
        ("?subject=a&sort=x", "sort"),
    ] {
        let path = format!("/api/v1/sessions{query}");
        let detail = fixture.refused(400, "GET", &path, None).await;
        assert!(detail.contains(hint), "{query}: {detail}");
    }
}

#[tokio::test]
async fn a_revoked_session_keeps_its_first_reason() {
    let fixture = Fixture::new();
    let created = fixture.create(json!({ "subject": "alice" })).await;
    let path = format!(
        "/api/v1/sessions/{}",
        created["session"]["id"].as_str().unwrap()
    );
    for after in [MINUTE, 2 * MINUTE] {
        fixture.bench.at(after);
        let (status, session) = fixture.send("DELETE", &path, None).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(
            (&session["state"], &session["end_reason"], &session["ended"]),
            (
                &json!("ended"),
                &json!("revoked"),
                &json!("2027-01-15T08:01:00.000Z")
            )
        );
        assert_eq!(session["idle_remaining"], 0);
    }
    let nobody = format!("/api/v1/sessions/{}", "0".repeat(32));
    for method in ["GET", "DELETE"] {
        fixture.refused(404, method, &nobody, None).await;
        fixture
            .refused(400, method, "/api/v1/sessions/xyz", None)
            .await;
    }
}

#[tokio::test]
async fn a_session_past_its_limit_is_shown_as_ended() {
    let fixture = Fixture::new();
    let created = fixture.create(json!({ "subject": "alice" })).await;
    let path = format!(
        "/api/v1/sessions/{}",
        created["session"]["id"].as_str().unwrap()
    );
    fixture.bench.at(15 * MINUTE);
    let (_, session) = fixture.send("GET", &path, None).await;
    assert_eq!(
        (&session["state"], &session["end_reason"]),
        (&json!("ended"), &json!("idle_timeout"))
    );
    assert_eq!(session["absolute_remaining"], 0);
}

#[tokio::test]
async fn every_session_of_a_subject_is_revoked_at_once() {
    let fixture = Fixture::new();
    for _ in 0..250 {
        fixture.bench.sign_in("default").await;
    }
    let carol = fixture.create(json!({ "subject": "carol" })).await;
    let all = "/api/v1/sessions?subject=alice";
    let count = "/api/v1/sessions/count?subject=alice";
    let counted = fixture.send("GET", count, None).await.1;
    assert_eq!(counted, json!({ "live": 250, "ended": 0 }));
    let not_before = fixture.bench.parts.clock.now().to_string();
    for revoked in [250, 0] {
        let answer = fixture.send("DELETE", all, None).await;
        let expected = json!({ "revoked": revoked, "not_before": not_before });
        assert_eq!(answer, (StatusCode::OK, expected));
    }
    let counted = fixture.send("GET", count, None).await.1;
    assert_eq!(counted, json!({ "live": 0, "ended": 250 }));
    let path = format!(
        "/api/v1/sessions/{}",
        carol["session"]["id"].as_str().unwrap()
    );
    assert_eq!(fixture.send("GET", &path, None).await.1["state"], "live");
    fixture
        .refused(400, "DELETE", "/api/v1/sessions", None)
        .await;
}

#[tokio::test]
async fn sessions_that_started_before_a_time_are_revoked_and_later_ones_live() {
    let fixture = Fixture::new();
    fixture.create(json!({ "subject": "alice" })).await;
    fixture.bench.at(MINUTE);
    let later = fixture.create(json!({ "subject": "alice" })).await;
    let path = "/api/v1/sessions?subject=alice&before=2027-01-15T08:00:30Z";
    let (_, answer) = fixture.send("DELETE", path, None).await;
    let expected = json!({ "revoked": 1, "not_before": "2027-01-15T08:00:30.000Z" });
    assert_eq!(answer, expected);
    let id = later["session"]["id"].as_str().unwrap();
    let path = format!("/api/v1/sessions/{id}");
    assert_eq!(fixture.send("GET", &path, None).await.1["state"], "live");
    for before in ["yesterday", "2027-01-15T08:01:00.001Z"] {
        let refused = format!("/api/v1/sessions?subject=alice&before={before}");
        let detail = fixture.refused(400, "DELETE", &refused, None).await;
        assert!(detail.starts_with("before: "), "{detail}");
    }
}

#[tokio::test]
async fn ageing_moves_a_session_into_the_past_where_it_is_allowed() {
    let fixture = Fixture::new();
    let created = fixture.create(json!({ "subject": "alice" })).await;
    let id = created["session"]["id"].as_str().unwrap();
    let path = format!("/api/v1/sessions/{id}/age");
    let (status, session) = fixture
        .send("POST", &path, Some(json!({ "by": "14m 59s" })))
        .await;
    assert_eq!(
        (status, &session["idle_remaining"]),
        (StatusCode::OK, &json!(1))
    );
    let (_, session) = fixture
        .send("POST", &path, Some(json!({ "by": "1s" })))
        .await;
    assert_eq!(session["end_reason"], "idle_timeout");
    for by in ["", "soon", "-1s", "1001days", "99999999999999999999s"] {
        let detail = fixture
            .refused(400, "POST", &path, Some(json!({ "by": by })))
            .await;
        assert!(detail.starts_with("by: "), "{by}: {detail}");
    }
    let nobody = format!("/api/v1/sessions/{}/age", "0".repeat(32));
    fixture
        .refused(404, "POST", &nobody, Some(json!({ "by": "1s" })))
        .await;

    let fixture = Fixture::with_ageing(Bench::new(), false);
    let detail = fixture
        .refused(403, "POST", &path, Some(json!({ "by": "1s" })))
        .await;
    assert!(detail.contains("admin.allow_ageing"), "{detail}");
}

#[tokio::test]
async fn policies_are_shown() {
    let fixture = Fixture::new();
    let (status, list) = fixture.send("GET", "/api/v1/policies", None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        list["policies"][0],
        json!({
            "name": "default", "default": true, "idle": 900.0, "absolute": 28800.0,
            "touch_interval": 15.0, "activity": "any",
        })
    );
    assert_eq!(list["policies"][1]["store_failure_grace"], 120.0);
    assert_eq!(list["policies"][2]["max_auth_age"], 1800.0);
}

#[tokio::test]
async fn a_store_failure_is_answered_with_503() {
    let fixture = Fixture::new();
    fixture.bench.store.all_fail.store(true, Ordering::SeqCst);
    let one = format!("/api/v1/sessions/{}", "0".repeat(32));
    for (method, path, body) in [
        (
            "POST",
            "/api/v1/sessions",
            Some(json!({ "subject": "alice" })),
        ),
        ("GET", "/api/v1/sessions?subject=alice", None),
        ("DELETE", "/api/v1/sessions?subject=alice", None),
        ("GET", &*one, None),
        ("DELETE", &*one, None),
    ] {
        fixture.refused(503, method, path, body).await;
    }
}

#[tokio::test]
async fn a_full_store_is_answered_with_503() {
    let fixture = Fixture::new();
    let limit = 10_000;
    for _ in 0..limit {
        fixture.bench.sign_in("default").await;
    }
    let body = Some(json!({ "subject": "one too many" }));
    fixture
        .refused(503, "POST", "/api/v1/sessions", body.clone())
        .await;
    fixture.bench.at(10 * HOUR);
    fixture.send("POST", "/api/v1/sessions", body).await;
    assert_eq!(
        fixture.bench.store.memory.len(),
        1,
        "the old ones made room"
    );
}

/// Every operation of the OpenAPI document: its method, and its path with an ID.
fn described() -> Vec<(String, String)> {
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
    for (method, path) in described() {
        // A new fixture for each request, because wrong tokens are counted.
        let fixture = Fixture::new();
        let good = format!("Bearer {}", fixture.token);
        let wrong = format!("Bearer {}x", fixture.token);
        let basic = format!("Basic {}", fixture.token);
        for lines in [
            &[][..],
            &["Bearer "],
            &[&*wrong],
            &[&*basic],
            &[&*fixture.token],
            &[&*good, &*wrong],
            &[&*good, &*good],
        ] {
            let mut request = Request::builder().method(&*method).uri(&path);
            for line in lines {
                request = request.header(AUTHORIZATION, *line);
            }
            let request = request.body(Body::empty()).unwrap();
            let response = fixture.routes.clone().oneshot(request).await.unwrap();
            assert_eq!(
                response.status(),
                StatusCode::UNAUTHORIZED,
                "{method} {path} {lines:?}"
            );
            assert_eq!(response.headers()["www-authenticate"], "Bearer");
        }
    }
}

#[tokio::test]
async fn the_document_describes_what_is_served() {
    let fixture = Fixture::new();
    let described = described();
    assert_eq!(described.len(), 14);
    let paths: BTreeSet<&String> = described.iter().map(|(_, path)| path).collect();
    for path in paths {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let response = fixture.raw(method, path, None).await;
            let served = response.status() != StatusCode::METHOD_NOT_ALLOWED;
            let is_described = described.contains(&(method.to_owned(), path.clone()));
            assert_eq!(served, is_described, "{method} {path}");
        }
    }
    let (status, served) = fixture.send("GET", "/api/v1/openapi.json", None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(served, serde_json::to_value(openapi::document()).unwrap());
    fixture.refused(404, "GET", "/api/v1/nonesuch", None).await;
}

mod revocations;
mod rights;
mod sessions;
