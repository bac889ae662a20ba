use std::sync::atomic::Ordering;

use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, SET_COOKIE};

use crate::contract::fixture::{Fixture, denial, read_body};
use crate::testing::MINUTE;

const PROTO: (&str, &str) = ("x-forwarded-proto", "https");
const HOST: (&str, &str) = ("x-forwarded-host", "app.example.com");
const URI: (&str, &str) = ("x-forwarded-uri", "/a%2Fb?c=d");
const METHOD: (&str, &str) = ("x-forwarded-method", "GET");

/// Sends a check as Traefik and Caddy do, with additional headers, and returns the reply.
async fn send_check(fixture: &Fixture, path: &str, header_lines: &[(&str, &str)]) -> Response {
    let all = [&[PROTO, HOST, URI, METHOD], header_lines].concat();
    fixture.send_request("GET", path, &all).await
}

#[tokio::test]
async fn allow_is_an_empty_200_for_any_query() {
    let fixture = Fixture::new().await;
    for path in [
        "/forward-auth",
        "/forward-auth?rd=https://evil.example/",
        "/policy/strict/forward-auth?policy=default",
    ] {
        let response = send_check(&fixture, path, &[("cookie", &fixture.cookie())]).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["x-session-user"], "alice");
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        assert!(!response.headers().contains_key(CONTENT_TYPE));
        assert!(read_body(response).await.is_empty());
    }
}

#[tokio::test]
async fn a_browser_is_redirected_to_sign_in_and_back_to_its_page() {
    let fixture = Fixture::new().await;
    fixture.bench.set_time_after_start(15 * MINUTE);
    let cookie = fixture.cookie();
    let header_lines = [("cookie", &*cookie), ("accept", "text/html,*/*;q=0.8")];
    let response = send_check(&fixture, "/forward-auth", &header_lines).await;
    assert_eq!(response.status(), 302);
    assert_eq!(
        response.headers()[LOCATION],
        "https://login.example.com/?rd=https%3A%2F%2Fapp.example.com%2Fa%252Fb%3Fc%3Dd&reason=idle_timeout"
    );
    assert!(!response.headers().contains_key(SET_COOKIE));
    assert_eq!(response.headers()["x-session-reason"], "idle_timeout");
    assert!(!response.headers().contains_key("www-authenticate"));
    assert!(read_body(response).await.is_empty());
}

#[tokio::test]
async fn other_clients_get_a_reason_and_a_body_in_their_format() {
    let fixture = Fixture::new().await;
    let post = ("x-forwarded-method", "POST");
    let html = ("accept", "text/html");
    let page = "text/html; charset=utf-8";
    for (method, accept, content_type) in [
        (METHOD, ("accept", "application/json"), "application/json"),
        (METHOD, ("accept", "*/*"), "application/json"),
        (post, html, page),
    ] {
        let header_lines = [PROTO, HOST, URI, method, accept];
        let response = fixture
            .send_request("GET", "/forward-auth", &header_lines)
            .await;
        assert_eq!(
            denial(&response),
            (401, "no_credential", Some("Bearer"), None)
        );
        assert!(!response.headers().contains_key(LOCATION));
        assert_eq!(response.headers()[CONTENT_TYPE], content_type);
        let text = String::from_utf8(read_body(response).await).unwrap();
        assert!(text.contains("You are not signed in."), "{text}");
    }
    fixture.bench.store.all_fail.store(true, Ordering::SeqCst);
    let header_lines = [("cookie", &*fixture.cookie()), html];
    let response = send_check(&fixture, "/forward-auth", &header_lines).await;
    assert_eq!(denial(&response), (503, "store_unavailable", None, None));
}

#[tokio::test]
async fn each_of_the_four_input_headers_must_occur_once() {
    let fixture = Fixture::new().await;
    let cookie = fixture.cookie();
    let original = [
        ("x-original-url", "https://app.example.com/"),
        ("x-original-method", "GET"),
    ];
    for header_lines in [
        &[][..],
        &original,
        &[PROTO, URI, METHOD],
        &[PROTO, HOST, METHOD],
        &[PROTO, HOST, URI],
        &[PROTO, PROTO, HOST, URI, METHOD],
        &[PROTO, HOST, HOST, URI, METHOD],
        &[PROTO, HOST, URI, URI, METHOD],
        &[PROTO, HOST, URI, METHOD, METHOD],
        &[("x-forwarded-proto", "gopher"), HOST, URI, METHOD],
        &[("x-forwarded-proto", "https,http"), HOST, URI, METHOD],
        &[PROTO, ("x-forwarded-host", "a, b"), URI, METHOD],
        &[PROTO, ("x-forwarded-host", "a/b"), URI, METHOD],
        &[
            PROTO,
            HOST,
            ("x-forwarded-uri", "https://evil.example/"),
            METHOD,
        ],
        &[PROTO, HOST, ("x-forwarded-uri", ""), METHOD],
        &[PROTO, HOST, URI, ("x-forwarded-method", "GET /")],
    ] {
        let all = [header_lines, &[("cookie", &*cookie)]].concat();
        let response = fixture.send_request("GET", "/forward-auth", &all).await;
        let detail = response.headers()["x-session-detail"].to_str().unwrap();
        assert_eq!(
            denial(&response),
            (
                401,
                "malformed_request",
                Some(&*format!(
                    "Bearer error=\"invalid_request\", error_description=\"{detail}\""
                )),
                None
            ),
            "{header_lines:?}"
        );
        assert!(detail.starts_with("X-Forwarded-"), "{detail}");
    }
}

/// Only return addresses use the scheme, so a check without a scheme is valid.
#[tokio::test]
async fn the_scheme_may_be_missing() {
    let fixture = Fixture::new().await;
    let cookie = fixture.cookie();
    let header_lines = [HOST, URI, METHOD, ("cookie", &*cookie)];
    let response = fixture
        .send_request("GET", "/forward-auth", &header_lines)
        .await;
    assert_eq!(response.status(), 200);
    let header_lines = [HOST, URI, METHOD, ("sec-fetch-mode", "navigate")];
    let response = fixture
        .send_request("GET", "/forward-auth", &header_lines)
        .await;
    let location = response.headers()[LOCATION].to_str().unwrap();
    assert!(
        location.contains("rd=https%3A%2F%2Fapp.example.com"),
        "{location}"
    );
}

const SENT_FROM: (&str, &str) = ("x-sent-from", "nginx-ingress-controller");
const CONTROLLER_METHOD: (&str, &str) = ("x-original-method", "GET");
const CONTROLLER_URL: (&str, &str) = ("x-original-url", "https://App.example.com.:443/a%2Fb?c=d");
const NAVIGATE: (&str, &str) = ("sec-fetch-mode", "navigate");

/// ingress-nginx sends the check with `auth_request`, which turns a redirect into an error.
#[tokio::test]
async fn ingress_nginx_gets_a_status_that_it_understands() {
    let fixture = Fixture::new().await;
    let header_lines = [SENT_FROM, CONTROLLER_METHOD, CONTROLLER_URL, NAVIGATE];
    let response = send_check(&fixture, "/forward-auth", &header_lines).await;
    assert_eq!(response.status(), 401);
    assert!(response.headers().contains_key(LOCATION));
    let response = send_check(&fixture, "/forward-auth", &[NAVIGATE]).await;
    assert_eq!(response.status(), 302);
}

/// Without the ConfigMap, ingress-nginx forwards the client's own `X-Forwarded-` headers.
#[tokio::test]
async fn a_client_of_ingress_nginx_cannot_choose_the_original_request() {
    let fixture = Fixture::new().await;
    let cookie = fixture.cookie();
    let differs = "differs from the header of ingress-nginx";
    for (own, problem) in [
        (vec![CONTROLLER_METHOD, CONTROLLER_URL], None),
        (vec![CONTROLLER_METHOD], Some("X-Original-URL is missing")),
        (vec![CONTROLLER_URL], Some("X-Original-Method is missing")),
        (
            vec![CONTROLLER_METHOD, CONTROLLER_URL, CONTROLLER_URL],
            Some("X-Original-URL comes more than once"),
        ),
        (
            vec![("x-original-method", "POST"), CONTROLLER_URL],
            Some("X-Forwarded-Method"),
        ),
        (
            vec![
                CONTROLLER_METHOD,
                ("x-original-url", "https://app.example.com/a/b?c=d"),
            ],
            Some("X-Forwarded-Uri"),
        ),
        (
            vec![
                CONTROLLER_METHOD,
                ("x-original-url", "https://app.example.com/a%2Fb"),
            ],
            Some("X-Forwarded-Uri"),
        ),
        (
            vec![
                CONTROLLER_METHOD,
                ("x-original-url", "https://shop.example.com/a%2Fb?c=d"),
            ],
            Some("X-Forwarded-Host"),
        ),
    ] {
        let header_lines = [&own[..], &[SENT_FROM, ("cookie", &*cookie)]].concat();
        let response = send_check(&fixture, "/forward-auth", &header_lines).await;
        let Some(problem) = problem else {
            assert_eq!(response.status(), 200);
            continue;
        };
        assert_eq!(response.status(), 401, "{problem}");
        let detail = response.headers()["x-session-detail"].to_str().unwrap();
        assert!(detail.starts_with(problem), "{detail}");
        assert!(
            problem.contains(' ') || detail.contains(differs),
            "{detail}"
        );
    }
}

/// ingress-nginx removes the client's `X-Forwarded-Proto`, and only the ConfigMap sets the header again. So a check
/// without the header shows that the ConfigMap is missing.
#[tokio::test]
async fn ingress_nginx_without_the_config_map_is_denied() {
    let fixture = Fixture::new().await;
    let cookie = fixture.cookie();
    let header_lines = [
        HOST,
        URI,
        METHOD,
        SENT_FROM,
        CONTROLLER_METHOD,
        CONTROLLER_URL,
    ];
    let header_lines = [&header_lines[..], &[("cookie", &*cookie)]].concat();
    let response = fixture
        .send_request("GET", "/forward-auth", &header_lines)
        .await;
    assert_eq!(response.status(), 401);
    let detail = &response.headers()["x-session-detail"];
    assert_eq!(detail, "X-Forwarded-Proto is missing");
}

#[tokio::test]
async fn inputs_of_auth_request_are_ignored() {
    let fixture = Fixture::new().await;
    let forged = [
        ("x-original-url", "https://evil.example/open"),
        ("x-original-method", "OPTIONS"),
        ("sec-fetch-mode", "navigate"),
    ];
    let response = send_check(&fixture, "/forward-auth", &forged).await;
    let location = response.headers()[LOCATION].to_str().unwrap();
    assert!(
        location.contains("rd=https%3A%2F%2Fapp.example.com%2Fa"),
        "{location}"
    );
}

#[tokio::test]
async fn a_frame_gets_a_page_with_a_link_for_the_whole_window() {
    let fixture = Fixture::new().await;
    let navigate = ("sec-fetch-mode", "navigate");
    for dest in ["iframe", "frame", "embed", "object"] {
        let header_lines = [navigate, ("sec-fetch-dest", dest)];
        let response = send_check(&fixture, "/forward-auth", &header_lines).await;
        assert_eq!(response.status(), 401, "{dest}");
        assert!(!response.headers().contains_key(LOCATION));
        assert_eq!(response.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        let page = String::from_utf8(read_body(response).await).unwrap();
        assert!(page.contains("target=\"_top\""), "{page}");
    }
    let header_lines = [navigate, ("sec-fetch-dest", "document")];
    let response = send_check(&fixture, "/forward-auth", &header_lines).await;
    assert_eq!(response.status(), 302);
}

#[tokio::test]
async fn a_web_socket_request_is_checked_like_any_other() {
    let fixture = Fixture::new().await;
    let cookie = fixture.cookie();
    for proto in ["ws", "wss"] {
        let header_lines = [
            ("x-forwarded-proto", proto),
            HOST,
            URI,
            METHOD,
            ("cookie", &*cookie),
        ];
        let response = fixture
            .send_request("GET", "/forward-auth", &header_lines)
            .await;
        assert_eq!(response.status(), 200, "{proto}");
    }
}
