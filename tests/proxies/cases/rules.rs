//! The proxies apply Curfew's rules.

use serde_json::json;

use crate::bench::{Bench, Lines, RULED_HOST};

pub async fn passive_rule(bench: &mut Bench) {
    for (path, keeps) in [("/poll/news", false), ("/poll/a/b", false), ("/news", true)] {
        let session = bench.curfew.sign_in("alice").await;
        let cookie = session.cookie();
        let lines = [("host", RULED_HOST), ("cookie", &*cookie)];
        bench.curfew.age(&session, "8m").await;
        bench.assert_allowed(&bench.send("GET", path, &lines).await, "alice");
        bench.curfew.age(&session, "8m").await;
        let answer = bench.send("GET", "/", &lines).await;
        if keeps {
            bench.assert_allowed(&answer, "alice");
        } else {
            bench.assert_denied(&answer, "idle_timeout");
        }
    }
}

pub async fn preflight_rule(bench: &mut Bench) {
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
    let answer = bench.send("OPTIONS", "/api/orders", &cors).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = bench.backend.take_one();
    assert_eq!(seen.method, "OPTIONS");
    assert_eq!(seen.header_values("origin"), ["https://other.example.com"]);
    assert!(seen.header_values("x-session-user").join("").is_empty(), "{seen:?}");

    let with_forged = [&cors[..], &forged].concat();
    let refused: [(&str, &str, &Lines<'_>); 5] = [
        ("OPTIONS", "/other", &cors),
        ("OPTIONS", "/api/orders", &cors[..2]),
        ("GET", "/api/orders", &with_forged),
        ("POST", "/api/orders", &with_forged),
        ("HEAD", "/api/orders", &with_forged),
    ];
    for (method, path, lines) in refused {
        let answer = bench.send(method, path, lines).await;
        bench.assert_denied(&answer, "no_credential");
    }
}

pub async fn groups_rule(bench: &mut Bench) {
    let staff = bench.curfew.sign_in("alice").await;
    let cookie = staff.cookie();
    let lines = [("host", RULED_HOST), ("cookie", &*cookie)];
    for path in ["/admin", "/admin/users"] {
        let answer = bench.send("GET", path, &lines).await;
        assert_eq!(answer.status, 403, "{answer:?}");
        bench.assert_application_not_reached();
        let said = (bench.kind.name != "ingress-nginx").then_some("forbidden");
        assert_eq!(answer.one("x-session-reason"), said);
        assert_eq!(answer.one("location"), None);
        assert_eq!(
            answer.one("set-cookie"),
            None,
            "the denial must not clear the session cookie"
        );
    }
    bench.assert_allowed(&bench.send("GET", "/", &lines).await, "alice");
    let groups = json!({ "groups": ["operators"] });
    let operator = bench.curfew.sign_in_with("bob", groups).await;
    let cookie = operator.cookie();
    let lines = [("host", RULED_HOST), ("cookie", &*cookie)];
    bench.assert_allowed(&bench.send("GET", "/admin/users", &lines).await, "bob");
}

pub async fn policy_rule(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    let cookie = session.cookie();
    let lines = [("host", RULED_HOST), ("cookie", &*cookie)];
    bench.assert_allowed(&bench.send("POST", "/pay/now", &lines).await, "alice");
    bench.curfew.age(&session, "11m").await;
    let answer = bench.send("POST", "/pay/now", &lines).await;
    bench.assert_denied(&answer, "reauthentication_required");
    bench.assert_allowed(&bench.send("POST", "/", &lines).await, "alice");
}

pub async fn bound_session(bench: &mut Bench) {
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
    let session = bench.curfew.sign_in_with_body(body).await;
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
    let stolen: [(&str, &Lines<'_>); 4] = [
        (home, &[cookie, ("user-agent", "curl/8.0")]),
        (home, &[cookie]),
        (elsewhere, &[cookie, browser]),
        (elsewhere, &forged),
    ];
    for (address, lines) in stolen {
        let answer = bench.get_from(address, "/", lines).await;
        assert_eq!(answer.status, 401, "{address} {lines:?} {answer:?}");
        bench.assert_application_not_reached();
        let challenge = answer.one("www-authenticate").unwrap();
        assert_eq!(
            challenge,
            "Bearer error=\"insufficient_user_authentication\""
        );
        let kept = answer.one("set-cookie");
        assert_eq!(
            kept, None,
            "the denial must not clear the cookie of the person who owns the session"
        );
        let answer = bench.get_from(home, "/", &[cookie, browser]).await;
        bench.assert_allowed(&answer, "alice");
    }
    let audited = bench.curfew.audit_events("session.binding_mismatch");
    assert_eq!(audited.len(), 4, "{audited:?}");
    assert_eq!(audited[2]["event.reason"], "address");
    assert_eq!(audited[2]["source.ip"], elsewhere);
}
