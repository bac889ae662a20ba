//! Browsers send requests to Curfew itself, through the route in the proxy's file.

use serde_json::Value;

use crate::harness::{Answer, Harness};

const SAME_ORIGIN: (&str, &str) = ("sec-fetch-site", "same-origin");

fn read_status(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    serde_json::from_str(&answer.body).unwrap()
}

pub async fn endpoints(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    let cookie = session.cookie();
    let own = [("cookie", &*cookie)];
    let script = [("cookie", &*cookie), SAME_ORIGIN];
    harness.curfew.age(&session, "10m").await;
    // A status request does not count as activity.
    for _ in 0..2 {
        let status = read_status(&harness.send("GET", "/.curfew/session", &own).await);
        assert_eq!(status["subject"], "alice");
        let idle = status["idle_remaining"].as_f64().unwrap();
        assert!((280.0..=300.0).contains(&idle), "{idle}");
    }
    let answer = harness.send("POST", "/.curfew/keep-alive", &own).await;
    assert_eq!(
        answer.status, 403,
        "a request that is not from a page of this origin should get 403"
    );
    let status = read_status(&harness.send("POST", "/.curfew/keep-alive", &script).await);
    assert!(
        status["idle_remaining"].as_f64().unwrap() > 890.0,
        "{status}"
    );
    let by_origin = format!("http://{}", crate::kinds::HOST);
    let other = [("cookie", &*cookie), ("origin", "https://evil.example")];
    let same = [("cookie", &*cookie), ("origin", &*by_origin)];
    for (header_pairs, expected) in [(&other, 403), (&same, 200)] {
        let answer = harness
            .send("POST", "/.curfew/keep-alive", header_pairs)
            .await;
        assert_eq!(answer.status, expected, "{header_pairs:?}");
    }
    let script_answer = harness.send("GET", "/.curfew/warning.js", &[]).await;
    assert_eq!(script_answer.status, 200);
    assert_eq!(
        script_answer.header("content-type"),
        Some("text/javascript; charset=utf-8")
    );
    let page = harness
        .send("GET", "/.curfew/signed-out?reason=idle_timeout", &[])
        .await;
    assert!(page.body.contains("was not used for a while"), "{page:?}");
    let answer_without_session = harness.send("GET", "/.curfew/session", &[]).await;
    assert_eq!(
        answer_without_session.status, 401,
        "{answer_without_session:?}"
    );
    // This route reaches no other endpoint of Curfew.
    for path in [
        "/.curfew/../auth-request",
        "/.curfew/..%2fauth-request",
        "/.curfew/%2e%2e/api/v1/sessions",
        "/.curfew/nonesuch",
    ] {
        let status = harness.send_raw(&http_request(path)).await;
        assert!(matches!(status, 400 | 401 | 403 | 404), "{path}: {status}");
    }
    harness.assert_application_not_reached();
    let sign_out = harness.send("POST", "/.curfew/sign-out", &script).await;
    assert_eq!(sign_out.status, 204, "{sign_out:?}");
    assert!(
        sign_out.header("set-cookie").unwrap().contains("Max-Age=0"),
        "{sign_out:?}"
    );
    harness.assert_denied(&harness.get(&session, "/").await, "signed_out");
}

fn http_request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: app.example.com\r\nconnection: close\r\n\r\n")
}

/// A browser cannot reach the check endpoints with any form of their paths, so it gets no identity, signed
/// identity (assertion) or token.
pub async fn no_answer_of_a_check(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
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
        for extra_header_line in ["", "X-Forwarded-Proto: https\r\n"] {
            let request = format!(
                "GET {target} HTTP/1.1\r\nHost: app.example.com\r\nCookie: {}\r\n{extra_header_line}\
                 X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /\r\nX-Forwarded-Host: app.example.com\r\n\
                 X-Original-URL: https://app.example.com/\r\nX-Original-Method: GET\r\n\
                 Connection: close\r\n\r\n",
                session.cookie()
            );
            let answer = harness
                .send_raw_and_read(&request)
                .await
                .to_ascii_lowercase();
            for forbidden_header in [
                "\nx-session-user:",
                "\nx-session-id:",
                "\nx-session-groups:",
                "\nx-curfew-assertion:",
                "\nx-access-token:",
                "\nauthorization:",
            ] {
                assert!(!answer.contains(forbidden_header), "{target}: {answer}");
            }
            harness.backend.take();
        }
    }
}
