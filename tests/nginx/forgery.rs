//! Clients send forged credentials, identities and requests.

use super::*;

#[tokio::test]
async fn requests_without_a_session_are_denied() {
    let stack = Stack::start().await;
    let session = stack.curfew.sign_in("alice").await;
    let key_ring = |key: &str| KeyRing::new(vec![SigningKey::parse(key).unwrap()]).unwrap();
    let unknown_token = key_ring(&stack.setup.key).issue().unwrap().expose();
    let forged_token = key_ring(&SigningKey::generate().unwrap())
        .issue()
        .unwrap()
        .expose();
    let valid_token = &session.token;
    let cookie = |value: &str| format!("__Host-session={value}");
    let long_value = "x".repeat(4000);
    for (header_pairs, reason) in [
        (vec![], "no_credential"),
        (
            vec![("cookie", "session=1; app=2".to_owned())],
            "no_credential",
        ),
        (
            vec![("cookie", format!("__host-session={valid_token}"))],
            "no_credential",
        ),
        (vec![("cookie", cookie(&unknown_token))], "unknown_session"),
        (
            vec![("cookie", cookie(&forged_token))],
            "invalid_credential",
        ),
        (
            vec![("cookie", cookie(&valid_token[..valid_token.len() - 1]))],
            "invalid_credential",
        ),
        (
            vec![("cookie", cookie(&valid_token.to_lowercase()))],
            "invalid_credential",
        ),
        (vec![("cookie", cookie(&session.id))], "invalid_credential"),
        (vec![("cookie", cookie(&long_value))], "invalid_credential"),
        (vec![("cookie", cookie(""))], "invalid_credential"),
        (
            vec![(
                "cookie",
                format!("{}; {}", cookie(valid_token), cookie("x")),
            )],
            "malformed_request",
        ),
        (
            vec![(
                "cookie",
                format!("{}; {}", cookie("x"), cookie(valid_token)),
            )],
            "malformed_request",
        ),
        (
            vec![("cookie", cookie(valid_token)), ("cookie", cookie("x"))],
            "malformed_request",
        ),
        (
            vec![
                ("cookie", cookie(valid_token)),
                ("cookie", cookie(&unknown_token)),
            ],
            "malformed_request",
        ),
        (
            vec![
                ("cookie", cookie(valid_token)),
                ("authorization", format!("Bearer {unknown_token}")),
            ],
            "malformed_request",
        ),
        (
            vec![("authorization", format!("Bearer {forged_token}"))],
            "invalid_credential",
        ),
        (
            vec![("authorization", format!("Basic {valid_token}"))],
            "no_credential",
        ),
    ] {
        let header_pairs: Vec<(&str, &str)> = header_pairs
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        for path in [
            "/",
            "/a/b?c=d",
            "/_curfew/check/",
            "/%2e%2e/",
            "/?url=/sign-in",
        ] {
            let response = stack.send("GET", path, &header_pairs).await;
            let answer = (response.status().as_u16(), reason_of(&response));
            assert_eq!(answer, (401, reason), "{path} {header_pairs:?}");
        }
        assert!(stack.backend.take().is_empty(), "{header_pairs:?}");
    }
    stack.assert_allowed(&session).await;
}

#[tokio::test]
async fn clients_cannot_request_the_check_directly() {
    let stack = Stack::start().await;
    let session = stack.curfew.sign_in("alice").await;
    let response = stack
        .send("GET", "/_curfew/check", &[("cookie", &session.cookie())])
        .await;
    assert_eq!(response.status(), 404);
}

#[tokio::test]
async fn a_forged_identity_does_not_reach_the_backend() {
    let stack = Stack::start().await;
    let session = stack.curfew.sign_in("alice").await;
    let cookie = session.cookie();
    let forged_values = [
        ("x-session-user", "root"),
        ("X-SESSION-USER", "root"),
        ("x_session_user", "root"),
        ("x-session-groups", "wheel"),
        ("x_session_groups", "wheel"),
        ("x-session-email", "root@example.com"),
        ("x-session-id", "0"),
        ("x-session-policy", "lax"),
        ("connection", "close, x-session-user, cookie"),
    ];
    let header_pairs: Vec<_> = forged_values
        .into_iter()
        .chain([("cookie", &*cookie)])
        .collect();
    let response = stack.send("GET", "/", &header_pairs).await;
    assert_eq!(response.status(), 200);
    let seen = stack.backend.take_one();
    assert_eq!(seen.header_values("x-session-user"), ["alice"]);
    assert_eq!(seen.header_values("x-session-groups"), ["staff,admin"]);
    assert_eq!(seen.header_values("x-session-email"), ["alice@example.com"]);
    assert_eq!(seen.header_values("x-session-id"), [&session.id]);
    assert_eq!(seen.header_values("x-session-policy"), ["default"]);
    assert!(
        !format!("{:?}", seen.headers).contains("root"),
        "no header may contain the forged identity, whatever its name"
    );

    // Without a session, too, the forged identity does not reach the backend.
    let response = stack.send("GET", "/sign-in", &forged_values).await;
    assert_eq!(response.status(), 200);
    let seen = format!("{:?}", stack.backend.take_one().headers);
    assert!(!seen.contains("root") && !seen.contains("wheel"), "{seen}");
    assert!(
        !seen.to_lowercase().replace('_', "-").contains("x-session"),
        "{seen}"
    );
}

/// A client cannot add an attribute that the session does not have.
#[tokio::test]
async fn an_unknown_attribute_is_an_empty_header() {
    let stack = Stack::start().await;
    let (status, created) = stack
        .curfew
        .call(
            "POST",
            "/api/v1/sessions",
            Some(json!({ "subject": "bob" })),
        )
        .await;
    assert_eq!(status, 201);
    let cookie = format!("__Host-session={}", created["token"].as_str().unwrap());
    let header_pairs = [
        ("cookie", &*cookie),
        ("x-session-groups", "wheel"),
        ("x-session-email", "a@b"),
    ];
    assert_eq!(stack.send("GET", "/", &header_pairs).await.status(), 200);
    let seen = stack.backend.take_one();
    assert_eq!(seen.header_values("x-session-user"), ["bob"]);
    assert!(seen.header_values("x-session-groups").concat().is_empty());
    assert!(seen.header_values("x-session-email").concat().is_empty());
}

#[tokio::test]
async fn forged_router_inputs_change_no_decision() {
    let stack = Stack::start().await;
    let session = stack.curfew.sign_in("alice").await;
    let forged_values = [
        ("x-original-url", "https://evil.example.com/sign-in"),
        ("x-original-method", "OPTIONS"),
        ("x_original_url", "https://evil.example.com/"),
        ("x-forwarded-host", "evil.example.com"),
        ("x-forwarded-proto", "gopher"),
        ("x-forwarded-uri", "/sign-in"),
        ("x-forwarded-method", "HEAD"),
    ];
    let response = stack.send("GET", "/", &forged_values).await;
    assert_eq!(reason_of(&response), "no_credential");
    let cookie = session.cookie();
    let header_pairs: Vec<_> = forged_values
        .into_iter()
        .chain([("cookie", &*cookie)])
        .collect();
    assert_eq!(stack.send("GET", "/", &header_pairs).await.status(), 200);
    let host = "\"url.domain\":\"127.0.0.1\"";
    assert!(!stack.curfew.log().contains("evil"));
    stack.curfew.revoke(&session).await;
    stack.send("GET", "/", &header_pairs).await;
    assert!(stack.curfew.log().contains(host), "{}", stack.curfew.log());
}

#[tokio::test]
async fn methods_and_conditional_headers_reach_the_backend() {
    let stack = Stack::start().await;
    let session = stack.curfew.sign_in("alice").await;
    let cookie = session.cookie();
    for method in ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
        let header_pairs = [
            ("cookie", &*cookie),
            ("if-none-match", "*"),
            ("range", "bytes=0-0"),
        ];
        let response = stack.send(method, "/", &header_pairs).await;
        assert_eq!(response.status(), 200, "{method}");
        assert_eq!(stack.backend.take_one().method.as_str(), method);
        let response = stack.send(method, "/", &header_pairs[1..]).await;
        assert_eq!(response.status(), 401, "{method}");
    }
    assert!(stack.backend.take().is_empty());
}

#[tokio::test]
async fn a_web_socket_is_checked_when_it_opens() {
    let stack = Stack::start().await;
    let session = stack.curfew.sign_in("alice").await;
    let upgrade = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ];
    let response = stack.send("GET", "/socket", &upgrade).await;
    assert_eq!(response.status(), 401);
    assert!(stack.backend.take().is_empty());
    let cookie = session.cookie();
    let header_pairs: Vec<_> = upgrade.into_iter().chain([("cookie", &*cookie)]).collect();
    stack.send("GET", "/socket", &header_pairs).await;
    let seen = stack.backend.take_one();
    assert_eq!(seen.header_values("upgrade"), ["websocket"]);
    assert_eq!(seen.header_values("connection"), ["upgrade"]);
}

/// The test sends raw bytes, because reqwest does not send malformed requests.
#[tokio::test]
async fn malformed_requests_are_denied() {
    let stack = Stack::start().await;
    let session = stack.curfew.sign_in("alice").await;
    let cookie = format!("Cookie: {}\r\nConnection: close\r\n\r\n", session.cookie());
    for (head, status) in [
        // Without `Host`, NGINX uses the server name as the host.
        ("GET / HTTP/1.0\r\n", "200"),
        ("GET / HTTP/1.1\r\nHost: a b\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: user@a\r\n", "401"),
        ("GET / HTTP/1.1\r\nHost: a,b\r\n", "401"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n", "400"),
        ("GET /\x01 HTTP/1.1\r\nHost: a\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\n", "200"),
    ] {
        let answer = stack.send_raw(&format!("{head}{cookie}")).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{head:?}: {answer}"
        );
        let request_count = stack.backend.take().len();
        assert_eq!(request_count, usize::from(status == "200"), "{head:?}");
    }
}
