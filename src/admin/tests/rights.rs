//! The rights of admin tokens, and the limit for wrong tokens.

use std::net::SocketAddr;

use super::*;
use crate::admin::rights::ROUTES;
use crate::credential::Right;
use crate::session::SessionId;

/// Generates a token with a name and rights. Returns its configuration entry and its text.
fn named_token(name: &str, rights: &[Right]) -> (NamedToken, String) {
    let token = AdminToken::generate().unwrap();
    let named = NamedToken {
        name: name.to_owned(),
        hash: token.hash,
        rights: rights.to_vec(),
    };
    (named, token.token.expose().clone())
}

/// Sends a request and returns the status and the JSON of the response.
async fn send_to(routes: &Router, request: Request<Body>) -> (StatusCode, Value) {
    let response = routes.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

/// Builds a request with this admin token.
fn request(method: &str, path: &str, token: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(CONTENT_TYPE, "application/json")
        .body(Body::from("{}"))
        .unwrap()
}

/// Tests every route with every set of rights.
#[tokio::test]
async fn each_route_needs_its_right() {
    let operations = described_operations();
    let routes =
        ROUTES.map(|(method, path, _)| (method.to_owned(), path.replace("{id}", &"0".repeat(32))));
    let (operations, mut untested) = (BTreeSet::from_iter(operations), BTreeSet::from_iter(routes));
    assert_eq!(
        untested, operations,
        "the table and the OpenAPI document must have the same operations"
    );
    let fixture = Fixture::new();
    for rights_bits in 0..8_u8 {
        let rights = Right::ALL.into_iter().enumerate();
        let rights = rights.filter(|(bit, _)| rights_bits & (1 << bit) != 0);
        let rights: Vec<Right> = rights.map(|(_, right)| right).collect();
        let (token, text) = named_token("some-job", &rights);
        let routes = fixture.with_tokens(vec![token]);
        for (method, path, right) in ROUTES {
            let path = path.replace("{id}", &"0".repeat(32));
            let (status, problem) = send_to(&routes, request(method, &path, &text)).await;
            let refused = status == StatusCode::FORBIDDEN;
            assert_eq!(
                refused,
                !rights.contains(&right),
                "{method} {path} {rights:?}: {problem}"
            );
            if refused {
                let detail = problem["detail"].as_str().unwrap();
                let expected = format!("\"some-job\" does not have the right `{right}`");
                assert!(detail.contains(&expected), "{detail}");
            }
            untested.remove(&(method.to_owned(), path));
        }
        // An unsupported method is answered with 405, with any rights.
        let (status, _) = send_to(&routes, request("PUT", "/api/v1/sessions", &text)).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        let (status, _) = send_to(&routes, request("GET", "/api/v1/openapi.json", &text)).await;
        assert_eq!(status, StatusCode::OK);
    }
    assert!(
        untested.is_empty(),
        "the test should send a request to every route in the table"
    );
}

#[tokio::test]
async fn a_refused_token_changes_nothing() {
    let fixture = Fixture::new();
    let started = fixture.bench.sign_in("default").await;
    let (reader, text) = named_token("reader", &[Right::Read]);
    let routes = fixture.with_tokens(vec![reader]);
    let one = format!("/api/v1/sessions/{}", started.id);
    for (method, path) in [
        ("DELETE", &*one),
        ("DELETE", "/api/v1/sessions?subject=alice"),
    ] {
        assert_eq!(
            send_to(&routes, request(method, path, &text)).await.0,
            StatusCode::FORBIDDEN
        );
    }
    let (status, shown) = send_to(&routes, request("GET", &one, &text)).await;
    assert_eq!((status, &shown["state"]), (StatusCode::OK, &json!("live")));
}

/// Builds a request of a client with this address.
fn request_from(address: &str, token: &str) -> Request<Body> {
    let mut request = request("GET", "/api/v1/policies", token);
    let address: SocketAddr = address.parse().unwrap();
    request.extensions_mut().insert(address);
    request
}

#[tokio::test]
async fn wrong_tokens_are_limited_and_valid_tokens_are_not() {
    let fixture = Fixture::new();
    let client = "203.0.113.7:1000";
    for count in 0..30 {
        let response = fixture
            .routes
            .clone()
            .oneshot(request_from(client, "guess"))
            .await
            .unwrap();
        if count < 10 {
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{count}");
        } else {
            assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS, "{count}");
            assert_eq!(response.headers()["retry-after"], "6");
        }
        // Other addresses are not limited, and neither is a valid token from the same address.
        let valid_from_other_address = send_to(
            &fixture.routes,
            request_from("198.51.100.1:9", &fixture.token),
        )
        .await;
        assert_eq!(valid_from_other_address.0, StatusCode::OK);
        let valid_from_same_address =
            send_to(&fixture.routes, request_from(client, &fixture.token)).await;
        assert_eq!(valid_from_same_address.0, StatusCode::OK);
    }
    let wrong_from_other_address =
        send_to(&fixture.routes, request_from("203.0.113.8:1", "guess")).await;
    assert_eq!(wrong_from_other_address.0, StatusCode::UNAUTHORIZED);
    fixture
        .bench
        .set_time_after_start(std::time::Duration::from_secs(6));
    let later = send_to(&fixture.routes, request_from(client, "guess")).await;
    assert_eq!(later.0, StatusCode::UNAUTHORIZED);
    let metrics = fixture.bench.parts.metrics.render().unwrap();
    for (result, count) in [("wrong", 12), ("limited", 20)] {
        let line = format!(
            "curfew_admin_credentials_refused_total{{interface=\"api\",result=\"{result}\"}} {count}"
        );
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
}

/// Checks that all operators share a reserved subject, and that no user can sign in with this subject.
#[tokio::test]
async fn operator_sessions_are_listed_and_cannot_be_created() {
    use crate::actor::Actor;
    use crate::session::{Attributes, Subject};

    let fixture = Fixture::new();
    let id = SessionId::from_bytes([7; 16]);
    let attributes = Attributes::from_sorted([
        (Attributes::OPERATOR, ["token:ops"]),
        (Attributes::OPERATOR_TOKEN, ["mark"]),
        (Attributes::SOURCE, ["console"]),
    ]);
    let lifecycle = &fixture.bench.lifecycle;
    lifecycle
        .start_operator_session(id, attributes.unwrap(), None, &Actor::CURFEW)
        .await
        .unwrap();
    let (_, page) = fixture
        .send_json("GET", "/api/v1/sessions?subject=curfew-operator", None)
        .await;
    let session = &page["sessions"][0];
    assert_eq!(session["id"], id.to_string());
    assert_eq!(session["source"], "console");
    assert_eq!(session["policy"], "curfew-console");
    assert_eq!(
        session["attributes"],
        json!({ "curfew_operator": ["token:ops"] })
    );
    let (_, all_sessions) = fixture.send_json("GET", "/api/v1/sessions", None).await;
    assert_eq!(
        all_sessions["sessions"],
        json!([]),
        "operators should not be in the list of users"
    );
    for body in [
        json!({ "subject": Subject::operators() }),
        json!({ "subject": "alice", "policy": "curfew-console" }),
    ] {
        fixture
            .assert_refused(400, "POST", "/api/v1/sessions", Some(body))
            .await;
    }
    let path = format!("/api/v1/sessions/{id}");
    let (status, _) = fixture.send_json("DELETE", &path, None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(lifecycle.use_operator_session(id).await.unwrap(), None);
}
