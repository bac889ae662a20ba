//! The proxies apply Curfew's rules.

use serde_json::json;

use crate::harness::{Harness, HeaderPairs, RULED_HOST};

pub async fn passive_rule(harness: &mut Harness) {
    for (path, extends_session) in [("/poll/news", false), ("/poll/a/b", false), ("/news", true)] {
        let session = harness.curfew.sign_in("alice").await;
        let cookie = session.cookie();
        let header_pairs = [("host", RULED_HOST), ("cookie", &*cookie)];
        harness.curfew.age(&session, "8m").await;
        harness.assert_allowed(&harness.send("GET", path, &header_pairs).await, "alice");
        harness.curfew.age(&session, "8m").await;
        let answer = harness.send("GET", "/", &header_pairs).await;
        if extends_session {
            harness.assert_allowed(&answer, "alice");
        } else {
            harness.assert_denied(&answer, "idle_timeout");
        }
    }
}

pub async fn preflight_rule(harness: &mut Harness) {
    let cors = [
        ("host", RULED_HOST),
        ("origin", "https://other.example.com"),
        ("access-control-request-method", "PUT"),
        ("x-session-user", "root"),
    ];
    let forged = [
        ("x-original-method", "OPTIONS"),
        ("x-forwarded-method", "OPTIONS"),
        ("method", "OPTIONS"),
        ("x-http-method-override", "OPTIONS"),
    ];
    let answer = harness.send("OPTIONS", "/api/orders", &cors).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let backend_request = harness.backend.take_one();
    assert_eq!(backend_request.method, "OPTIONS");
    assert_eq!(
        backend_request.header_values("origin"),
        ["https://other.example.com"]
    );
    assert!(
        backend_request
            .header_values("x-session-user")
            .join("")
            .is_empty(),
        "{backend_request:?}"
    );

    let with_forged = [&cors[..], &forged].concat();
    let denied_requests: [(&str, &str, &HeaderPairs<'_>); 5] = [
        ("OPTIONS", "/other", &cors),
        ("OPTIONS", "/api/orders", &cors[..2]),
        ("GET", "/api/orders", &with_forged),
        ("POST", "/api/orders", &with_forged),
        ("HEAD", "/api/orders", &with_forged),
    ];
    for (method, path, header_pairs) in denied_requests {
        let answer = harness.send(method, path, header_pairs).await;
        harness.assert_denied(&answer, "no_credential");
    }
}

pub async fn groups_rule(harness: &mut Harness) {
    let staff = harness.curfew.sign_in("alice").await;
    let cookie = staff.cookie();
    let header_pairs = [("host", RULED_HOST), ("cookie", &*cookie)];
    for path in ["/admin", "/admin/users"] {
        let answer = harness.send("GET", path, &header_pairs).await;
        assert_eq!(answer.status, 403, "{answer:?}");
        harness.assert_application_not_reached();
        let expected_reason = (harness.kind.name != "ingress-nginx").then_some("forbidden");
        assert_eq!(answer.header("x-session-reason"), expected_reason);
        assert_eq!(answer.header("location"), None);
        assert_eq!(
            answer.header("set-cookie"),
            None,
            "the denial must not clear the session cookie"
        );
    }
    harness.assert_allowed(&harness.send("GET", "/", &header_pairs).await, "alice");
    let groups = json!({ "groups": ["operators"] });
    let operator = harness.curfew.sign_in_with("bob", groups).await;
    let cookie = operator.cookie();
    let header_pairs = [("host", RULED_HOST), ("cookie", &*cookie)];
    harness.assert_allowed(
        &harness.send("GET", "/admin/users", &header_pairs).await,
        "bob",
    );
}

pub async fn policy_rule(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    let cookie = session.cookie();
    let header_pairs = [("host", RULED_HOST), ("cookie", &*cookie)];
    harness.assert_allowed(
        &harness.send("POST", "/pay/now", &header_pairs).await,
        "alice",
    );
    harness.curfew.age(&session, "11m").await;
    let answer = harness.send("POST", "/pay/now", &header_pairs).await;
    harness.assert_denied(&answer, "reauthentication_required");
    harness.assert_allowed(&harness.send("POST", "/", &header_pairs).await, "alice");
}

pub async fn bound_session(harness: &mut Harness) {
    // Envoy treats 127.0.0.1 as an internal address, so the test uses other addresses.
    let (home, elsewhere) = ("127.0.0.2", "127.0.0.3");
    let browser = (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) Firefox/150.0",
    );
    let body = json!({
        "subject": "alice",
        "policy": "bound",
        "client": { "address": home, "user_agent": browser.1 },
    });
    let session = harness.curfew.sign_in_with_body(body).await;
    let cookie = session.cookie();
    let cookie = ("cookie", &*cookie);
    let forged = [
        cookie,
        browser,
        ("x-forwarded-for", home),
        ("x-real-ip", home),
        ("x-client-ip", home),
        ("forwarded", "for=127.0.0.2"),
        ("x_forwarded_for", home),
    ];
    let stolen_uses: [(&str, &HeaderPairs<'_>); 4] = [
        (home, &[cookie, ("user-agent", "curl/8.0")]),
        (home, &[cookie]),
        (elsewhere, &[cookie, browser]),
        (elsewhere, &forged),
    ];
    for (address, header_pairs) in stolen_uses {
        let answer = harness.get_from(address, "/", header_pairs).await;
        assert_eq!(answer.status, 401, "{address} {header_pairs:?} {answer:?}");
        harness.assert_application_not_reached();
        let challenge = answer.header("www-authenticate").unwrap();
        assert_eq!(
            challenge,
            "Bearer error=\"insufficient_user_authentication\""
        );
        let set_cookie = answer.header("set-cookie");
        assert_eq!(
            set_cookie, None,
            "the denial must not clear the cookie of the person who owns the session"
        );
        let answer = harness.get_from(home, "/", &[cookie, browser]).await;
        harness.assert_allowed(&answer, "alice");
    }
    let mismatch_events = harness.curfew.audit_events("session.binding_mismatch");
    assert_eq!(mismatch_events.len(), 4, "{mismatch_events:?}");
    assert_eq!(mismatch_events[2]["event.reason"], "address");
    assert_eq!(mismatch_events[2]["source.ip"], elsewhere);
}
