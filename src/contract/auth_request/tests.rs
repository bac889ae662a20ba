use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use http::Request;
use http::header::CONTENT_TYPE;
use tower::ServiceExt;

use super::*;
use crate::check::Checker;
use crate::config::CookieConfig;
use crate::contract::{SessionCookie, router};
use crate::credential::TokenExtractor;
use crate::testing::{Bench, HOUR, MINUTE};

/// The contract's routes and one session of `alice`.
struct Fixture {
    bench: Bench,
    routes: Router,
    token: String,
}

const CLEARED: &str = "__Host-session=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0";

impl Fixture {
    async fn new() -> Self {
        let bench = Bench::new();
        let started = bench.sign_in("default").await;
        let cookie = CookieConfig {
            name: "__Host-session".to_owned(),
            domain: None,
            path: "/".to_owned(),
            secure: true,
            same_site: cookie::SameSite::Lax,
            persistent: false,
        };
        let checker = Checker {
            lifecycle: bench.lifecycle.clone(),
            extractor: TokenExtractor {
                cookie: cookie.name.clone(),
                bearer: true,
            },
        };
        let contracts = Contracts {
            checker,
            cookie: SessionCookie::new(cookie).unwrap(),
        };
        Self {
            bench,
            routes: router(Arc::new(contracts)),
            token: started.token.expose(),
        }
    }

    fn cookie(&self) -> String {
        format!("__Host-session={}", self.token)
    }

    /// A sub-request as NGINX sends it, with more lines.
    async fn ask(&self, path: &str, lines: &[(&str, &str)]) -> Response {
        let mut all = vec![
            ("x-original-url", "https://app.example.com/a?b=c"),
            ("x-original-method", "GET"),
        ];
        all.extend_from_slice(lines);
        self.send("GET", path, &all).await
    }

    async fn send(&self, method: &str, path: &str, lines: &[(&str, &str)]) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        self.routes.clone().oneshot(request).await.unwrap()
    }

    /// The session's own request, so long after it began.
    async fn get(&self, after: Duration) -> Response {
        self.bench.at(after);
        self.ask("/auth-request", &[("cookie", &self.cookie())])
            .await
    }
}

/// The reason of a denial, and what it tells the client besides.
fn denial(response: &Response) -> (u16, &str, Option<&str>, Option<&str>) {
    let header = |name: &str| {
        let value = response.headers().get(name);
        value.map(|value| value.to_str().unwrap())
    };
    (
        response.status().as_u16(),
        header("x-session-reason").unwrap_or_default(),
        header("www-authenticate"),
        header("set-cookie"),
    )
}

async fn body(response: Response) -> Vec<u8> {
    let body = axum::body::to_bytes(response.into_body(), 1024).await;
    body.unwrap().to_vec()
}

#[tokio::test]
async fn allow_is_an_empty_200_with_every_identity_header() {
    let fixture = Fixture::new().await;
    for path in [
        "/auth-request",
        "/policy/default/auth-request",
        "/policy/strict/auth-request?policy=x",
    ] {
        let response = fixture.ask(path, &[("cookie", &fixture.cookie())]).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let headers = response.headers();
        assert_eq!(headers["x-session-user"], "alice");
        assert_eq!(headers["x-session-groups"], "staff,admin");
        assert_eq!(headers["x-session-email"], "alice@example.com");
        assert_eq!(headers["x-session-policy"], "default");
        assert_eq!(headers["x-session-id"].len(), 32);
        assert_eq!(headers[CACHE_CONTROL], "no-store");
        for absent in [CONTENT_TYPE, SET_COOKIE, SESSION_REASON] {
            assert!(!headers.contains_key(&absent), "{absent}");
        }
        assert!(body(response).await.is_empty());
    }
}

#[tokio::test]
async fn any_method_and_conditional_headers_are_answered_alike() {
    let fixture = Fixture::new().await;
    let cookie = fixture.cookie();
    for method in [
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND",
    ] {
        let lines = [
            ("x-original-url", "https://app.example.com/"),
            ("x-original-method", method),
            ("cookie", &cookie),
            ("if-none-match", "*"),
            ("if-modified-since", "Wed, 21 Oct 2026 07:28:00 GMT"),
            ("range", "bytes=0-1"),
            ("upgrade", "websocket"),
        ];
        let response = fixture.send(method, "/auth-request", &lines).await;
        assert_eq!(response.status(), StatusCode::OK, "{method}");
    }
}

#[tokio::test]
async fn a_session_that_has_ended_is_told_and_its_cookie_cleared() {
    let fixture = Fixture::new().await;
    let response = fixture.get(15 * MINUTE).await;
    let challenge = "Bearer error=\"invalid_token\", error_description=\"idle_timeout\"";
    assert_eq!(
        denial(&response),
        (401, "idle_timeout", Some(challenge), Some(CLEARED))
    );
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    assert!(!response.headers().contains_key("x-session-user"));
    assert!(body(response).await.is_empty());
}

#[tokio::test]
async fn other_denials_leave_the_cookie_alone() {
    let fixture = Fixture::new().await;
    let unknown = fixture.bench.lifecycle.key_ring.issue().unwrap().expose();
    let unknown = format!("__Host-session={unknown}");
    let forged = format!("{}x", fixture.cookie());
    let twice = format!("{}; __Host-session=2", fixture.cookie());
    let invalid =
        |reason| format!("Bearer error=\"invalid_token\", error_description=\"{reason}\"");
    for (cookie, reason, challenge) in [
        ("", "no_credential", "Bearer".to_owned()),
        (&*unknown, "unknown_session", invalid("unknown_session")),
        (
            &*forged,
            "invalid_credential",
            invalid("invalid_credential"),
        ),
        (&*twice, "malformed_request", "Bearer".to_owned()),
    ] {
        let response = fixture.ask("/auth-request", &[("cookie", cookie)]).await;
        assert_eq!(denial(&response), (401, reason, Some(&*challenge), None));
    }
}

#[tokio::test]
async fn step_up_is_asked_for_as_rfc_9470_has_it() {
    let fixture = Fixture::new().await;
    fixture.bench.at(14 * MINUTE);
    let lines = [("cookie", &*fixture.cookie())];
    let response = fixture.ask("/policy/strict/auth-request", &lines).await;
    let challenge = "Bearer error=\"insufficient_user_authentication\", max_age=1800";
    assert_eq!(
        denial(&response),
        (401, "reauthentication_required", Some(challenge), None)
    );
}

#[tokio::test]
async fn store_trouble_is_503_and_no_logout() {
    let fixture = Fixture::new().await;
    fixture.bench.store.all_fail.store(true, Ordering::SeqCst);
    let response = fixture.get(9 * HOUR).await;
    assert_eq!(denial(&response), (503, "store_unavailable", None, None));
    assert_eq!(response.headers()[RETRY_AFTER], "1");
}

#[tokio::test]
async fn the_original_request_comes_from_two_headers_and_from_nothing_else() {
    let fixture = Fixture::new().await;
    let cookie = fixture.cookie();
    let url = ("x-original-url", "https://app.example.com/");
    let method = ("x-original-method", "GET");
    for lines in [
        &[][..],
        &[url],
        &[method],
        &[url, url, method],
        &[url, method, method],
        &[
            url,
            method,
            ("x-original-url", "https://other.example.com/"),
        ],
        &[("x-original-url", "/only/a/path"), method],
        &[("x-original-url", "https://u:p@app.example.com/"), method],
        &[url, ("x-original-method", "GET /")],
        &[url, ("x-original-method", "")],
        &[
            method,
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "app.example.com"),
            ("x-forwarded-uri", "/"),
            ("x-forwarded-method", "GET"),
        ],
    ] {
        let mut all = lines.to_vec();
        all.push(("cookie", &*cookie));
        let response = fixture.send("GET", "/auth-request", &all).await;
        assert_eq!(
            denial(&response),
            (401, "malformed_request", Some("Bearer"), None),
            "{lines:?}"
        );
    }
    let response = fixture
        .ask("/policy/nonesuch/auth-request", &[("cookie", &cookie)])
        .await;
    assert_eq!(denial(&response).1, "malformed_request");
}

#[tokio::test]
async fn the_method_that_counts_is_the_original_one() {
    let fixture = Fixture::new().await;
    let cookie = fixture.cookie();
    let url = ("x-original-url", "https://app.example.com/");
    let (head, get) = (("x-original-method", "HEAD"), ("x-original-method", "GET"));
    fixture.bench.at(MINUTE);
    fixture
        .send("GET", "/auth-request", &[url, head, ("cookie", &cookie)])
        .await;
    assert_eq!(fixture.bench.store.touch_count(), 0);
    fixture
        .send("HEAD", "/auth-request", &[url, get, ("cookie", &cookie)])
        .await;
    assert_eq!(fixture.bench.store.touch_count(), 1);
}

#[tokio::test]
async fn nothing_else_is_served() {
    let fixture = Fixture::new().await;
    for path in [
        "/",
        "/auth-request/",
        "/auth-request/x",
        "/api/v1/sessions",
        "/metrics",
    ] {
        let response = fixture.ask(path, &[("cookie", &fixture.cookie())]).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
    }
}
