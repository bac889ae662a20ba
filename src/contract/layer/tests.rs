mod streams;

use axum::Router;
use axum::extract::Extension;
use axum::routing::any;
use http::HeaderMap;

use super::*;
use crate::browser;
use crate::contract::fixture::{Fixture, denial, read_body};
use crate::testing::MINUTE;

/// An application that returns the identity in the request.
async fn application(live: Option<Extension<LiveSession>>, headers: HeaderMap) -> String {
    let users = headers.get_all("x-session-user").iter();
    let users: Vec<_> = users.map(|value| value.to_str().unwrap()).collect();
    let subject = live.map(|Extension(live)| live.session.subject.to_string());
    format!("{users:?} {subject:?}")
}

struct ProtectedApplication {
    fixture: Fixture,
    service: Router,
}

impl ProtectedApplication {
    async fn new() -> Self {
        let fixture = Fixture::new().await;
        let contracts = fixture.contracts.clone();
        let layer = CurfewLayer::new(contracts.clone(), browser::router(contracts), true);
        let service = Router::new().fallback(any(application)).layer(layer);
        Self { fixture, service }
    }

    async fn send(&self, method: &str, path: &str, header_lines: &[(&str, &str)]) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("host", "app.example.com");
        for (name, value) in header_lines {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        self.service.clone().oneshot(request).await.unwrap()
    }
}

#[tokio::test]
async fn a_request_with_a_live_session_reaches_the_service() {
    let protected = ProtectedApplication::new().await;
    let cookie = protected.fixture.cookie();
    let forged = ("x-session-user", "root");
    let header_lines = [("cookie", &*cookie), forged, forged];
    let response = protected.send("GET", "/orders", &header_lines).await;
    assert_eq!(response.status(), 200);
    assert_eq!(read_body(response).await, b"[\"alice\"] Some(\"alice\")");
}

#[tokio::test]
async fn a_request_without_a_session_is_denied() {
    let protected = ProtectedApplication::new().await;
    let response = protected.send("GET", "/", &[]).await;
    assert_eq!(
        denial(&response),
        (401, "no_credential", Some("Bearer"), None)
    );
    let navigate = [("sec-fetch-mode", "navigate")];
    let response = protected.send("GET", "/a?b=c", &navigate).await;
    assert_eq!(response.status(), 302);
    assert_eq!(
        response.headers()["location"],
        "https://login.example.com/?rd=https%3A%2F%2Fapp.example.com%2Fa%3Fb%3Dc&reason=no_credential"
    );
    protected.fixture.bench.set_time_after_start(15 * MINUTE);
    let cookie = protected.fixture.cookie();
    let response = protected.send("GET", "/", &[("cookie", &cookie)]).await;
    assert_eq!(denial(&response).1, "idle_timeout");
    let second_host = [("host", "other.example.com")];
    let response = protected.send("GET", "/", &second_host).await;
    assert_eq!(denial(&response).1, "malformed_request");
}

#[tokio::test]
async fn browser_endpoints_are_served() {
    let protected = ProtectedApplication::new().await;
    let cookie = protected.fixture.cookie();
    let header_lines = [("cookie", &*cookie)];
    let response = protected
        .send("GET", "/.curfew/session", &header_lines)
        .await;
    assert_eq!(response.status(), 200);
}
