//! Browsers send requests to Curfew itself, through the route in the proxy's file.

use serde_json::Value;

use crate::bench::{Answer, Bench};

const SAME_ORIGIN: (&str, &str) = ("sec-fetch-site", "same-origin");

fn status(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.one("cache-control"), Some("no-store"));
    serde_json::from_str(&answer.body).unwrap()
}

pub async fn endpoints(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    let cookie = session.cookie();
    let own = [("cookie", &*cookie)];
    let script = [("cookie", &*cookie), SAME_ORIGIN];
    bench.curfew.age(&session, "10m").await;
    // A status request is no activity.
    for _ in 0..2 {
        let left = status(&bench.send("GET", "/.curfew/session", &own).await);
        assert_eq!(left["subject"], "alice");
        let idle = left["idle_remaining"].as_f64().unwrap();
        assert!((280.0..=300.0).contains(&idle), "{idle}");
    }
    let answer = bench.send("POST", "/.curfew/keep-alive", &own).await;
    assert_eq!(
        answer.status, 403,
        "a request that is not from a page of this origin should get 403"
    );
    let left = status(&bench.send("POST", "/.curfew/keep-alive", &script).await);
    assert!(left["idle_remaining"].as_f64().unwrap() > 890.0, "{left}");
    let by_origin = format!("http://{}", crate::fleet::HOST);
    let other = [("cookie", &*cookie), ("origin", "https://evil.example")];
    let same = [("cookie", &*cookie), ("origin", &*by_origin)];
    for (lines, expected) in [(&other, 403), (&same, 200)] {
        let answer = bench.send("POST", "/.curfew/keep-alive", lines).await;
        assert_eq!(answer.status, expected, "{lines:?}");
    }
    let code = bench.send("GET", "/.curfew/warning.js", &[]).await;
    assert_eq!(code.status, 200);
    assert_eq!(
        code.one("content-type"),
        Some("text/javascript; charset=utf-8")
    );
    let page = bench
        .send("GET", "/.curfew/signed-out?reason=idle_timeout", &[])
        .await;
    assert!(page.body.contains("was not used for a while"), "{page:?}");
    let nobody = bench.send("GET", "/.curfew/session", &[]).await;
    assert_eq!(nobody.status, 401, "{nobody:?}");
    // This route reaches no other endpoint of Curfew.
    for path in [
        "/.curfew/../auth-request",
        "/.curfew/..%2fauth-request",
        "/.curfew/%2e%2e/api/v1/sessions",
        "/.curfew/nonesuch",
    ] {
        let status = bench.raw(&request(path)).await;
        assert!(matches!(status, 400 | 401 | 403 | 404), "{path}: {status}");
    }
    bench.assert_application_not_reached();
    let out = bench.send("POST", "/.curfew/sign-out", &script).await;
    assert_eq!(out.status, 204, "{out:?}");
    assert!(
        out.one("set-cookie").unwrap().contains("Max-Age=0"),
        "{out:?}"
    );
    bench.assert_denied(&bench.get(&session, "/").await, "signed_out");
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: app.example.com\r\nconnection: close\r\n\r\n")
}

/// A browser cannot reach the check endpoints with any form of their paths, so it gets no identity, assertion or
/// token.
pub async fn no_answer_of_a_check(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    for target in [
        "/ext-authz/..%2f.curfew/session",
        "/ext-authz/../.curfew/session",
        "/ext-authz/%2e%2e/.curfew/session",
        "/ext-authz/",
        "/.curfew/session",
        "/.curfew/../auth-request",
        "/.curfew/..%2fauth-request",
        "/.curfew/..%2fforward-auth",
        "/.curfew/..%2fext-authz/",
        "/.curfew/%2e%2e/forward-auth",
        "/.curfew/..;/forward-auth",
        "//.curfew/session",
        "/.curfew//../forward-auth",
        "/auth-request",
        "/forward-auth",
        "/policy/default/forward-auth",
        "/.well-known/jwks.json",
    ] {
        for more in ["", "X-Forwarded-Proto: https\r\n"] {
            let request = format!(
                "GET {target} HTTP/1.1\r\nHost: app.example.com\r\nCookie: {}\r\n{more}\
                 X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /\r\nX-Forwarded-Host: app.example.com\r\n\
                 X-Original-URL: https://app.example.com/\r\nX-Original-Method: GET\r\n\
                 Connection: close\r\n\r\n",
                session.cookie()
            );
            let answer = bench.raw_answer(&request).await.to_ascii_lowercase();
            for told in [
                "\nx-session-user:",
                "\nx-session-id:",
                "\nx-session-groups:",
                "\nx-curfew-assertion:",
                "\nx-access-token:",
                "\nauthorization:",
            ] {
                assert!(!answer.contains(told), "{target}: {answer}");
            }
            bench.backend.take();
        }
    }
}
