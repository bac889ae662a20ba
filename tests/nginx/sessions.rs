//! Tests that activity keeps sessions live, and that sessions time out and can be revoked.

use super::*;

#[tokio::test]
async fn a_signed_in_client_reaches_the_backend_with_its_identity() {
    let stack = Stack::start().await;
    let session = stack.curfew.sign_in("alice").await;
    let response = stack.get(&session).await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["set-cookie"],
        "app=1; Path=/",
        "the answer should set only the backend's own cookie"
    );
    assert_eq!(response.text().await.unwrap(), BODY);
    let backend_request = stack.backend.take_one();
    assert_eq!(backend_request.header_values("x-session-user"), ["alice"]);
    assert_eq!(
        backend_request.header_values("x-session-groups"),
        ["staff,admin"]
    );
    assert_eq!(
        backend_request.header_values("x-session-email"),
        ["alice@example.com"]
    );
    assert_eq!(
        backend_request.header_values("x-session-policy"),
        ["default"]
    );
    assert_eq!(backend_request.header_values("x-session-id"), [&session.id]);

    let authorization = format!("Bearer {}", session.token);
    let response = stack
        .send("GET", "/teapot", &[("authorization", &authorization)])
        .await;
    assert_eq!(
        response.status(),
        418,
        "the client should get the backend's status"
    );
    assert_eq!(
        stack.backend.take_one().header_values("x-session-user"),
        ["alice"]
    );
}

#[tokio::test]
async fn a_post_keeps_its_type_and_body() {
    let stack = Stack::start().await;
    let session = stack.curfew.sign_in("alice").await;
    let body = json!({ "text": "x".repeat(100_000) });
    let request = stack.client.post(stack.nginx.url("/orders?a=1&b=%2F"));
    let response = request
        .header("cookie", session.cookie())
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let backend_request = stack.backend.take_one();
    assert_eq!(
        (
            backend_request.method.as_str(),
            backend_request.uri.to_string().as_str()
        ),
        ("POST", "/orders?a=1&b=%2F")
    );
    assert_eq!(
        backend_request.header_values("content-type"),
        ["application/json"]
    );
    assert_eq!(backend_request.body, body.to_string());
}

/// The idle limit is 4 s. Activity every second keeps the session alive for longer than 4 s.
#[tokio::test]
async fn activity_keeps_a_session_and_idleness_ends_it() {
    let stack = Stack::with_limits("4s", "1h").await;
    let session = stack.curfew.sign_in("alice").await;
    for _ in 0..7 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        stack.assert_allowed(&session).await;
    }
    tokio::time::sleep(Duration::from_millis(4050)).await;
    let response = stack.assert_denied(&session, "idle_timeout").await;
    assert!(!response.headers().contains_key("set-cookie"));
    stack.assert_denied(&session, "idle_timeout").await;
    let again = stack.curfew.sign_in("alice").await;
    stack.assert_allowed(&again).await;
    let ended = stack.curfew.audit_events("session.ended");
    assert_eq!(
        ended.len(),
        1,
        "there should be one event, for the one ended session: {ended:?}"
    );
    assert_eq!(ended[0]["event.reason"], "idle_timeout");
}

#[tokio::test]
async fn steady_activity_does_not_pass_the_absolute_limit() {
    let stack = Stack::with_limits("4s", "6s").await;
    let before = support::now();
    let session = stack.curfew.sign_in("alice").await;
    let after = support::now();
    let limit = Duration::from_secs(6);
    loop {
        let sent = support::now();
        let response = stack.get(&session).await;
        let answered = support::now();
        if response.status() == 200 {
            stack.backend.take_one();
            assert!(sent < after.plus(limit), "allowed after the limit");
        } else {
            assert_eq!(reason_of(&response), "absolute_timeout");
            assert!(answered >= before.plus(limit), "denied before the limit");
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    stack.assert_denied(&session, "absolute_timeout").await;
}

/// Tests long limits without waiting: the admin API changes the age of the session.
#[tokio::test]
async fn long_limits_are_exact_to_the_second() {
    let stack = Stack::start().await;
    let session = stack.curfew.sign_in("alice").await;
    stack.curfew.age(&session, "14m").await;
    stack.assert_allowed(&session).await;
    stack.curfew.age(&session, "15m").await;
    stack.assert_denied(&session, "idle_timeout").await;
    let session = stack.curfew.sign_in("alice").await;
    for _ in 0..51 {
        stack.curfew.age(&session, "14m").await;
        stack.assert_allowed(&session).await;
    }
    stack.curfew.age(&session, "6m").await;
    stack.assert_denied(&session, "absolute_timeout").await;
}

#[tokio::test]
async fn a_background_request_does_not_extend_a_session() {
    let stack = Stack::start().await;
    let session = stack.curfew.sign_in("alice").await;
    stack.curfew.age(&session, "10m").await;
    let last_seen = stack.curfew.fetch_session(&session).await["last_seen"].clone();
    let cookie = session.cookie();
    for (method, header) in [
        ("HEAD", ("accept", "*/*")),
        ("GET", ("x-session-passive", "1")),
        ("GET", ("sec-purpose", "prefetch")),
    ] {
        let response = stack
            .send(method, "/", &[("cookie", &cookie), header])
            .await;
        assert_eq!(response.status(), 200);
        assert_eq!(
            stack.curfew.fetch_session(&session).await["last_seen"],
            last_seen,
            "{method} {header:?}"
        );
    }
    stack
        .send(
            "GET",
            "/",
            &[("cookie", &cookie), ("x-original-method", "HEAD")],
        )
        .await;
    assert_ne!(
        stack.curfew.fetch_session(&session).await["last_seen"],
        last_seen,
        "a forged method must not make the request passive"
    );
}

#[tokio::test]
async fn a_revocation_takes_effect_on_the_next_request() {
    let stack = Stack::start().await;
    let (one, two) = (
        stack.curfew.sign_in("alice").await,
        stack.curfew.sign_in("alice").await,
    );
    let bob = stack.curfew.sign_in("bob").await;
    stack.assert_allowed(&one).await;
    stack.curfew.revoke(&one).await;
    stack.assert_denied(&one, "revoked").await;
    stack.assert_allowed(&two).await;
    let answer = stack
        .curfew
        .call("DELETE", "/api/v1/sessions?subject=alice", None)
        .await;
    assert_eq!(answer.1["revoked"], 1);
    stack.assert_denied(&two, "revoked").await;
    stack.assert_allowed(&bob).await;
}
