//! Clients that say what only proxies may say.

use crate::bench::{Bench, Lines};

/// Headers that name an address which needs no session, and a method that is no activity.
const ORIGINALS: &Lines<'static> = &[
    ("x-forwarded-uri", "/sign-in"),
    ("x-forwarded-method", "OPTIONS"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-path", "/sign-in"),
    ("x-forwarded-prefix", "/sign-in"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x_forwarded_uri", "/sign-in"),
    ("x_forwarded_method", "OPTIONS"),
    ("x_forwarded_host", "evil.example"),
    ("x-original-url", "https://evil.example/sign-in"),
    ("x-original-uri", "/sign-in"),
    ("x-original-method", "OPTIONS"),
    ("x_original_url", "https://evil.example/sign-in"),
    ("x-rewrite-url", "/sign-in"),
    ("x-envoy-original-path", "/sign-in"),
    ("x-auth-request-redirect", "https://evil.example/"),
    ("forwarded", "for=127.0.0.1;host=evil.example;proto=https"),
    ("path", "/sign-in"),
    ("method", "OPTIONS"),
];

pub async fn originals(bench: &mut Bench) {
    let answer = bench.send("GET", "/private", ORIGINALS).await;
    bench.refused(&answer, "no_credential");
    // Whose word counts is seen by the address to return to.
    let host = bench.kind.redirecting_host;
    let mut lines = vec![("host", host), ("sec-fetch-mode", "navigate")];
    lines.extend(ORIGINALS);
    let answer = bench.send("GET", "/private", &lines).await;
    bench.unreached();
    assert_eq!(answer.status, 302);
    let location = answer.one("location").unwrap();
    assert!(!location.contains("evil"), "{location}");
    assert!(!location.contains("sign-in"), "{location}");
    assert!(location.contains("private"), "{location}");

    let session = bench.curfew.sign_in("alice").await;
    let cookie = session.cookie();
    let mut lines = vec![("cookie", &*cookie)];
    lines.extend(ORIGINALS);
    bench.admitted(&bench.send("GET", "/private", &lines).await, "alice");
}

const FORGED: &Lines<'static> = &[
    ("X-Session-User", "root"),
    ("x-session-user", "root"),
    ("X_Session_User", "root"),
    ("x-session_user", "root"),
    ("x_session-user", "root"),
    ("x.session.user", "root"),
    ("x!session~user", "root"),
    ("x-session-groups", "root"),
    ("x_session_groups", "root"),
    ("x.session-groups", "root"),
    ("x-session-email", "root"),
    ("x_session_email", "root"),
    ("x-session-id", "root"),
    ("x_session_id", "root"),
    ("x-session-policy", "root"),
    ("x^session|policy", "root"),
];

/// No header in which an application could find the forged identity: many read any character
/// that is neither letter nor digit as an underscore.
fn assert_not_forged(headers: &http::HeaderMap) {
    for (name, value) in headers {
        let read: String = name
            .as_str()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        assert!(
            !read.starts_with("x_session") || value != "root",
            "{name}: {value:?}"
        );
    }
}

pub async fn identity(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    let cookie = session.cookie();
    let mut lines = vec![("cookie", &*cookie)];
    lines.extend(FORGED);
    let seen = bench.admitted(&bench.send("GET", "/", &lines).await, "alice");
    assert_not_forged(&seen.headers);
    assert_eq!(seen.all("x-session-groups"), ["staff,admin"]);
    assert_eq!(seen.all("x-session-id"), [&session.id]);
    // What is not known is not the client's to say either.
    let nobody = bench
        .curfew
        .sign_in_with("bob", serde_json::json!({}))
        .await;
    let cookie = nobody.cookie();
    lines[0].1 = &cookie;
    let seen = bench.admitted(&bench.send("GET", "/", &lines).await, "bob");
    assert_not_forged(&seen.headers);
    for name in ["x-session-groups", "x-session-email"] {
        assert!(seen.all(name).join("").is_empty(), "{seen:?}");
    }
}

pub async fn identity_in_public(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    let cookie = session.cookie();
    for cookie in [&*cookie, "a=1"] {
        let mut lines = vec![("cookie", cookie)];
        lines.extend(FORGED);
        let answer = bench.send("GET", "/sign-in", &lines).await;
        assert_eq!(answer.status, 200);
        let seen = bench.backend.take_one();
        assert_not_forged(&seen.headers);
        assert!(seen.all("x-session-user").join("").is_empty(), "{seen:?}");
    }
}

pub async fn connection(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    let cookie = session.cookie();
    for connection in [
        "Cookie, X-Session-User, X-Session-Groups, X-Session-Id",
        "close, X-Session-User, Cookie, X-Forwarded-Uri, X-Original-URL, Host",
        "x-session-user",
        "X-Forwarded-Method, X-Forwarded-Uri, X-Forwarded-Host, X-Forwarded-Proto",
    ] {
        let lines = [
            ("cookie", &*cookie),
            ("connection", connection),
            ("x-session-user", "root"),
        ];
        let answer = bench.send("GET", "/private", &lines).await;
        // Whole, or not at all; Envoy takes some of these for a bad request.
        match answer.status {
            400 | 401 => bench.unreached(),
            _ => {
                let seen = bench.admitted(&answer, "alice");
                assert_eq!(
                    seen.all("x-session-groups"),
                    ["staff,admin"],
                    "{connection}"
                );
                assert_eq!(seen.all("x-session-id"), [&session.id], "{connection}");
            }
        }
        let answer = bench.send("GET", "/private", &lines[1..]).await;
        assert!([400, 401].contains(&answer.status), "{connection}");
        bench.unreached();
    }
}

pub async fn preflight(bench: &mut Bench) {
    let cors = [
        ("origin", "https://other.example.com"),
        ("access-control-request-method", "GET"),
        ("x-original-method", "OPTIONS"),
        ("x-forwarded-method", "OPTIONS"),
        ("method", "OPTIONS"),
        ("x-http-method-override", "OPTIONS"),
    ];
    bench.refused(&bench.send("OPTIONS", "/", &cors).await, "no_credential");
    bench.refused(&bench.send("GET", "/", &cors).await, "no_credential");
    for (method, keeps) in [("GET", true), ("OPTIONS", false)] {
        let session = bench.curfew.sign_in("alice").await;
        let cookie = session.cookie();
        let mut lines = vec![("cookie", &*cookie)];
        lines.extend(cors);
        bench.curfew.age(&session, "8m").await;
        bench.admitted(&bench.send(method, "/", &lines).await, "alice");
        bench.curfew.age(&session, "8m").await;
        let answer = bench.get(&session, "/").await;
        if keeps {
            bench.admitted(&answer, "alice");
        } else {
            bench.refused(&answer, "idle_timeout");
        }
    }
}
