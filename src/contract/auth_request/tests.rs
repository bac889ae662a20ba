use std::sync::atomic::Ordering;

use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER, SET_COOKIE};

use crate::contract::fixture::{Fixture, denial, read_body};
use crate::contract::reply::SESSION_REASON;
use crate::retry_after::is_retry_after;
use crate::testing::{HOUR, MINUTE};

/// Sends a check as NGINX does, with additional headers, and returns the reply.
async fn send_check(
    fixture: &Fixture,
    path: &str,
    header_lines: &[(&str, &str)],
) -> axum::response::Response {
    let mut all = vec![
        ("x-original-url", "https://app.example.com/a?b=c"),
        ("x-original-method", "GET"),
    ];
    all.extend_from_slice(header_lines);
    fixture.send_request("GET", path, &all).await
}

fn invalid_request_challenge(detail: &str) -> String {
    format!("Bearer error=\"invalid_request\", error_description=\"{detail}\"")
}

/// Sends a check with the session when the time `after` has passed since its start. Returns the reply.
async fn check_after(fixture: &Fixture, after: std::time::Duration) -> axum::response::Response {
    fixture.bench.set_time_after_start(after);
    send_check(fixture, "/auth-request", &[("cookie", &fixture.cookie())]).await
}

#[tokio::test]
async fn allow_is_an_empty_200_with_every_identity_header() {
    let fixture = Fixture::new().await;
    for path in [
        "/auth-request",
        "/policy/default/auth-request",
        "/policy/strict/auth-request?policy=x",
    ] {
        let response = send_check(&fixture, path, &[("cookie", &fixture.cookie())]).await;
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
        assert!(read_body(response).await.is_empty());
    }
}

#[tokio::test]
async fn the_method_and_conditional_headers_of_a_check_are_ignored() {
    let fixture = Fixture::new().await;
    let cookie = fixture.cookie();
    for method in [
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND",
    ] {
        let header_lines = [
            ("x-original-url", "https://app.example.com/"),
            ("x-original-method", method),
            ("cookie", &cookie),
            ("if-none-match", "*"),
            ("if-modified-since", "Wed, 21 Oct 2026 07:28:00 GMT"),
            ("range", "bytes=0-1"),
            ("upgrade", "websocket"),
        ];
        let response = fixture
            .send_request(method, "/auth-request", &header_lines)
            .await;
        assert_eq!(response.status(), StatusCode::OK, "{method}");
    }
}

#[tokio::test]
async fn a_denial_has_the_end_reason_and_keeps_the_cookie() {
    let fixture = Fixture::new().await;
    let response = check_after(&fixture, 15 * MINUTE).await;
    let challenge = "Bearer error=\"invalid_token\", error_description=\"idle_timeout\"";
    assert_eq!(
        denial(&response),
        (401, "idle_timeout", Some(challenge), None)
    );
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    assert!(!response.headers().contains_key("x-session-user"));
    assert!(read_body(response).await.is_empty());
}

#[tokio::test]
async fn denials_without_a_session_do_not_clear_the_cookie() {
    let fixture = Fixture::new().await;
    let unknown = fixture.bench.parts.key_ring.issue().unwrap().expose();
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
        (
            &*twice,
            "malformed_request",
            invalid_request_challenge(
                "the request carries two session cookies with different values: /.curfew/clear-cookies clears them",
            ),
        ),
    ] {
        let response = send_check(&fixture, "/auth-request", &[("cookie", cookie)]).await;
        assert_eq!(denial(&response), (401, reason, Some(&*challenge), None));
    }
}

#[tokio::test]
async fn step_up_has_an_rfc_9470_challenge() {
    let fixture = Fixture::new().await;
    fixture.bench.set_time_after_start(14 * MINUTE);
    let header_lines = [("cookie", &*fixture.cookie())];
    let response = send_check(&fixture, "/policy/strict/auth-request", &header_lines).await;
    let challenge = "Bearer error=\"insufficient_user_authentication\", max_age=1800";
    assert_eq!(
        denial(&response),
        (401, "reauthentication_required", Some(challenge), None)
    );
}

#[tokio::test]
async fn store_errors_are_503_and_end_no_session() {
    let fixture = Fixture::new().await;
    fixture.bench.store.all_fail.store(true, Ordering::SeqCst);
    let response = check_after(&fixture, 9 * HOUR).await;
    assert_eq!(denial(&response), (503, "store_unavailable", None, None));
    assert!(is_retry_after(&response.headers()[RETRY_AFTER]));
}

#[tokio::test]
async fn only_two_headers_name_the_original_request() {
    let fixture = Fixture::new().await;
    let cookie = fixture.cookie();
    let url = ("x-original-url", "https://app.example.com/");
    let method = ("x-original-method", "GET");
    let input_of_other_contract =
        "is not an input of /auth-request: use /forward-auth, or clear the header in the proxy";
    for (header_lines, detail) in [
        (&[][..], "X-Original-URL is missing".to_owned()),
        (&[url], "X-Original-Method is missing".to_owned()),
        (&[method], "X-Original-URL is missing".to_owned()),
        (
            &[url, url, method],
            "X-Original-URL comes more than once".to_owned(),
        ),
        (
            &[url, method, method],
            "X-Original-Method comes more than once".to_owned(),
        ),
        (
            &[
                url,
                method,
                ("x-original-url", "https://other.example.com/"),
            ],
            "X-Original-URL comes more than once".to_owned(),
        ),
        (
            &[("x-original-url", "/only/a/path"), method],
            "X-Original-URL does not begin with http:// or https://".to_owned(),
        ),
        (
            &[("x-original-url", "https://u:p@app.example.com/"), method],
            "X-Original-URL has no valid host".to_owned(),
        ),
        (
            &[("x-original-url", "https://app.example.com/a b"), method],
            "X-Original-URL has no valid path".to_owned(),
        ),
        (
            &[url, ("x-original-method", "GET /")],
            "X-Original-Method is not a valid HTTP method".to_owned(),
        ),
        (
            &[url, ("x-original-method", "")],
            "X-Original-Method is not a valid HTTP method".to_owned(),
        ),
        (
            &[
                method,
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "app.example.com"),
                ("x-forwarded-uri", "/"),
            ],
            format!("X-Forwarded-Uri {input_of_other_contract}"),
        ),
        // Traefik's provider for ingress-nginx forwards the client's own `X-Original-` headers.
        (
            &[url, method, ("x-forwarded-method", "GET")],
            format!("X-Forwarded-Method {input_of_other_contract}"),
        ),
        (
            &[url, method, ("x-forwarded-uri", "/")],
            format!("X-Forwarded-Uri {input_of_other_contract}"),
        ),
        (
            &[url, method, ("x-forwarded-uri", "")],
            format!("X-Forwarded-Uri {input_of_other_contract}"),
        ),
    ] {
        let mut all = header_lines.to_vec();
        all.push(("cookie", &*cookie));
        let response = fixture.send_request("GET", "/auth-request", &all).await;
        let challenge = invalid_request_challenge(&detail);
        assert_eq!(
            denial(&response),
            (401, "malformed_request", Some(&*challenge), None),
            "{header_lines:?}"
        );
        assert_eq!(response.headers()["x-session-detail"], detail);
    }
    let response = send_check(
        &fixture,
        "/policy/nonesuch/auth-request",
        &[("cookie", &cookie)],
    )
    .await;
    assert_eq!(denial(&response).1, "malformed_request");
    assert_eq!(
        response.headers()["x-session-detail"],
        "the policy that the proxy names is not configured"
    );
}

#[tokio::test]
async fn the_original_method_is_checked() {
    let fixture = Fixture::new().await;
    let cookie = fixture.cookie();
    let url = ("x-original-url", "https://app.example.com/");
    let (head, get) = (("x-original-method", "HEAD"), ("x-original-method", "GET"));
    fixture.bench.set_time_after_start(MINUTE);
    fixture
        .send_request("GET", "/auth-request", &[url, head, ("cookie", &cookie)])
        .await;
    assert_eq!(fixture.bench.store.touch_count(), 0);
    fixture
        .send_request("HEAD", "/auth-request", &[url, get, ("cookie", &cookie)])
        .await;
    assert_eq!(fixture.bench.store.touch_count(), 1);
}

#[tokio::test]
async fn other_paths_are_not_served() {
    let fixture = Fixture::new().await;
    for path in [
        "/",
        "/auth-request/",
        "/auth-request/x",
        "/api/v1/sessions",
        "/metrics",
    ] {
        let response = send_check(&fixture, path, &[("cookie", &fixture.cookie())]).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        let text = String::from_utf8(read_body(response).await).unwrap();
        assert!(text.contains("/auth-request       NGINX"), "{text}");
    }
}

/// NGINX understands only some statuses, so the reply is a 401 with the address of the sign-in page in `Location`.
#[tokio::test]
async fn a_browser_gets_the_sign_in_address() {
    let fixture = Fixture::new().await;
    let navigate = ("sec-fetch-mode", "navigate");
    let response = send_check(&fixture, "/auth-request", &[navigate]).await;
    assert_eq!(denial(&response).0, 401);
    assert_eq!(
        response.headers()[LOCATION],
        "https://login.example.com/?rd=https%3A%2F%2Fapp.example.com%2Fa%3Fb%3Dc&reason=no_credential"
    );
    assert!(read_body(response).await.is_empty());
    let response = send_check(&fixture, "/auth-request", &[("sec-fetch-mode", "cors")]).await;
    assert!(!response.headers().contains_key(LOCATION));
    // A frame cannot show the sign-in page of a provider.
    let frame = ("sec-fetch-dest", "iframe");
    let response = send_check(&fixture, "/auth-request", &[navigate, frame]).await;
    assert_eq!(denial(&response).0, 401);
    assert!(!response.headers().contains_key(LOCATION));
    assert_eq!(response.headers()["x-session-frame"], "sign-in");
}
