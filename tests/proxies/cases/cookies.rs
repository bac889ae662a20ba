//! Cookies in requests and answers.

use reqwest::Url;

use crate::bench::{Answer, Bench, DELEGATED_HOST, Lines, REFRESHED_COOKIE, SECOND_COOKIE};

const NAVIGATION: &Lines<'static> = &[
    ("accept", "text/html"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
];

/// Denials must not clear the session cookie, because a late answer would remove the cookie of a newer sign-in.
pub async fn denials_keep_cookies(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    bench.curfew.age(&session, "15m").await;
    let cookie = session.cookie();
    let own = [("cookie", &*cookie)];
    let navigation = [&own, NAVIGATION].concat();
    for (method, lines) in [
        ("GET", &own[..]),
        ("POST", &own),
        ("GET", &[own[0], ("sec-fetch-mode", "cors")]),
        ("GET", &navigation),
    ] {
        let answer = bench.send(method, "/", lines).await;
        assert!(matches!(answer.status, 302 | 401), "{answer:?}");
        assert_eq!(answer.one("set-cookie"), None, "{method} {lines:?}");
        bench.assert_application_not_reached();
    }
    // Each denial names the reason, until one of Curfew's pages clears the cookie.
    bench.assert_denied(&bench.get(&session, "/").await, "idle_timeout");
    let page = "/.curfew/signed-out?reason=idle_timeout";
    let answer = bench.send("GET", page, &navigation).await;
    let cleared = "__Host-session=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0";
    assert_eq!(answer.header_values("set-cookie"), [cleared]);
}

/// A browser with ambiguous cookies is redirected to a page that clears them.
pub async fn ambiguous_cookies_are_cleared(bench: &mut Bench) {
    let (alice, bob) = (
        bench.curfew.sign_in("alice").await.cookie(),
        bench.curfew.sign_in("bob").await.cookie(),
    );
    let two = format!("{alice}; {bob}");
    let host = bench.kind.redirecting_host;
    let lines = [&[("host", host), ("cookie", &*two)], NAVIGATION].concat();
    let answer = bench.send("GET", "/a%2Fb?c=d", &lines).await;
    bench.assert_application_not_reached();
    assert_eq!(answer.one("set-cookie"), None);
    let location = answer.one("location").and_then(|it| Url::parse(it).ok());
    let page = location.filter(|it| it.path() == "/.curfew/clear-cookies");
    let page = page.unwrap_or_else(|| panic!("no way out: {answer:?}"));
    assert_eq!((answer.status, page.host_str()), (302, Some(host)));
    let (_, rd) = page.query_pairs().next().unwrap();
    assert_eq!(rd, "/a%2Fb?c=d");

    let target = format!("{}?{}", page.path(), page.query().unwrap());
    let answer = bench.send("GET", &target, &lines).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    assert_eq!(answer.one("location"), Some("/a%2Fb?c=d"));
    let cookies = answer.header_values("set-cookie");
    let cleared = "__Host-session=; HttpOnly; Secure; Path=/; Max-Age=0";
    assert!(cookies.contains(&cleared), "{cookies:?}");
    // A cookie that could not be cleared causes no redirect loop.
    let still = format!("{two}; __Host-curfew-cleared=1");
    let lines = [&[("host", host), ("cookie", &*still)], NAVIGATION].concat();
    let answer = bench.send("GET", &target, &lines).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("__Host-session"), "{answer:?}");
}

fn assert_set(answer: &Answer, cookie: &str) {
    let cookies = answer.header_values("set-cookie");
    assert!(cookies.contains(&"app=1; Path=/"), "{cookies:?}");
    let found = cookies.contains(&cookie);
    assert!(found, "the cookie of the service is lost: {cookies:?}");
}

/// A delegated service refreshes its cookie while it allows a request.
pub async fn service_cookie_reaches_client(bench: &mut Bench) {
    let own = [
        ("host", DELEGATED_HOST),
        ("cookie", "_oauth2_proxy=ticket|1"),
    ];
    let answer = bench.send("GET", "/cookies", &own).await;
    let seen = bench.assert_allowed(&answer, "alice");
    assert!(!seen.headers.contains_key("set-cookie"), "{seen:?}");
    assert_set(&answer, REFRESHED_COOKIE);
}

/// The delegated service splits a large cookie into several cookies.
pub async fn several_service_cookies_reach_client(bench: &mut Bench) {
    let own = [
        ("host", DELEGATED_HOST),
        ("cookie", "_oauth2_proxy=ticket|1"),
    ];
    let answer = bench.send("GET", "/cookies/500", &own).await;
    assert_eq!(answer.status, 500);
    bench.backend.take_one();
    assert_set(&answer, REFRESHED_COOKIE);
    assert_set(&answer, SECOND_COOKIE);
}

pub async fn application_cookies_unchanged(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    for (path, status) in [("/cookies", 200), ("/cookies/500", 500)] {
        let answer = bench.get(&session, path).await;
        assert_eq!(answer.status, status);
        let cookies = ["app=1; Path=/", "cart=2; Path=/; HttpOnly"];
        assert_eq!(answer.header_values("set-cookie"), cookies);
        bench.backend.take_one();
    }
}

pub async fn two_session_cookies_denied(bench: &mut Bench) {
    let (alice, bob) = (
        bench.curfew.sign_in("alice").await.cookie(),
        bench.curfew.sign_in("bob").await.cookie(),
    );
    for lines in [
        vec![("cookie", &*alice), ("cookie", &*bob)],
        vec![("cookie", &*bob), ("cookie", &*alice)],
        vec![("cookie", &*format!("{alice}; {bob}"))],
        vec![("cookie", &*format!("{alice},{bob}"))],
        vec![
            ("cookie", &*format!("a=1; {alice}")),
            ("cookie", &*format!("b=2; {bob}")),
        ],
    ] {
        let answer = bench.send("GET", "/", &lines).await;
        assert_eq!(answer.status, 401, "{lines:?}");
        bench.assert_application_not_reached();
        let answer = bench.get_http2("/", &lines).await;
        assert_eq!(answer.status, 401, "{lines:?}");
        bench.assert_application_not_reached();
    }
    // With Alice's cookie twice, or with other cookies too, the answer is a denial, or the access of Alice's session.
    for lines in [
        vec![("cookie", &*alice), ("cookie", &*alice)],
        vec![("cookie", "a=1"), ("cookie", &*alice)],
    ] {
        let answer = bench.send("GET", "/", &lines).await;
        match answer.status {
            401 => bench.assert_application_not_reached(),
            _ => drop(bench.assert_allowed(&answer, "alice")),
        }
    }
}

pub async fn cookie_crumbs(bench: &mut Bench) {
    let alice = bench.curfew.sign_in("alice").await.cookie();
    let lines = [("cookie", "a=1"), ("cookie", &*alice), ("cookie", "b=2")];
    let answer = bench.get_http2("/", &lines).await;
    let seen = bench.assert_allowed(&answer, "alice");
    // The application receives all cookies.
    let whole = format!("a=1; {alice}; b=2");
    assert_eq!(seen.header_values("cookie").join("; "), whole);
}
