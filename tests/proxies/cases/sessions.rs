//! Sessions live and end as their policy requires.

use crate::bench::Bench;
use crate::support::backend::BODY;

pub async fn live_session(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    let answer = bench.get(&session, "/page?x=1").await;
    let seen = bench.assert_allowed(&answer, "alice");
    assert_eq!(seen.uri.to_string(), "/page?x=1");
    assert_eq!(seen.header_values("host"), ["app.example.com"]);
    assert_eq!(answer.body, BODY);
    assert_eq!(seen.header_values("x-session-groups"), ["staff,admin"]);
    assert_eq!(seen.header_values("x-session-email"), ["alice@example.com"]);
    assert_eq!(seen.header_values("x-session-id"), [&session.id]);
    assert_eq!(seen.header_values("x-session-policy"), ["default"]);
    let answer = bench.get(&session, "/teapot").await;
    assert_eq!((answer.status, &*answer.body), (418, BODY));
    bench.backend.take_one();
}

pub async fn idle_limit(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    bench.curfew.age(&session, "14m 50s").await;
    bench.assert_allowed(&bench.get(&session, "/").await, "alice");
    bench.curfew.age(&session, "15m").await;
    for _ in 0..2 {
        bench.assert_denied(&bench.get(&session, "/").await, "idle_timeout");
    }
    // After a new sign-in, requests are allowed again.
    let session = bench.curfew.sign_in("alice").await;
    bench.assert_allowed(&bench.get(&session, "/").await, "alice");
}

pub async fn absolute_limit(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    for _ in 0..5 {
        bench.curfew.age(&session, "11m 50s").await;
        bench.assert_allowed(&bench.get(&session, "/").await, "alice");
    }
    bench.curfew.age(&session, "50s").await;
    bench.assert_denied(&bench.get(&session, "/").await, "absolute_timeout");
}

pub async fn activity_extends_session(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    for method in ["GET", "POST", "DELETE"] {
        bench.curfew.age(&session, "14m").await;
        let cookie = session.cookie();
        let answer = bench.send(method, "/", &[("cookie", &cookie)]).await;
        bench.assert_allowed(&answer, "alice");
    }
}

pub async fn passive_requests(bench: &mut Bench) {
    for (method, line) in [
        ("HEAD", ("accept", "*/*")),
        ("GET", ("x-session-passive", "1")),
        ("GET", ("sec-purpose", "prefetch;prerender")),
        ("POST", ("kbn-system-request", "true")),
        ("GET", ("kbn-system-api", "true")),
        ("GET", ("x-graylog-no-session-extension", "true")),
    ] {
        let session = bench.curfew.sign_in("alice").await;
        bench.curfew.age(&session, "8m").await;
        let cookie = session.cookie();
        let answer = bench.send(method, "/", &[("cookie", &cookie), line]).await;
        bench.assert_allowed(&answer, "alice");
        bench.curfew.age(&session, "8m").await;
        bench.assert_denied(&bench.get(&session, "/").await, "idle_timeout");
    }
}

pub async fn revoked_session(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    bench.assert_allowed(&bench.get(&session, "/").await, "alice");
    bench.curfew.revoke(&session).await;
    bench.assert_denied(&bench.get(&session, "/").await, "revoked");
}

pub async fn subject_beyond_ascii(bench: &mut Bench) {
    let session = bench.curfew.sign_in("Zoë 雪").await;
    let answer = bench.get(&session, "/").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = bench.backend.take_one();
    assert_eq!(
        seen.headers["x-session-user"].as_bytes(),
        "Zoë 雪".as_bytes()
    );
}

pub async fn other_policy(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    bench.curfew.age(&session, "11m").await;
    bench.assert_allowed(&bench.get(&session, "/").await, "alice");
    bench.restart_with_policy("strict").await;
    bench.assert_denied(&bench.get(&session, "/").await, "reauthentication_required");
    let fresh = bench.curfew.sign_in("alice").await;
    bench.assert_allowed(&bench.get(&fresh, "/").await, "alice");
    // This policy counts only navigations of the whole page.
    for (dest, counts) in [("iframe", false), ("document", true)] {
        let session = bench.curfew.sign_in("alice").await;
        bench.curfew.age(&session, "8m").await;
        let cookie = session.cookie();
        let lines = [
            ("cookie", &*cookie),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", dest),
        ];
        bench.assert_allowed(&bench.send("GET", "/", &lines).await, "alice");
        let remaining = bench.curfew.fetch_session(&session).await["idle_remaining"].clone();
        assert_eq!(remaining.as_u64().unwrap() > 8 * 60, counts, "{dest}");
    }
}
