use bytes::Bytes;

use super::denial::{assert_denied, assert_redirected};
use super::{ESCAPED_TARGET, NAVIGATION_HEADERS, TARGET};
use crate::harness::Harness;
use crate::support::curfew::CreatedSession;
use crate::support::eventually;

/// Asserts that the application receives the unchanged request and the identity of the session.
pub async fn assert_live_session_is_allowed(harness: &Harness, session: &CreatedSession) {
    let answer = harness.get(session, TARGET).await;
    assert_eq!(answer.header_or_empty("set-cookie"), "app=1; Path=/");
    let backend_request = harness.assert_allowed(&answer);
    assert_eq!(backend_request.uri.to_string(), TARGET);
    harness
        .snippet
        .identity_headers
        .assert_only_alice(&backend_request);
}

/// Asserts that request bodies arrive complete, with a content length and in chunks.
pub async fn assert_bodies_arrive(harness: &Harness, session: &CreatedSession) {
    let body = format!(r#"{{"long":"{}"}}"#, "x".repeat(200_000));
    let cookie = session.cookie();
    let header_pairs = [("cookie", &*cookie), ("content-type", "application/json")];
    let bytes = Bytes::from(body.clone());
    let answer = harness
        .send_body("POST", "/post", &header_pairs, bytes.clone())
        .await;
    let backend_request = harness.assert_allowed(&answer);
    assert_eq!(
        backend_request.header_values("content-type"),
        ["application/json"]
    );
    assert_eq!(backend_request.body, body);
    let answer = harness
        .send_body("POST", "/post", &header_pairs[1..], bytes)
        .await;
    assert_denied(harness, "POST", &answer, "%2Fpost");

    let host = harness.snippet.host;
    let chunked = format!(
        "POST /post HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let answer = harness.send_raw(&chunked).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(harness.application.take_one().body, body);
}

/// Asserts that the denial of an ended session names the reason. The denial must not clear the cookie, because
/// the denial could arrive after a newer sign-in.
pub async fn assert_ended_session_is_denied(harness: &Harness) {
    let session = harness.curfew.sign_in("alice").await;
    harness.curfew.revoke(&session).await;
    let cookie = session.cookie();
    let header_pairs = [NAVIGATION_HEADERS, &[("cookie", &*cookie)][..]].concat();
    let answer = harness.send("GET", TARGET, &header_pairs).await;
    assert_redirected(harness, &answer, ESCAPED_TARGET, "revoked");
    assert!(!answer.headers.contains_key("set-cookie"), "{answer:?}");
}

/// Stops Curfew, and asserts that every request is denied.
pub async fn assert_denied_without_curfew(harness: &Harness, session: &CreatedSession) {
    harness.curfew.signal("KILL");
    eventually("Curfew is down", async || {
        tokio::net::TcpStream::connect(harness.curfew.check)
            .await
            .is_err()
    })
    .await;
    for target in ["/private", "/public"] {
        let answer = harness.get(session, target).await;
        assert_eq!(answer.status, harness.snippet.down_status, "{answer:?}");
        harness.assert_application_not_reached();
    }
}
