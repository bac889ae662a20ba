use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, Method, Request, StatusCode};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use crate::actor::Actor;
use crate::admin::AdminToken;
use crate::admin::tests::Fixture;
use crate::check::{CheckRequest, ClientAddress, Original, OriginalUrl};
use crate::credential::{NamedToken, Right, operator_session_id};
use crate::policy::{Contract, Rules};
use crate::session::{Attributes, EndReason, SessionId, State, Subject, Verdict};
use crate::testing::MINUTE;
use crate::testing::outputs::{Output, OutputFormat};
use url::form_urlencoded::byte_serialize;

struct Browser<'a> {
    fixture: &'a Fixture,
    routes: Router,
    cookie: String,
}

impl<'a> Browser<'a> {
    fn new(fixture: &'a Fixture) -> Self {
        Self {
            fixture,
            routes: fixture.routes.clone(),
            cookie: String::new(),
        }
    }

    /// Sends a request. `site` is the value of `Sec-Fetch-Site`.
    async fn send_request(&mut self, method: &str, path: &str, form: &str, site: &str) -> Response {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1:9188")
            .header("sec-fetch-site", site)
            .header(COOKIE, &self.cookie)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(form.to_owned()))
            .unwrap();
        let response = self.routes.clone().oneshot(request).await.unwrap();
        if let Some(cookie) = response.headers().get(SET_COOKIE) {
            let line = cookie.to_str().unwrap();
            assert!(line.contains("HttpOnly") && line.contains("SameSite=Lax"));
            self.cookie = line.split(';').next().unwrap().to_owned();
        }
        response
    }

    async fn get(&mut self, path: &str) -> (StatusCode, String) {
        let response = self.send_request("GET", path, "", "same-origin").await;
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await;
        (status, String::from_utf8(bytes.unwrap().to_vec()).unwrap())
    }

    async fn post(&mut self, path: &str, form: &str) -> Response {
        self.send_request("POST", path, form, "same-origin").await
    }

    async fn sign_in(&mut self) {
        let form = format!("token={}&to=/console/policies", self.fixture.token);
        let response = self.post("/console/sign-in", &form).await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        assert_eq!(location(&response), "/console/policies");
    }
}

/// Returns the console pages that contain `text`, so that a test can check how the pages escape it. The text is a
/// search text, or a value of the existing sessions.
pub(in crate::admin) async fn outputs(fixture: &Fixture, text: &str) -> Vec<Output> {
    let mut browser = Browser::new(fixture);
    browser.sign_in().await;
    let encoded: String = byte_serialize(text.as_bytes()).collect();
    let (mut all, is_subject) = (Vec::new(), Subject::new(text).is_ok());
    for (name, path) in [
        ("session search", format!("/console/?subject={encoded}")),
        ("all sessions", "/console/".to_owned()),
        (
            "revocation",
            format!("/console/revoke?group={encoded}&provider={encoded}&count=yes"),
        ),
        (
            "explanation",
            format!("/console/policies?url={encoded}&method={encoded}&groups={encoded}"),
        ),
        ("health", "/console/health".to_owned()),
    ] {
        let (_, page) = browser.get(&path).await;
        if !is_subject && matches!(name, "all sessions" | "health") {
            continue;
        }
        let link = page.split("/console/sessions/").nth(1);
        let link = link.map(|rest| format!("/console/sessions/{}", &rest[..32]));
        all.push((name, OutputFormat::Markup, page));
        if let Some(link) = link.filter(|_| name == "all sessions") {
            all.push((
                "a session",
                OutputFormat::Markup,
                browser.get(&link).await.1,
            ));
        }
    }
    all
}

/// Checks that the form ends the sessions of exactly the subject that the page shows, even if the subject has special
/// characters.
#[tokio::test]
async fn a_form_returns_the_subject_unchanged() {
    let fixture = Fixture::new();
    let subject = "a\u{202e}\u{200b}b\"<é>&";
    fixture
        .create(serde_json::json!({ "subject": subject }))
        .await;
    let mut browser = Browser::new(&fixture);
    browser.sign_in().await;
    let encoded: String = byte_serialize(subject.as_bytes()).collect();
    let (_, page) = browser.get(&format!("/console/?subject={encoded}")).await;
    let (_, rest) = page.split_once("name=\"subject\" value=\"").unwrap();
    let mut value = rest.split('"').next().unwrap().to_owned();
    for (reference, character) in [
        ("&#x202e;", "\u{202e}"),
        ("&#x200b;", "\u{200b}"),
        ("&quot;", "\""),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
    ] {
        value = value.replace(reference, character);
    }
    assert_eq!(value, subject);
    let form = format!(
        "subject={}",
        byte_serialize(value.as_bytes()).collect::<String>()
    );
    let ended = browser.post("/console/subjects/end", &form).await;
    assert!(
        location(&ended).ends_with("&ended=1"),
        "{}",
        location(&ended)
    );
}

fn location(response: &Response) -> &str {
    response.headers()[LOCATION].to_str().unwrap()
}

#[tokio::test]
async fn pages_need_a_sign_in() {
    let fixture = Fixture::new();
    let mut browser = Browser::new(&fixture);
    for path in [
        "/console/",
        "/console/policies",
        "/console/routes",
        "/console/health",
        "/console/sessions/00000000000000000000000000000000",
    ] {
        let response = browser.send_request("GET", path, "", "none").await;
        assert!(location(&response).starts_with("/console/sign-in?to=%2Fconsole%2F"));
    }
    for path in ["/console/subjects/end", "/console/sign-out"] {
        let response = browser.post(path, "subject=alice").await;
        assert!(
            location(&response).starts_with("/console/sign-in"),
            "{path}"
        );
    }
    let refused = browser.post("/console/sign-in", "token=guess").await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(browser.cookie, "");
    // Neither a cookie with an invalid signature nor an admin token in the cookie gives access.
    for cookie in ["curfew-console=x.y", &fixture.token] {
        browser.cookie = cookie.to_owned();
        assert_eq!(browser.get("/console/").await.0, StatusCode::SEE_OTHER);
    }
}

#[tokio::test]
async fn an_operator_session_ends_on_time() {
    let fixture = Fixture::new();
    let mut browser = Browser::new(&fixture);
    browser.sign_in().await;
    for minute in (0..480).step_by(14) {
        fixture.bench.set_time_after_start(minute * MINUTE);
        assert_eq!(browser.get("/console/").await.0, StatusCode::OK, "{minute}");
    }
    fixture.bench.set_time_after_start(480 * MINUTE);
    assert_eq!(browser.get("/console/").await.0, StatusCode::SEE_OTHER);
    browser.sign_in().await;
    fixture.bench.set_time_after_start(495 * MINUTE);
    assert_eq!(browser.get("/console/").await.0, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn other_sites_and_get_requests_change_nothing() {
    let fixture = Fixture::new();
    let started = fixture.bench.sign_in("default").await;
    let mut browser = Browser::new(&fixture);
    browser.sign_in().await;
    let path = format!("/console/sessions/{}/end", started.id);
    for site in ["cross-site", "same-site", "none"] {
        let response = browser.send_request("POST", &path, "", site).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{site}");
    }
    assert_eq!(browser.get(&path).await.0, StatusCode::METHOD_NOT_ALLOWED);
    let (_, page) = browser.get("/console/").await;
    assert!(page.contains("alice") && !page.contains("Nobody"));
    let response = browser.post(&path, "").await;
    assert_eq!(
        location(&response),
        format!("/console/sessions/{}", started.id)
    );
    let (_, page) = browser.get("/console/").await;
    assert!(page.contains("Nobody is signed in."), "{page}");
    let (_, page) = browser
        .get(&format!("/console/sessions/{}", started.id))
        .await;
    assert!(page.contains("ended: revoked"), "{page}");
}

#[tokio::test]
async fn names_of_users_are_escaped() {
    let fixture = Fixture::new();
    let name = "<b>&\"o'";
    let body = serde_json::json!({ "subject": name });
    let created = fixture.create(body).await;
    let mut browser = Browser::new(&fixture);
    browser.sign_in().await;
    let id = created["session"]["id"].as_str().unwrap();
    for path in [
        "/console/?subject=%3Cb%3E%26%22o%27".to_owned(),
        "/console/".to_owned(),
        "/console/health".to_owned(),
        format!("/console/sessions/{id}?url=%3Cb%3E%26%22o%27"),
        "/console/policies?url=%3Cb%3E&groups=%3Cb%3E&method=%3Cb%3E".to_owned(),
    ] {
        let (status, page) = browser.get(&path).await;
        assert_eq!(status, StatusCode::OK);
        assert!(!page.contains("<b>"), "{path} {page}");
    }
    for target in [
        "//evil.example",
        "https://evil.example",
        "/console/../x\\y",
        "/api",
    ] {
        let form = format!("token={}&to={target}", fixture.token);
        let response = browser.post("/console/sign-in", &form).await;
        assert_eq!(location(&response), "/console/", "{target}");
    }
}

#[tokio::test]
async fn a_request_is_explained() {
    let fixture = Fixture::new();
    let mut browser = Browser::new(&fixture);
    browser.sign_in().await;
    let path = "/console/policies?url=https%3A%2F%2Fapp.example.com%2Forders&policy=strict";
    let (_, page) = browser.get(path).await;
    for part in ["5m without activity", "allow", "/orders"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let (_, page) = browser.get("/console/policies?url=orders").await;
    assert!(page.contains("must be absolute"), "{page}");
}

mod operators;
