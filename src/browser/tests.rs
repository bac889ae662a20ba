use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::response::Response;
use http::Request;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::check::{CheckRequest, ClientAddress, MalformedOriginal, Outcome};
use crate::contract::fixture::{Fixture, REMOVAL_COOKIE};
use crate::delegate::RelayedResponse;
use crate::identity::{AssertionKey, AssertionSigner};
use crate::policy::Contract;
use crate::session::{DenyReason, EndReason, State};
use crate::testing::outputs::{Output, OutputFormat};
use crate::testing::{MINUTE, SECOND};

mod cookies;
mod login;

/// A browser that sends requests to the pages of Curfew.
struct Browser {
    fixture: Fixture,
    routes: Router,
}

const NAVIGATE: (&str, &str) = ("sec-fetch-mode", "navigate");
const SAME_ORIGIN: (&str, &str) = ("sec-fetch-site", "same-origin");

impl Browser {
    async fn new() -> Self {
        Self::with_fixture(Fixture::new().await)
    }

    fn with_fixture(fixture: Fixture) -> Self {
        let routes = router(fixture.contracts.clone());
        Self { fixture, routes }
    }

    /// Sends a request without a session.
    async fn send(&self, method: &str, path: &str, header_lines: &[(&str, &str)]) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("host", "app.example.com");
        for (name, value) in header_lines {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        self.routes.clone().oneshot(request).await.unwrap()
    }

    /// Sends a request with the session's cookie.
    async fn send_signed_in(
        &self,
        method: &str,
        path: &str,
        header_lines: &[(&str, &str)],
    ) -> Response {
        let cookie = self.fixture.cookie();
        let header_lines = [&[("cookie", &*cookie)], header_lines].concat();
        self.send(method, path, &header_lines).await
    }

    /// Returns the last activity of the session, in seconds after its start.
    async fn last_seen(&self) -> u64 {
        let stored = self.fixture.stored().await;
        stored.last_seen.since(crate::testing::START).as_secs()
    }
}

/// Returns the `Set-Cookie` values of a response, without the attributes `HttpOnly` and `Secure`.
fn cookies(response: &Response) -> Vec<String> {
    let values = response.headers().get_all("set-cookie").into_iter();
    let without_flags = |text: &str| text.replace("; HttpOnly", "").replace("; Secure", "");
    values
        .map(|it| without_flags(it.to_str().unwrap()))
        .collect()
}

async fn read_json(response: Response) -> Value {
    serde_json::from_slice(&to_bytes(response.into_body(), 4096).await.unwrap()).unwrap()
}

async fn read_text(response: Response) -> String {
    let bytes = to_bytes(response.into_body(), 8192).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Returns a page for browsers with `text` as its title, its text and its link.
pub(crate) async fn outputs(text: &str) -> Vec<Output> {
    let link = (text.to_owned(), text.to_owned());
    let page = read_text(page::render_page(text, text, &[link])).await;
    vec![("page for browsers", OutputFormat::Markup, page)]
}

#[tokio::test]
async fn the_status_shows_the_remaining_time_without_a_touch() {
    let browser = Browser::new().await;
    browser.fixture.bench.set_time_after_start(5 * MINUTE);
    for _ in 0..2 {
        let response = browser.send_signed_in("GET", "/.curfew/session", &[]).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let status = read_json(response).await;
        assert_eq!(status["subject"], "alice");
        assert_eq!(status["idle_remaining"], 600.0);
        assert_eq!(status["absolute_remaining"], 8.0 * 3600.0 - 300.0);
        assert_eq!(status["server_time"], 1_800_000_300_000_u64);
    }
    assert_eq!(browser.last_seen().await, 0);
}

#[tokio::test]
async fn a_browser_without_a_session_gets_the_reason() {
    let browser = Browser::new().await;
    let response = browser.send("GET", "/.curfew/session", &[]).await;
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["x-session-reason"], "no_credential");
    browser.fixture.bench.set_time_after_start(15 * MINUTE);
    let response = browser.send_signed_in("GET", "/.curfew/session", &[]).await;
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["x-session-reason"], "idle_timeout");
    // The warning script sends this request in every tab. A late response must not clear the cookie of a newer
    // sign-in.
    assert!(!response.headers().contains_key("set-cookie"));
    assert_eq!(read_json(response).await["error"], "idle_timeout");
    let store = &browser.fixture.bench.store;
    store
        .all_fail
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let response = browser.send_signed_in("GET", "/.curfew/session", &[]).await;
    assert_eq!(response.status(), 503);
    assert!(!response.headers().contains_key("set-cookie"));
}

#[tokio::test]
async fn keep_alive_counts_as_activity() {
    let browser = Browser::new().await;
    browser.fixture.bench.set_time_after_start(14 * MINUTE);
    let response = browser
        .send_signed_in("POST", "/.curfew/keep-alive", &[SAME_ORIGIN])
        .await;
    assert_eq!(read_json(response).await["idle_remaining"], 900.0);
    assert_eq!(browser.last_seen().await, 14 * 60);
    // An ended session cannot be kept alive.
    browser.fixture.bench.set_time_after_start(29 * MINUTE);
    let response = browser
        .send_signed_in("POST", "/.curfew/keep-alive", &[SAME_ORIGIN])
        .await;
    assert_eq!(response.status(), 401);
}

#[tokio::test]
async fn other_sites_can_neither_keep_alive_nor_sign_out() {
    let browser = Browser::new().await;
    browser.fixture.bench.set_time_after_start(MINUTE);
    for path in ["/.curfew/keep-alive", "/.curfew/sign-out"] {
        for header_lines in [
            &[][..],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
            &[("origin", "https://evil.example")],
            &[("origin", "null")],
            &[
                ("sec-fetch-site", "cross-site"),
                ("origin", "https://app.example.com"),
            ],
            &[("authorization", "Bearer x")],
        ] {
            let response = browser.send_signed_in("POST", path, header_lines).await;
            assert_eq!(response.status(), 403, "{path} {header_lines:?}");
        }
        assert_eq!(
            browser
                .send_signed_in("GET", path, &[SAME_ORIGIN])
                .await
                .status(),
            405
        );
    }
    assert_eq!(browser.last_seen().await, 0);
    let origin_only = [("origin", "https://app.example.com")];
    let response = browser
        .send_signed_in("POST", "/.curfew/keep-alive", &origin_only)
        .await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn signing_out_ends_the_session() {
    let fixture = Fixture::with(|contracts| {
        contracts.clear_site_data = Some(HeaderValue::from_static("\"cache\""));
    });
    let browser = Browser::with_fixture(fixture.await);
    browser.fixture.bench.set_time_after_start(SECOND);
    let response = browser
        .send_signed_in("POST", "/.curfew/sign-out", &[SAME_ORIGIN])
        .await;
    assert_eq!(response.status(), 204);
    assert_eq!(response.headers()["set-cookie"], REMOVAL_COOKIE);
    assert_eq!(response.headers()["clear-site-data"], "\"cache\"");
    let stored = browser.fixture.stored().await;
    assert!(
        matches!(stored.state, State::Ended(end) if end.reason == EndReason::SignedOut),
        "{stored:?}"
    );
    let status = browser.send_signed_in("GET", "/.curfew/session", &[]).await;
    assert_eq!(status.headers()["x-session-reason"], "signed_out");
    let html = ("accept", "text/html");
    let response = browser
        .send_signed_in("POST", "/.curfew/sign-out", &[SAME_ORIGIN, html])
        .await;
    assert_eq!(response.status(), 303);
    assert_eq!(
        response.headers()["location"],
        "/.curfew/signed-out?reason=signed_out"
    );
}

#[tokio::test]
async fn a_failed_sign_out_is_answered_with_503() {
    let browser = Browser::new().await;
    let ordering = std::sync::atomic::Ordering::SeqCst;
    browser.fixture.bench.store.ends_fail.store(true, ordering);
    let response = browser
        .send_signed_in("POST", "/.curfew/sign-out", &[SAME_ORIGIN])
        .await;
    assert_eq!(response.status(), 503);
    assert!(!response.headers().contains_key("set-cookie"));
}

#[tokio::test]
async fn the_signed_out_page_shows_the_reason_without_scripts() {
    let browser = Browser::new().await;
    for (query, expected) in [
        ("?reason=idle_timeout", "was not used for a while"),
        ("?reason=absolute_timeout", "longest duration"),
        ("?reason=revoked", "was ended"),
        ("?reason=signed_out", "You have signed out"),
        ("?reason=%3Cscript%3E", "Sign in again to continue"),
        ("", "Sign in again to continue"),
    ] {
        let path = format!("/.curfew/signed-out{query}");
        let response = browser.send("GET", &path, &[]).await;
        assert_eq!(response.status(), 200);
        let policy = response.headers()["content-security-policy"]
            .to_str()
            .unwrap();
        assert!(
            policy.starts_with("default-src 'none'; style-src 'sha256-"),
            "{policy}"
        );
        let page = read_text(response).await;
        assert!(page.contains(expected), "{query}: {page}");
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("href=\"/\""), "{page}");
    }
    let path_with_return = "/.curfew/signed-out?rd=%2Forders%3Fa%3D1%26b%3D%22";
    let page = read_text(browser.send("GET", path_with_return, &[]).await).await;
    assert!(page.contains("href=\"/orders?a=1&amp;b=&quot;\""), "{page}");
}

/// Checks that no page has the headers for the application or the headers of a delegated service.
#[tokio::test]
async fn no_page_has_headers_of_a_check() {
    let fixture = Fixture::with(|contracts| {
        let key = include_str!("../../crates/core/src/identity/assertion/ed25519-for-tests.pem");
        contracts.assertion_signer = Some(Arc::new(AssertionSigner {
            issuer: "curfew".to_owned(),
            lifetime: MINUTE,
            key: AssertionKey::from_pem(key.as_bytes()).unwrap(),
            other_keys: Vec::new(),
        }));
    });
    let browser = Browser::with_fixture(fixture.await);
    let assert_no_check_headers = |headers: &HeaderMap, response_name: &str| {
        for name in headers.keys() {
            let is_denial_header = name == "x-session-reason" || name == "x-session-detail";
            let is_session_header = name.as_str().starts_with("x-session-") && !is_denial_header;
            assert!(
                !is_session_header && name != "x-curfew-assertion",
                "{response_name}: {name}"
            );
            assert!(!name.as_str().contains("token"), "{response_name}: {name}");
        }
    };
    for path in [
        "session",
        "signed-out",
        "login",
        "framed",
        "clear-cookies",
        "warning.js",
        "nonesuch",
    ] {
        let path = format!("/.curfew/{path}");
        for method in ["GET", "POST", "HEAD"] {
            let response = browser.send_signed_in(method, &path, &[SAME_ORIGIN]).await;
            assert_no_check_headers(response.headers(), &path);
        }
    }
    let response = browser
        .send_signed_in("POST", "/.curfew/keep-alive", &[SAME_ORIGIN])
        .await;
    assert_eq!(response.status(), 200);
    assert_no_check_headers(response.headers(), "keep-alive");
    // A delegated service can send tokens in the headers of its response.
    let mut headers = HeaderMap::new();
    headers.insert("x-access-token", HeaderValue::from_static("secret"));
    let outcome = Outcome {
        relayed: Some(Box::new(RelayedResponse {
            status: None,
            headers,
            body: None,
        })),
        ..Outcome::denied(DenyReason::SourceUnavailable)
    };
    let contracts = browser.fixture.contracts.current();
    let no_headers = HeaderMap::new();
    let request = CheckRequest {
        contract: Contract::ForwardAuth,
        policy: None,
        original: Err(MalformedOriginal::missing("Host")),
        headers: &no_headers,
        address: ClientAddress::InHeader,
        peer: None,
    };
    let response = contracts.denial(&request, &outcome);
    assert_eq!(response.status(), 503);
    assert_no_check_headers(response.headers(), "a denial");
}

#[tokio::test]
async fn the_script_is_small_and_cacheable() {
    let browser = Browser::new().await;
    let response = browser.send("GET", "/.curfew/warning.js", &[]).await;
    assert_eq!(
        response.headers()["content-type"],
        "text/javascript; charset=utf-8"
    );
    let tag = response.headers()["etag"].to_str().unwrap().to_owned();
    let script = read_text(response).await;
    assert!(script.len() < 6 * 1024, "{} bytes", script.len());
    for forbidden in ["innerHTML", "eval(", "document.write", ".cssText"] {
        assert!(!script.contains(forbidden), "{forbidden}");
    }
    let if_none_match = [("if-none-match", &*tag)];
    let response = browser
        .send("GET", "/.curfew/warning.js", &if_none_match)
        .await;
    assert_eq!(response.status(), 304);
    assert_eq!(response.headers()["etag"], *tag);
    assert_eq!(read_text(response).await, "");
}
