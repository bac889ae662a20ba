//! Denied clients receive the right answers.

use curfew::credential::{KeyRing, SigningKey};

use crate::harness::{Answer, Harness, HeaderPairs};
use crate::kinds::HOST;

const NAVIGATION: &HeaderPairs<'static> = &[
    ("accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
];

pub async fn no_session_denied(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    let valid_token = &session.token;
    let key_ring = |key: &str| KeyRing::new(vec![SigningKey::parse(key).unwrap()]).unwrap();
    let unknown_token = key_ring(&harness.key).issue().unwrap().expose();
    let other_key = SigningKey::generate().unwrap();
    let forged_token = key_ring(&other_key).issue().unwrap().expose();
    let cookie = |value: &str| format!("__Host-session={value}");
    for (name, value, reason) in [
        ("accept", "*/*".to_owned(), "no_credential"),
        ("cookie", "session=1; app=2".to_owned(), "no_credential"),
        ("cookie", cookie(&unknown_token), "unknown_session"),
        ("cookie", cookie(&forged_token), "invalid_credential"),
        (
            "cookie",
            cookie(&valid_token[..valid_token.len() - 1]),
            "invalid_credential",
        ),
        ("cookie", cookie(&session.id), "invalid_credential"),
        ("cookie", cookie(""), "invalid_credential"),
        (
            "authorization",
            format!("Bearer {forged_token}"),
            "invalid_credential",
        ),
        (
            "authorization",
            format!("Basic {valid_token}"),
            "no_credential",
        ),
    ] {
        for method in ["GET", "POST", "OPTIONS"] {
            let answer = harness.send(method, "/a/b?c=d", &[(name, &value)]).await;
            harness.assert_denied(&answer, reason);
        }
    }
    let bearer = format!("Bearer {valid_token}");
    let answer = harness
        .send("GET", "/", &[("authorization", &bearer)])
        .await;
    harness.assert_allowed(&answer, "alice");
}

/// Returns the return address and the reason in the redirect to the sign-in page.
fn read_sign_in_location(answer: &Answer) -> (String, String) {
    let location = reqwest::Url::parse(answer.header("location").unwrap()).unwrap();
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

pub async fn navigation_redirected(harness: &mut Harness) {
    let host = harness.kind.redirecting_host;
    let ended = harness.curfew.sign_in("alice").await;
    harness.curfew.revoke(&ended).await;
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
            let mut header_pairs = vec![("host", host), ("cookie", &*cookie)];
            header_pairs.extend(NAVIGATION);
            let answer = harness.send("GET", target, &header_pairs).await;
            assert_eq!(answer.status, 302, "{answer:?}");
            let (page, redirect_reason) = read_sign_in_location(&answer);
            // The fragment after `#` stays in the browser.
            let target = target.trim_end_matches('#');
            // Browsers send the session cookie only over TLS, so the return address begins with `https`.
            let scheme = harness.kind.return_scheme();
            assert_eq!(page, format!("{scheme}://{host}{target}"));
            // ingress-nginx creates the redirect itself, without the reason.
            assert!(
                redirect_reason == reason || host != HOST,
                "{redirect_reason:?}"
            );
            harness.assert_application_not_reached();
        }
    }
}

/// A very long address causes no server error.
pub async fn long_navigation(harness: &mut Harness) {
    let host = harness.kind.redirecting_host;
    for length in [500, 1_000, 3_000, 7_000, 15_000] {
        let target = format!("/page?x={}", "%2F".repeat(length / 3));
        let mut header_pairs = vec![("host", host)];
        header_pairs.extend(NAVIGATION);
        let answer = harness.send("GET", &target, &header_pairs).await;
        match answer.status {
            302 => {
                let scheme = harness.kind.return_scheme();
                assert_eq!(
                    read_sign_in_location(&answer).0,
                    format!("{scheme}://{host}{target}")
                );
            }
            400 | 401 | 414 => assert!(length > 1_000, "{answer:?}"),
            status => panic!("status {status} for an address of {length} bytes"),
        }
        harness.assert_application_not_reached();
    }
}

pub async fn other_requests_not_redirected(harness: &mut Harness) {
    for (method, header_pairs) in [
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
        let answer = harness.send(method, "/", header_pairs).await;
        harness.assert_denied(&answer, "no_credential");
        assert_eq!(answer.header("location"), None, "{method} {header_pairs:?}");
    }
}

pub async fn body_of_denial(harness: &mut Harness) {
    let json = harness
        .send("GET", "/", &[("accept", "application/json")])
        .await;
    let html = harness.send("POST", "/", &[("accept", "text/html")]).await;
    for (answer, content_type) in [
        (&json, "application/json"),
        (&html, "text/html; charset=utf-8"),
    ] {
        harness.assert_denied(answer, "no_credential");
        let found = answer.header("content-type");
        assert_eq!(found, Some(content_type), "the body is not Curfew's");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-session-reason"), Some("no_credential"));
    }
    let object: serde_json::Value = serde_json::from_str(&json.body).unwrap();
    assert_eq!(object["error"], "no_credential");
    assert!(html.body.contains("You are not signed in."), "{html:?}");
}

/// The configuration names hosts, so Curfew denies every other host, with or without a session.
pub async fn unknown_host_denied(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    let cookie = session.cookie();
    for host in [
        "evil.example",
        "app.example.com.evil.example",
        "x",
        "127.0.0.1",
    ] {
        for cookie in [&*cookie, "a=1"] {
            let header_pairs = [
                ("host", host),
                ("cookie", cookie),
                ("sec-fetch-mode", "navigate"),
            ];
            let answer = harness.send("GET", "/open", &header_pairs).await;
            assert_eq!(answer.status, 403, "{host}: {answer:?}");
            assert_eq!(answer.header("location"), None);
            harness.assert_application_not_reached();
        }
    }
    harness.assert_allowed(&harness.get(&session, "/").await, "alice");
    let (_, metrics) = harness.curfew.get_ops("/metrics").await;
    assert!(metrics.contains("verdict=\"unknown_host\""), "{metrics}");
}

/// A frame gets no redirect, because the sign-in page does not allow frames.
pub async fn frame_denied(harness: &mut Harness) {
    for dest in ["iframe", "frame", "embed"] {
        let header_pairs = [
            ("accept", "text/html"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", dest),
        ];
        let answer = harness.send("GET", "/page?x=1", &header_pairs).await;
        assert_eq!(answer.status, 401, "{answer:?}");
        assert_eq!(answer.header("location"), None);
        harness.assert_application_not_reached();
        let has_link = answer.body.contains("target=\"_top\"");
        assert!(has_link, "no link for the whole window: {answer:?}");
    }
}
