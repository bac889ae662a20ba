use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{Request, StatusCode};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use crate::admin::tests::Fixture;
use crate::testing::MINUTE;

struct Person<'a> {
    fixture: &'a Fixture,
    cookie: String,
}

impl<'a> Person<'a> {
    fn new(fixture: &'a Fixture) -> Self {
        Self {
            fixture,
            cookie: String::new(),
        }
    }

    /// Sends a request, from a page of the console itself unless `site` says otherwise.
    async fn send(&mut self, method: &str, path: &str, form: &str, site: &str) -> Response {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1:9188")
            .header("sec-fetch-site", site)
            .header(COOKIE, &self.cookie)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(form.to_owned()))
            .unwrap();
        let response = self.fixture.routes.clone().oneshot(request).await.unwrap();
        if let Some(cookie) = response.headers().get(SET_COOKIE) {
            let line = cookie.to_str().unwrap();
            assert!(line.contains("HttpOnly") && line.contains("SameSite=Lax"));
            self.cookie = line.split(';').next().unwrap().to_owned();
        }
        response
    }

    async fn get(&mut self, path: &str) -> (StatusCode, String) {
        let response = self.send("GET", path, "", "same-origin").await;
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await;
        (status, String::from_utf8(bytes.unwrap().to_vec()).unwrap())
    }

    async fn post(&mut self, path: &str, form: &str) -> Response {
        self.send("POST", path, form, "same-origin").await
    }

    async fn come_in(&mut self) {
        let form = format!("token={}&to=/console/policies", self.fixture.token);
        let response = self.post("/console/sign-in", &form).await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        assert_eq!(to(&response), "/console/policies");
    }
}

fn to(response: &Response) -> &str {
    response.headers()[LOCATION].to_str().unwrap()
}

#[tokio::test]
async fn nobody_sees_anything_without_a_token() {
    let fixture = Fixture::new();
    let mut person = Person::new(&fixture);
    for path in [
        "/console/",
        "/console/policies",
        "/console/health",
        "/console/sessions/00000000000000000000000000000000",
    ] {
        let response = person.send("GET", path, "", "none").await;
        assert!(to(&response).starts_with("/console/sign-in?to=%2Fconsole%2F"));
    }
    for path in ["/console/subjects/end", "/console/sign-out"] {
        let response = person.post(path, "subject=alice").await;
        assert!(to(&response).starts_with("/console/sign-in"), "{path}");
    }
    let refused = person.post("/console/sign-in", "token=guess").await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(person.cookie, "");
    // A cookie that nobody sealed, and the API's token in its place.
    for cookie in ["curfew-console=x.y", &fixture.token] {
        person.cookie = cookie.to_owned();
        assert_eq!(person.get("/console/").await.0, StatusCode::SEE_OTHER);
    }
}

#[tokio::test]
async fn a_visit_ends_on_time() {
    let fixture = Fixture::new();
    let mut person = Person::new(&fixture);
    person.come_in().await;
    for minute in (0..480).step_by(14) {
        fixture.bench.at(minute * MINUTE);
        assert_eq!(person.get("/console/").await.0, StatusCode::OK, "{minute}");
    }
    fixture.bench.at(480 * MINUTE);
    assert_eq!(person.get("/console/").await.0, StatusCode::SEE_OTHER);
    person.come_in().await;
    fixture.bench.at(495 * MINUTE);
    assert_eq!(person.get("/console/").await.0, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn nothing_is_done_for_another_site_or_by_reading() {
    let fixture = Fixture::new();
    let started = fixture.bench.sign_in("default").await;
    let mut person = Person::new(&fixture);
    person.come_in().await;
    let path = format!("/console/sessions/{}/end", started.id);
    for site in ["cross-site", "same-site", "none"] {
        let response = person.send("POST", &path, "", site).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{site}");
    }
    assert_eq!(person.get(&path).await.0, StatusCode::METHOD_NOT_ALLOWED);
    let (_, page) = person.get("/console/").await;
    assert!(page.contains("alice") && !page.contains("Nobody"));
    let response = person.post(&path, "").await;
    assert_eq!(to(&response), format!("/console/sessions/{}", started.id));
    let (_, page) = person.get("/console/").await;
    assert!(page.contains("Nobody is signed in."), "{page}");
    let (_, page) = person
        .get(&format!("/console/sessions/{}", started.id))
        .await;
    assert!(page.contains("ended: revoked"), "{page}");
}

#[tokio::test]
async fn what_people_are_called_is_text() {
    let fixture = Fixture::new();
    let name = "<b>&\"o'";
    let body = serde_json::json!({ "subject": name });
    let created = fixture.create(body).await;
    let mut person = Person::new(&fixture);
    person.come_in().await;
    let id = created["session"]["id"].as_str().unwrap();
    for path in [
        "/console/?subject=%3Cb%3E%26%22o%27".to_owned(),
        "/console/".to_owned(),
        "/console/health".to_owned(),
        format!("/console/sessions/{id}?url=%3Cb%3E%26%22o%27"),
        "/console/policies?url=%3Cb%3E&groups=%3Cb%3E&method=%3Cb%3E".to_owned(),
    ] {
        let (status, page) = person.get(&path).await;
        assert_eq!(status, StatusCode::OK);
        assert!(!page.contains("<b>"), "{path} {page}");
    }
    for elsewhere in [
        "//evil.example",
        "https://evil.example",
        "/console/../x\\y",
        "/api",
    ] {
        let form = format!("token={}&to={elsewhere}", fixture.token);
        let response = person.post("/console/sign-in", &form).await;
        assert_eq!(to(&response), "/console/", "{elsewhere}");
    }
}

#[tokio::test]
async fn a_request_is_explained() {
    let fixture = Fixture::new();
    let mut person = Person::new(&fixture);
    person.come_in().await;
    let path = "/console/policies?url=https%3A%2F%2Fapp.example.com%2Forders&policy=strict";
    let (_, page) = person.get(path).await;
    for part in ["5m unused", "allow", "/orders"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let (_, page) = person.get("/console/policies?url=orders").await;
    assert!(page.contains("must be absolute"), "{page}");
}

/// What opened the door must still open it.
#[tokio::test]
async fn a_visit_is_over_when_its_token_or_group_is_gone() {
    let fixture = Fixture::new();
    let lifecycle = &fixture.bench.lifecycle;
    let now = lifecycle.clock.now().as_millis();
    let enter = async |by: serde_json::Value| {
        let visit = serde_json::json!({ "by": by, "begun": now, "seen": now });
        let sealed = lifecycle
            .key_ring
            .seal("console", visit.to_string().as_bytes());
        let mut person = Person::new(&fixture);
        person.cookie = format!("curfew-console={}", sealed.unwrap());
        person.get("/console/").await.0
    };
    let hash: [u8; 32] = Sha256::digest(&fixture.token).into();
    assert_eq!(
        enter(serde_json::json!({ "Token": hash })).await,
        StatusCode::OK
    );
    for gone in [
        serde_json::json!({ "Token": vec![0; 32] }),
        serde_json::json!({ "Groups": ["operators"] }),
        serde_json::json!({ "Groups": [] }),
    ] {
        assert_eq!(enter(gone).await, StatusCode::SEE_OTHER);
    }
}
