//! Black box: a client, the real NGINX with the file of `deploy/nginx`, Curfew, a real Redis and a
//! backend that remembers what reaches it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::Duration;

use curfew::credential::{KeyRing, SigningKey};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response};
use serde_json::json;
use support::backend::{BODY, Backend};
use support::curfew::{Curfew, Setup, SignedIn, client};
use support::eventually;
use support::nginx::Nginx;
use support::redis::RedisServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Everything between a client and its application.
struct Stack {
    redis: RedisServer,
    setup: Setup,
    curfew: Curfew,
    nginx: Nginx,
    backend: Backend,
    client: reqwest::Client,
}

impl Stack {
    async fn start() -> Self {
        Self::with_limits("15m", "12h").await
    }

    async fn with_limits(idle: &str, absolute: &str) -> Self {
        let redis = RedisServer::start();
        let setup = Setup::redis(&redis.url()).limits(idle, absolute);
        let curfew = setup.start();
        let backend = Backend::start().await;
        let nginx = Nginx::start(curfew.check, backend.address);
        eventually("Curfew is ready", async || {
            curfew.ops("/readyz").await.0 == 200
        })
        .await;
        Self {
            redis,
            setup,
            curfew,
            nginx,
            backend,
            client: client(),
        }
    }

    async fn send(&self, method: &str, path: &str, lines: &[(&str, &str)]) -> Response {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let method: Method = method.parse().unwrap();
        let request = self.client.request(method, self.nginx.url(path));
        request.headers(headers).send().await.unwrap()
    }

    async fn get(&self, session: &SignedIn) -> Response {
        self.send("GET", "/", &[("cookie", &session.cookie())])
            .await
    }

    /// The client is let in, and the backend reached once.
    async fn admitted(&self, session: &SignedIn) {
        let response = self.get(session).await;
        assert_eq!(
            response.status(),
            200,
            "{}\n{}",
            self.curfew.log(),
            self.nginx.errors()
        );
        self.backend.take_one();
    }

    /// The client is refused for `reason`, and the backend is not reached.
    async fn refused(&self, session: &SignedIn, reason: &str) -> Response {
        let response = self.get(session).await;
        assert_eq!(
            (response.status().as_u16(), reason_of(&response)),
            (401, reason)
        );
        assert!(self.backend.take().is_empty());
        response
    }

    /// Sends bytes as they are, and reads the answer to its end.
    async fn raw(&self, text: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.nginx.address)
            .await
            .unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn reason_of(response: &Response) -> &str {
    let reason = response.headers().get("x-session-reason");
    reason.map_or("", |reason| reason.to_str().unwrap())
}

#[tokio::test]
async fn a_signed_in_client_reaches_the_backend_with_its_identity() {
    let stack = Stack::start().await;
    let session = stack.curfew.sign_in("alice").await;
    let response = stack.get(&session).await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["set-cookie"],
        "app=1; Path=/",
        "the backend's own, alone"
    );
    assert_eq!(response.text().await.unwrap(), BODY);
    let seen = stack.backend.take_one();
    assert_eq!(seen.all("x-session-user"), ["alice"]);
    assert_eq!(seen.all("x-session-groups"), ["staff,admin"]);
    assert_eq!(seen.all("x-session-email"), ["alice@example.com"]);
    assert_eq!(seen.all("x-session-policy"), ["default"]);
    assert_eq!(seen.all("x-session-id"), [&session.id]);

    let bearer = format!("Bearer {}", session.token);
    let response = stack
        .send("GET", "/teapot", &[("authorization", &bearer)])
        .await;
    assert_eq!(
        response.status(),
        418,
        "the backend's status is the client's"
    );
    assert_eq!(stack.backend.take_one().all("x-session-user"), ["alice"]);
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
    let seen = stack.backend.take_one();
    assert_eq!(
        (seen.method.as_str(), seen.uri.to_string().as_str()),
        ("POST", "/orders?a=1&b=%2F")
    );
    assert_eq!(seen.all("content-type"), ["application/json"]);
    assert_eq!(seen.body, body.to_string());
}

/// Idle limit 4 s, so activity every second keeps the session for longer than that.
#[tokio::test]
async fn activity_keeps_a_session_and_idleness_ends_it() {
    let stack = Stack::with_limits("4s", "1h").await;
    let session = stack.curfew.sign_in("alice").await;
    for _ in 0..7 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        stack.admitted(&session).await;
    }
    tokio::time::sleep(Duration::from_millis(4050)).await;
    let response = stack.refused(&session, "idle_timeout").await;
    assert_eq!(
        response.headers()["set-cookie"],
        "__Host-session=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0"
    );
    stack.refused(&session, "idle_timeout").await;
    let again = stack.curfew.sign_in("alice").await;
    stack.admitted(&again).await;
    let ended = stack.curfew.audited("session.ended");
    assert_eq!(ended.len(), 1, "one session has ended, once: {ended:?}");
    assert_eq!(ended[0]["reason"], "idle_timeout");
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
            assert!(sent < after.plus(limit), "admitted too late");
        } else {
            assert_eq!(reason_of(&response), "absolute_timeout");
            assert!(answered >= before.plus(limit), "refused too early");
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    stack.refused(&session, "absolute_timeout").await;
}

/// The same, without waiting, by ageing the session.
#[tokio::test]
async fn limits_of_hours_are_kept_to_the_second() {
    let stack = Stack::start().await;
    let session = stack.curfew.sign_in("alice").await;
    stack.curfew.age(&session, "14m").await;
    stack.admitted(&session).await;
    stack.curfew.age(&session, "15m").await;
    stack.refused(&session, "idle_timeout").await;
    let session = stack.curfew.sign_in("alice").await;
    for _ in 0..51 {
        stack.curfew.age(&session, "14m").await;
        stack.admitted(&session).await;
    }
    stack.curfew.age(&session, "6m").await;
    stack.refused(&session, "absolute_timeout").await;
}

#[tokio::test]
async fn a_background_request_does_not_keep_a_session() {
    let stack = Stack::start().await;
    let session = stack.curfew.sign_in("alice").await;
    stack.curfew.age(&session, "10m").await;
    let seen = stack.curfew.show(&session).await["last_seen"].clone();
    let cookie = session.cookie();
    for (method, line) in [
        ("HEAD", ("accept", "*/*")),
        ("GET", ("x-session-passive", "1")),
        ("GET", ("sec-purpose", "prefetch")),
    ] {
        let response = stack.send(method, "/", &[("cookie", &cookie), line]).await;
        assert_eq!(response.status(), 200);
        assert_eq!(
            stack.curfew.show(&session).await["last_seen"],
            seen,
            "{method} {line:?}"
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
        stack.curfew.show(&session).await["last_seen"],
        seen,
        "a method that is forged"
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
    stack.admitted(&one).await;
    stack.curfew.revoke(&one).await;
    stack.refused(&one, "revoked").await;
    stack.admitted(&two).await;
    let answer = stack
        .curfew
        .call("DELETE", "/api/v1/sessions?subject=alice", None)
        .await;
    assert_eq!(answer.1, json!({ "revoked": 1 }));
    stack.refused(&two, "revoked").await;
    stack.admitted(&bob).await;
}

#[tokio::test]
async fn whoever_has_no_session_is_refused() {
    let stack = Stack::start().await;
    let session = stack.curfew.sign_in("alice").await;
    let ring = |key: &str| KeyRing::new(vec![SigningKey::parse(key).unwrap()]).unwrap();
    let unknown = ring(&stack.setup.key).issue().unwrap().expose();
    let forged = ring(&SigningKey::generate().unwrap())
        .issue()
        .unwrap()
        .expose();
    let good = &session.token;
    let cookie = |value: &str| format!("__Host-session={value}");
    let long = "x".repeat(4000);
    for (lines, reason) in [
        (vec![], "no_credential"),
        (
            vec![("cookie", "session=1; app=2".to_owned())],
            "no_credential",
        ),
        (
            vec![("cookie", format!("__host-session={good}"))],
            "no_credential",
        ),
        (vec![("cookie", cookie(&unknown))], "unknown_session"),
        (vec![("cookie", cookie(&forged))], "invalid_credential"),
        (
            vec![("cookie", cookie(&good[..good.len() - 1]))],
            "invalid_credential",
        ),
        (
            vec![("cookie", cookie(&good.to_lowercase()))],
            "invalid_credential",
        ),
        (vec![("cookie", cookie(&session.id))], "invalid_credential"),
        (vec![("cookie", cookie(&long))], "invalid_credential"),
        (vec![("cookie", cookie(""))], "invalid_credential"),
        (
            vec![("cookie", format!("{}; {}", cookie(good), cookie("x")))],
            "malformed_request",
        ),
        (
            vec![("cookie", format!("{}; {}", cookie("x"), cookie(good)))],
            "malformed_request",
        ),
        (
            vec![("cookie", cookie(good)), ("cookie", cookie("x"))],
            "malformed_request",
        ),
        (
            vec![("cookie", cookie(good)), ("cookie", cookie(&unknown))],
            "malformed_request",
        ),
        (
            vec![
                ("cookie", cookie(good)),
                ("authorization", format!("Bearer {unknown}")),
            ],
            "malformed_request",
        ),
        (
            vec![("authorization", format!("Bearer {forged}"))],
            "invalid_credential",
        ),
        (
            vec![("authorization", format!("Basic {good}"))],
            "no_credential",
        ),
    ] {
        let lines: Vec<(&str, &str)> = lines
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
            let response = stack.send("GET", path, &lines).await;
            let answer = (response.status().as_u16(), reason_of(&response));
            assert_eq!(answer, (401, reason), "{path} {lines:?}");
        }
        assert!(stack.backend.take().is_empty(), "{lines:?}");
    }
    stack.admitted(&session).await;
}

#[tokio::test]
async fn no_client_asks_the_check_itself() {
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
    let forged = [
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
    let lines: Vec<_> = forged.into_iter().chain([("cookie", &*cookie)]).collect();
    let response = stack.send("GET", "/", &lines).await;
    assert_eq!(response.status(), 200);
    let seen = stack.backend.take_one();
    assert_eq!(seen.all("x-session-user"), ["alice"]);
    assert_eq!(seen.all("x-session-groups"), ["staff,admin"]);
    assert_eq!(seen.all("x-session-email"), ["alice@example.com"]);
    assert_eq!(seen.all("x-session-id"), [&session.id]);
    assert_eq!(seen.all("x-session-policy"), ["default"]);
    assert!(
        !format!("{:?}", seen.headers).contains("root"),
        "under any name"
    );

    // Nor where there is no session at all.
    let response = stack.send("GET", "/sign-in", &forged).await;
    assert_eq!(response.status(), 200);
    let seen = format!("{:?}", stack.backend.take_one().headers);
    assert!(!seen.contains("root") && !seen.contains("wheel"), "{seen}");
    assert!(
        !seen.to_lowercase().replace('_', "-").contains("x-session"),
        "{seen}"
    );
}

/// An attribute that the session does not have can't be supplied by the client.
#[tokio::test]
async fn an_identity_that_is_not_known_is_empty() {
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
    let lines = [
        ("cookie", &*cookie),
        ("x-session-groups", "wheel"),
        ("x-session-email", "a@b"),
    ];
    assert_eq!(stack.send("GET", "/", &lines).await.status(), 200);
    let seen = stack.backend.take_one();
    assert_eq!(seen.all("x-session-user"), ["bob"]);
    assert!(seen.all("x-session-groups").concat().is_empty());
    assert!(seen.all("x-session-email").concat().is_empty());
}

#[tokio::test]
async fn forged_originals_change_no_decision() {
    let stack = Stack::start().await;
    let session = stack.curfew.sign_in("alice").await;
    let forged = [
        ("x-original-url", "https://evil.example.com/sign-in"),
        ("x-original-method", "OPTIONS"),
        ("x_original_url", "https://evil.example.com/"),
        ("x-forwarded-host", "evil.example.com"),
        ("x-forwarded-proto", "gopher"),
        ("x-forwarded-uri", "/sign-in"),
        ("x-forwarded-method", "HEAD"),
    ];
    let response = stack.send("GET", "/", &forged).await;
    assert_eq!(reason_of(&response), "no_credential");
    let cookie = session.cookie();
    let lines: Vec<_> = forged.into_iter().chain([("cookie", &*cookie)]).collect();
    assert_eq!(stack.send("GET", "/", &lines).await.status(), 200);
    let host = format!("\"host\":\"{}\"", stack.nginx.address);
    assert!(!stack.curfew.log().contains("evil"));
    stack.curfew.revoke(&session).await;
    stack.send("GET", "/", &lines).await;
    assert!(stack.curfew.log().contains(&host), "{}", stack.curfew.log());
}

#[tokio::test]
async fn methods_and_conditions_are_the_backends_business() {
    let stack = Stack::start().await;
    let session = stack.curfew.sign_in("alice").await;
    let cookie = session.cookie();
    for method in ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
        let lines = [
            ("cookie", &*cookie),
            ("if-none-match", "*"),
            ("range", "bytes=0-0"),
        ];
        let response = stack.send(method, "/", &lines).await;
        assert_eq!(response.status(), 200, "{method}");
        assert_eq!(stack.backend.take_one().method.as_str(), method);
        let response = stack.send(method, "/", &lines[1..]).await;
        assert_eq!(response.status(), 401, "{method}");
    }
    assert!(stack.backend.take().is_empty());
}

#[tokio::test]
async fn a_web_socket_is_checked_when_it_is_opened() {
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
    let lines: Vec<_> = upgrade.into_iter().chain([("cookie", &*cookie)]).collect();
    stack.send("GET", "/socket", &lines).await;
    let seen = stack.backend.take_one();
    assert_eq!(seen.all("upgrade"), ["websocket"]);
    assert_eq!(seen.all("connection"), ["upgrade"]);
}

/// What reqwest would not send.
#[tokio::test]
async fn strange_requests_are_refused() {
    let stack = Stack::start().await;
    let session = stack.curfew.sign_in("alice").await;
    let cookie = format!("Cookie: {}\r\nConnection: close\r\n\r\n", session.cookie());
    for (head, status) in [
        // Without a host there is no original URL.
        ("GET / HTTP/1.0\r\n", "401"),
        ("GET / HTTP/1.1\r\nHost: a b\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: user@a\r\n", "401"),
        ("GET / HTTP/1.1\r\nHost: a,b\r\n", "401"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n", "400"),
        ("GET /\x01 HTTP/1.1\r\nHost: a\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\n", "200"),
    ] {
        let answer = stack.raw(&format!("{head}{cookie}")).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{head:?}: {answer}"
        );
        let reached = stack.backend.take().len();
        assert_eq!(reached, usize::from(status == "200"), "{head:?}");
    }
}

#[tokio::test]
async fn without_redis_nobody_is_let_in_and_nobody_is_logged_out() {
    let mut stack = Stack::start().await;
    let session = stack.curfew.sign_in("alice").await;
    let unknown = KeyRing::new(vec![SigningKey::parse(&stack.setup.key).unwrap()]).unwrap();
    let unknown = format!("__Host-session={}", unknown.issue().unwrap().expose());
    stack.admitted(&session).await;
    stack.redis.stop();
    for cookie in [&session.cookie(), &unknown] {
        let response = stack.send("GET", "/", &[("cookie", cookie)]).await;
        assert_eq!(
            response.status(),
            500,
            "NGINX's word for an answer that is none"
        );
        assert_eq!(reason_of(&response), "store_unavailable");
        assert!(
            !response.headers().contains_key("set-cookie"),
            "the cookie is left alone"
        );
    }
    assert!(stack.backend.take().is_empty());
    assert_eq!(
        stack.curfew.check(&session).await,
        (503, "store_unavailable".to_owned())
    );
    assert_eq!(stack.curfew.ops("/readyz").await.0, 503);
    assert_eq!(stack.curfew.ops("/livez").await.0, 200);

    stack.redis.start_again();
    eventually("Curfew is ready again", async || {
        stack.curfew.ops("/readyz").await.0 == 200
    })
    .await;
    stack.admitted(&session).await;
}

#[tokio::test]
async fn a_redis_that_hangs_is_not_waited_for() {
    let stack = Stack::start().await;
    let session = stack.curfew.sign_in("alice").await;
    stack.redis.freeze();
    let waited = curfew::clock::Stopwatch::start();
    let response = stack.get(&session).await;
    assert_eq!(
        (response.status().as_u16(), reason_of(&response)),
        (500, "store_unavailable")
    );
    // The budget is 100 ms; NGINX itself would have waited for 2 s.
    assert!(waited.seconds() < 1.9, "{} s", waited.seconds());
    stack.redis.thaw();
    eventually("Curfew is ready again", async || {
        stack.curfew.ops("/readyz").await.0 == 200
    })
    .await;
    stack.backend.take();
    stack.admitted(&session).await;
}

#[tokio::test]
async fn without_curfew_nobody_is_let_in() {
    let stack = Stack::start().await;
    let session = stack.curfew.sign_in("alice").await;
    stack.admitted(&session).await;
    stack.curfew.stop().await;
    let request = stack.client.get(stack.nginx.url("/"));
    let response = request
        .header("cookie", session.cookie())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 500);
    assert!(stack.backend.take().is_empty());
}
