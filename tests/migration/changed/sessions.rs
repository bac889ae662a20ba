use bytes::Bytes;

use super::denial::{assert_denied, assert_redirected};
use super::{ESCAPED, NAVIGATION, TARGET};
use crate::bench::Bench;
use crate::support::curfew::CreatedSession;
use crate::support::eventually;

/// Asserts that the application receives the unchanged request and the identity of the session.
pub async fn live(bench: &Bench, session: &CreatedSession) {
    let answer = bench.get(session, TARGET).await;
    assert_eq!(answer.header("set-cookie"), "app=1; Path=/");
    let seen = bench.assert_allowed(&answer);
    assert_eq!(seen.uri.to_string(), TARGET);
    bench.snippet.names.assert_only_alice(&seen);
}

/// Asserts that request bodies arrive complete, with a content length and in chunks.
pub async fn bodies(bench: &Bench, session: &CreatedSession) {
    let body = format!(r#"{{"long":"{}"}}"#, "x".repeat(200_000));
    let cookie = session.cookie();
    let lines = [("cookie", &*cookie), ("content-type", "application/json")];
    let bytes = Bytes::from(body.clone());
    let answer = bench
        .send_body("POST", "/post", &lines, bytes.clone())
        .await;
    let seen = bench.assert_allowed(&answer);
    assert_eq!(seen.header_values("content-type"), ["application/json"]);
    assert_eq!(seen.body, body);
    let answer = bench.send_body("POST", "/post", &lines[1..], bytes).await;
    assert_denied(bench, "POST", &answer, "%2Fpost");

    let host = bench.snippet.host;
    let chunked = format!(
        "POST /post HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let answer = bench.raw(&chunked).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(bench.application.take_one().body, body);
}

/// Asserts that the denial of an ended session names the reason. It must not clear the cookie, because it could
/// arrive after a newer sign-in.
pub async fn ended(bench: &Bench) {
    let session = bench.curfew.sign_in("alice").await;
    bench.curfew.revoke(&session).await;
    let cookie = session.cookie();
    let lines = [NAVIGATION, &[("cookie", &*cookie)][..]].concat();
    let answer = bench.send("GET", TARGET, &lines).await;
    assert_redirected(bench, &answer, ESCAPED, "revoked");
    assert!(!answer.headers.contains_key("set-cookie"), "{answer:?}");
}

/// Stops Curfew, and asserts that every request is denied.
pub async fn without_curfew(bench: &Bench, session: &CreatedSession) {
    bench.curfew.signal("KILL");
    eventually("Curfew is down", async || {
        tokio::net::TcpStream::connect(bench.curfew.check)
            .await
            .is_err()
    })
    .await;
    for target in ["/private", "/public"] {
        let answer = bench.get(session, target).await;
        assert_eq!(answer.status, bench.snippet.down, "{answer:?}");
        bench.assert_application_not_reached();
    }
}
