//! Denied clients receive the right answers.

use curfew::credential::{KeyRing, SigningKey};

use crate::bench::{Answer, Bench, Lines};
use crate::fleet::HOST;

const NAVIGATION: &Lines<'static> = &[
    ("accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
];

pub async fn no_session_denied(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    let good = &session.token;
    let ring = |key: &str| KeyRing::new(vec![SigningKey::parse(key).unwrap()]).unwrap();
    let unknown = ring(&bench.key).issue().unwrap().expose();
    let stranger = SigningKey::generate().unwrap();
    let forged = ring(&stranger).issue().unwrap().expose();
    let cookie = |value: &str| format!("__Host-session={value}");
    for (name, value, reason) in [
        ("accept", "*/*".to_owned(), "no_credential"),
        ("cookie", "session=1; app=2".to_owned(), "no_credential"),
        ("cookie", cookie(&unknown), "unknown_session"),
        ("cookie", cookie(&forged), "invalid_credential"),
        (
            "cookie",
            cookie(&good[..good.len() - 1]),
            "invalid_credential",
        ),
        ("cookie", cookie(&session.id), "invalid_credential"),
        ("cookie", cookie(""), "invalid_credential"),
        (
            "authorization",
            format!("Bearer {forged}"),
            "invalid_credential",
        ),
        ("authorization", format!("Basic {good}"), "no_credential"),
    ] {
        for method in ["GET", "POST", "OPTIONS"] {
            let answer = bench.send(method, "/a/b?c=d", &[(name, &value)]).await;
            bench.assert_denied(&answer, reason);
        }
    }
    let bearer = format!("Bearer {good}");
    let answer = bench.send("GET", "/", &[("authorization", &bearer)]).await;
    bench.assert_allowed(&answer, "alice");
}

/// Returns the return address and the reason in the redirect to the sign-in page.
fn location(answer: &Answer) -> (String, String) {
    let location = reqwest::Url::parse(answer.one("location").unwrap()).unwrap();
    assert_eq!(location.host_str(), Some("login.example.com"));
    let parameter = |wanted: &str| {
        let mut found = location.query_pairs().filter(|(name, _)| name == wanted);
        let value = found
            .next()
            .map_or(String::new(), |(_, value)| value.into_owned());
        assert!(found.next().is_none(), "{location}");
        value
    };
    (parameter("rd"), parameter("reason"))
}

pub async fn navigation_redirected(bench: &mut Bench) {
    let host = bench.kind.redirecting_host;
    let ended = bench.curfew.sign_in("alice").await;
    bench.curfew.revoke(&ended).await;
    for (cookie, reason) in [
        ("a=1".to_owned(), "no_credential"),
        (ended.cookie(), "revoked"),
    ] {
        for target in [
            "/",
            "/page?x=1&y=a+b%20c&rd=https://evil.example/",
            "/a%2Fb/gr%C3%BC%C3%9Fe/%E9%9B%AA",
            "/a%252Fb?next=%2Fc%3Fd%3De%26f#",
        ] {
            let mut lines = vec![("host", host), ("cookie", &*cookie)];
            lines.extend(NAVIGATION);
            let answer = bench.send("GET", target, &lines).await;
            assert_eq!(answer.status, 302, "{answer:?}");
            let (page, why) = location(&answer);
            // The fragment after `#` stays in the browser.
            let target = target.trim_end_matches('#');
            // Browsers send the session cookie only over TLS, so the return address begins with `https`.
            let scheme = bench.kind.scheme_of_return();
            assert_eq!(page, format!("{scheme}://{host}{target}"));
            // ingress-nginx creates the redirect itself, without the reason.
            assert!(why == reason || host != HOST, "{why:?}");
            bench.assert_application_not_reached();
        }
    }
}

/// A very long address causes no server error.
pub async fn long_navigation(bench: &mut Bench) {
    let host = bench.kind.redirecting_host;
    for length in [500, 1_000, 3_000, 7_000, 15_000] {
        let target = format!("/page?x={}", "%2F".repeat(length / 3));
        let mut lines = vec![("host", host)];
        lines.extend(NAVIGATION);
        let answer = bench.send("GET", &target, &lines).await;
        match answer.status {
            302 => {
                let scheme = bench.kind.scheme_of_return();
                assert_eq!(location(&answer).0, format!("{scheme}://{host}{target}"));
            }
            400 | 401 | 414 => assert!(length > 1_000, "{answer:?}"),
            status => panic!("status {status} for an address of {length} bytes"),
        }
        bench.assert_application_not_reached();
    }
}

pub async fn other_requests_not_redirected(bench: &mut Bench) {
    for (method, lines) in [
        ("GET", &[("accept", "application/json")][..]),
        (
            "GET",
            &[("sec-fetch-mode", "cors"), ("accept", "text/html")],
        ),
        (
            "GET",
            &[
                ("accept", "text/html"),
                ("x-requested-with", "XMLHttpRequest"),
            ],
        ),
        ("POST", NAVIGATION),
        ("PUT", NAVIGATION),
        ("HEAD", NAVIGATION),
        ("OPTIONS", NAVIGATION),
        (
            "GET",
            &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")],
        ),
    ] {
        let answer = bench.send(method, "/", lines).await;
        bench.assert_denied(&answer, "no_credential");
        assert_eq!(answer.one("location"), None, "{method} {lines:?}");
    }
}

pub async fn body_of_denial(bench: &mut Bench) {
    let json = bench
        .send("GET", "/", &[("accept", "application/json")])
        .await;
    let html = bench.send("POST", "/", &[("accept", "text/html")]).await;
    for (answer, content_type) in [
        (&json, "application/json"),
        (&html, "text/html; charset=utf-8"),
    ] {
        bench.assert_denied(answer, "no_credential");
        let found = answer.one("content-type");
        assert_eq!(found, Some(content_type), "the body is not Curfew's");
        assert_eq!(answer.one("cache-control"), Some("no-store"));
        assert_eq!(answer.one("x-session-reason"), Some("no_credential"));
    }
    let object: serde_json::Value = serde_json::from_str(&json.body).unwrap();
    assert_eq!(object["error"], "no_credential");
    assert!(html.body.contains("You are not signed in."), "{html:?}");
}

/// The configuration names hosts, so Curfew denies every other host, with or without a session.
pub async fn unknown_host_denied(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    let cookie = session.cookie();
    for host in [
        "evil.example",
        "app.example.com.evil.example",
        "x",
        "127.0.0.1",
    ] {
        for cookie in [&*cookie, "a=1"] {
            let lines = [
                ("host", host),
                ("cookie", cookie),
                ("sec-fetch-mode", "navigate"),
            ];
            let answer = bench.send("GET", "/open", &lines).await;
            assert_eq!(answer.status, 403, "{host}: {answer:?}");
            assert_eq!(answer.one("location"), None);
            bench.assert_application_not_reached();
        }
    }
    bench.assert_allowed(&bench.get(&session, "/").await, "alice");
    let (_, metrics) = bench.curfew.get_ops("/metrics").await;
    assert!(metrics.contains("verdict=\"unknown_host\""), "{metrics}");
}

/// A frame gets no redirect, because the sign-in page does not allow frames.
pub async fn frame_denied(bench: &mut Bench) {
    for dest in ["iframe", "frame", "embed"] {
        let lines = [
            ("accept", "text/html"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", dest),
        ];
        let answer = bench.send("GET", "/page?x=1", &lines).await;
        assert_eq!(answer.status, 401, "{answer:?}");
        assert_eq!(answer.one("location"), None);
        bench.assert_application_not_reached();
        let link = answer.body.contains("target=\"_top\"");
        assert!(link, "no link for the whole window: {answer:?}");
    }
}
