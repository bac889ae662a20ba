//! Sessions live and end as their policy requires.

use crate::harness::Harness;
use crate::support::backend::BODY;

pub async fn live_session(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    let answer = harness.get(&session, "/page?x=1").await;
    let backend_request = harness.assert_allowed(&answer, "alice");
    assert_eq!(backend_request.uri.to_string(), "/page?x=1");
    assert_eq!(backend_request.header_values("host"), ["app.example.com"]);
    assert_eq!(answer.body, BODY);
    assert_eq!(
        backend_request.header_values("x-session-groups"),
        ["staff,admin"]
    );
    assert_eq!(
        backend_request.header_values("x-session-email"),
        ["alice@example.com"]
    );
    assert_eq!(backend_request.header_values("x-session-id"), [&session.id]);
    assert_eq!(
        backend_request.header_values("x-session-policy"),
        ["default"]
    );
    let answer = harness.get(&session, "/teapot").await;
    assert_eq!((answer.status, &*answer.body), (418, BODY));
    harness.backend.take_one();
}

pub async fn idle_limit(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    harness.curfew.age(&session, "14m 50s").await;
    harness.assert_allowed(&harness.get(&session, "/").await, "alice");
    harness.curfew.age(&session, "15m").await;
    for _ in 0..2 {
        harness.assert_denied(&harness.get(&session, "/").await, "idle_timeout");
    }
    // After a new sign-in, requests are allowed again.
    let session = harness.curfew.sign_in("alice").await;
    harness.assert_allowed(&harness.get(&session, "/").await, "alice");
}

pub async fn absolute_limit(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    for _ in 0..5 {
        harness.curfew.age(&session, "11m 50s").await;
        harness.assert_allowed(&harness.get(&session, "/").await, "alice");
    }
    harness.curfew.age(&session, "50s").await;
    harness.assert_denied(&harness.get(&session, "/").await, "absolute_timeout");
}

pub async fn activity_extends_session(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    for method in ["GET", "POST", "DELETE"] {
        harness.curfew.age(&session, "14m").await;
        let cookie = session.cookie();
        let answer = harness.send(method, "/", &[("cookie", &cookie)]).await;
        harness.assert_allowed(&answer, "alice");
    }
}

pub async fn passive_requests(harness: &mut Harness) {
    for (method, line) in [
        ("HEAD", ("accept", "*/*")),
        ("GET", ("x-session-passive", "1")),
        ("GET", ("sec-purpose", "prefetch;prerender")),
        ("POST", ("kbn-system-request", "true")),
        ("GET", ("kbn-system-api", "true")),
        ("GET", ("x-graylog-no-session-extension", "true")),
    ] {
        let session = harness.curfew.sign_in("alice").await;
        harness.curfew.age(&session, "8m").await;
        let cookie = session.cookie();
        let answer = harness
            .send(method, "/", &[("cookie", &cookie), line])
            .await;
        harness.assert_allowed(&answer, "alice");
        harness.curfew.age(&session, "8m").await;
        harness.assert_denied(&harness.get(&session, "/").await, "idle_timeout");
    }
}

pub async fn revoked_session(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    harness.assert_allowed(&harness.get(&session, "/").await, "alice");
    harness.curfew.revoke(&session).await;
    harness.assert_denied(&harness.get(&session, "/").await, "revoked");
}

pub async fn subject_beyond_ascii(harness: &mut Harness) {
    let session = harness.curfew.sign_in("Zoë 雪").await;
    let answer = harness.get(&session, "/").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let backend_request = harness.backend.take_one();
    assert_eq!(
        backend_request.headers["x-session-user"].as_bytes(),
        "Zoë 雪".as_bytes()
    );
}

pub async fn other_policy(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    harness.curfew.age(&session, "11m").await;
    harness.assert_allowed(&harness.get(&session, "/").await, "alice");
    harness.restart_with_policy("strict").await;
    harness.assert_denied(
        &harness.get(&session, "/").await,
        "reauthentication_required",
    );
    let fresh = harness.curfew.sign_in("alice").await;
    harness.assert_allowed(&harness.get(&fresh, "/").await, "alice");
    // The policy `strict` counts only navigations as activity. A request for an `iframe` is not a navigation.
    for (dest, counts) in [("iframe", false), ("document", true)] {
        let session = harness.curfew.sign_in("alice").await;
        harness.curfew.age(&session, "8m").await;
        let cookie = session.cookie();
        let header_pairs = [
            ("cookie", &*cookie),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", dest),
        ];
        harness.assert_allowed(&harness.send("GET", "/", &header_pairs).await, "alice");
        let remaining = harness.curfew.fetch_session(&session).await["idle_remaining"].clone();
        assert_eq!(remaining.as_u64().unwrap() > 8 * 60, counts, "{dest}");
    }
}
