use axum::response::Response;
use http::header::LOCATION;

use crate::contract::fixture::{Fixture, denial};
use crate::testing::MINUTE;

const PROTO: (&str, &str) = ("x-forwarded-proto", "https");
const HOST: (&str, &str) = ("host", "app.example.com");

async fn check(fixture: &Fixture, method: &str, path: &str, more: &[(&str, &str)]) -> Response {
    let header_lines = [&[PROTO, HOST], more].concat();
    fixture.send_request(method, path, &header_lines).await
}

#[tokio::test]
async fn any_method_and_any_path_below_the_prefix_are_checked() {
    let fixture = Fixture::new().await;
    let cookie = fixture.cookie();
    let cookie = [("cookie", &*cookie)];
    for method in [
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND",
    ] {
        for path in [
            "/ext-authz/",
            "/ext-authz/a/b?c=d",
            "/ext-authz//a/../b;c",
            "/ext-authz/%ff%2F..%00",
            "/policy/strict/ext-authz/",
            "/policy/default/ext-authz/policy/x/ext-authz/",
        ] {
            let response = check(&fixture, method, path, &cookie).await;
            assert_eq!(response.status(), 200, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_return_address_is_the_path_below_the_prefix() {
    let fixture = Fixture::new().await;
    let navigate = [("sec-fetch-mode", "navigate")];
    let response = check(&fixture, "GET", "/ext-authz/a%2Fb?c=d", &navigate).await;
    assert_eq!(response.status(), 302);
    assert_eq!(
        response.headers()[LOCATION],
        "https://login.example.com/?rd=https%3A%2F%2Fapp.example.com%2Fa%252Fb%3Fc%3Dd&reason=no_credential"
    );
}

#[tokio::test]
async fn a_missing_input_is_not_guessed() {
    let fixture = Fixture::new().await;
    let cookie = fixture.cookie();
    let cookie = ("cookie", &*cookie);
    let forwarded = ("x-forwarded-host", "app.example.com");
    let literal = [("method", "GET"), ("path", "/")];
    for (path, header_lines) in [
        ("/ext-authz/", &[PROTO, cookie][..]),
        ("/ext-authz/", &[PROTO, forwarded, cookie]),
        ("/ext-authz/", &[PROTO, HOST, HOST, cookie]),
        ("/ext-authz/", &[PROTO, PROTO, HOST, cookie]),
        ("/ext-authz", &[PROTO, HOST, cookie]),
        ("/ext-authz", &[PROTO, HOST, cookie, literal[0], literal[1]]),
        ("/ext-authz?/", &[PROTO, HOST, cookie]),
        ("/policy/nonesuch/ext-authz/", &[PROTO, HOST, cookie]),
    ] {
        let response = fixture.send_request("GET", path, header_lines).await;
        let (status, reason, challenge, cookie) = denial(&response);
        assert_eq!(
            (status, reason, cookie),
            (401, "malformed_request", None),
            "{path} {header_lines:?}"
        );
        let detail = response.headers()["x-session-detail"].to_str().unwrap();
        assert!(challenge.unwrap().contains(detail), "{detail}");
    }
    // Only return addresses use the scheme, so a check without a scheme is valid.
    let response = fixture
        .send_request("GET", "/ext-authz/", &[HOST, cookie])
        .await;
    assert_eq!(response.status(), 200);
}

/// Over HTTP/2 the host is `:authority`, which the HTTP library puts into the URI.
#[tokio::test]
async fn the_authority_of_http_2_is_the_host() {
    let fixture = Fixture::new().await;
    let cookie = fixture.cookie();
    let cookie = ("cookie", &*cookie);
    let url = "http://app.example.com/ext-authz/a";
    for (header_lines, status) in [
        (&[cookie][..], 200),
        (&[cookie, HOST], 200),
        (&[cookie, ("host", "public.example.com")], 401),
    ] {
        let response = fixture.send_request("GET", url, header_lines).await;
        assert_eq!(response.status(), status, "{header_lines:?}");
    }
    let header_lines = [("sec-fetch-mode", "navigate")];
    let response = fixture.send_request("GET", url, &header_lines).await;
    let location = response.headers()[LOCATION].to_str().unwrap();
    assert!(
        location.contains("rd=https%3A%2F%2Fapp.example.com%2Fa"),
        "{location}"
    );
}

#[tokio::test]
async fn literal_headers_replace_other_inputs_if_configured() {
    let fixture = Fixture::with_literal_headers(true).await;
    let cookie = fixture.cookie();
    let cookie = ("cookie", &*cookie);
    let (head, get, path) = (("method", "HEAD"), ("method", "GET"), ("path", "/a?b"));
    fixture.bench.set_time_after_start(MINUTE);
    let response = check(&fixture, "GET", "/ext-authz", &[head, path, cookie]).await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        fixture.bench.store.touch_count(),
        0,
        "the original method HEAD must make the request passive"
    );
    let navigate = ("sec-fetch-mode", "navigate");
    let response = check(&fixture, "GET", "/ext-authz/x", &[get, path, navigate]).await;
    let location = response.headers()[LOCATION].to_str().unwrap();
    assert!(location.contains("example.com%2Fa%3Fb&"), "{location}");
    for header_lines in [
        &[get, cookie][..],
        &[path, cookie],
        &[get, path, path, cookie],
    ] {
        let response = check(&fixture, "GET", "/ext-authz/x", header_lines).await;
        assert_eq!(denial(&response).1, "malformed_request", "{header_lines:?}");
    }
}

#[tokio::test]
async fn the_deadline_of_a_stream_is_sent_only_with_the_setting() {
    for (stream_deadline, own, expected) in [
        (false, None, None),
        (true, None, Some("28800S")),
        (true, Some("5S"), Some("5S")),
    ] {
        let fixture = Fixture::with(|contracts| contracts.stream_deadline = stream_deadline).await;
        let cookie = fixture.cookie();
        let mut lines = vec![
            ("host", "app.example.com"),
            ("x-forwarded-proto", "https"),
            ("cookie", &*cookie),
        ];
        lines.extend(own.map(|own| ("grpc-timeout", own)));
        let response = fixture.send_request("GET", "/ext-authz/", &lines).await;
        assert_eq!(response.status(), 200);
        let deadline = response.headers().get("grpc-timeout");
        let deadline = deadline.map(|value| value.to_str().unwrap());
        assert_eq!(deadline, expected);
        let response = fixture
            .send_request("GET", "/auth-request", &[("cookie", &cookie)])
            .await;
        assert!(!response.headers().contains_key("grpc-timeout"));
    }
}
