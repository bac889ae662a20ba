//! Cookies in requests and answers.

use reqwest::Url;

use crate::harness::{
    Answer, DELEGATED_HOST, Harness, HeaderPairs, REFRESHED_COOKIE, SECOND_COOKIE,
};

const NAVIGATION: &HeaderPairs<'static> = &[
    ("accept", "text/html"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
];

/// Denials must not clear the session cookie, because a late answer would remove the cookie of a newer sign-in.
pub async fn denials_keep_cookies(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    harness.curfew.age(&session, "15m").await;
    let cookie = session.cookie();
    let header_pairs_of_session = [("cookie", &*cookie)];
    let navigation = [&header_pairs_of_session, NAVIGATION].concat();
    for (method, header_pairs) in [
        ("GET", &header_pairs_of_session[..]),
        ("POST", &header_pairs_of_session),
        (
            "GET",
            &[header_pairs_of_session[0], ("sec-fetch-mode", "cors")],
        ),
        ("GET", &navigation),
    ] {
        let answer = harness.send(method, "/", header_pairs).await;
        assert!(matches!(answer.status, 302 | 401), "{answer:?}");
        assert_eq!(
            answer.header("set-cookie"),
            None,
            "{method} {header_pairs:?}"
        );
        harness.assert_application_not_reached();
    }
    // Each denial names the reason, until one of Curfew's pages clears the cookie.
    harness.assert_denied(&harness.get(&session, "/").await, "idle_timeout");
    let page = "/.curfew/signed-out?reason=idle_timeout";
    let answer = harness.send("GET", page, &navigation).await;
    let cleared = "__Host-session=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0";
    assert_eq!(answer.header_values("set-cookie"), [cleared]);
}

/// A browser with ambiguous cookies (the same name with different values) is redirected to a page that clears them.
pub async fn ambiguous_cookies_are_cleared(harness: &mut Harness) {
    let (alice, bob) = (
        harness.curfew.sign_in("alice").await.cookie(),
        harness.curfew.sign_in("bob").await.cookie(),
    );
    let two = format!("{alice}; {bob}");
    let host = harness.kind.redirecting_host;
    let header_pairs = [&[("host", host), ("cookie", &*two)], NAVIGATION].concat();
    let answer = harness.send("GET", "/a%2Fb?c=d", &header_pairs).await;
    harness.assert_application_not_reached();
    assert_eq!(answer.header("set-cookie"), None);
    let location = answer.header("location").and_then(|it| Url::parse(it).ok());
    let page = location.filter(|it| it.path() == "/.curfew/clear-cookies");
    let page =
        page.unwrap_or_else(|| panic!("no redirect to the page that clears cookies: {answer:?}"));
    assert_eq!((answer.status, page.host_str()), (302, Some(host)));
    let (_, rd) = page.query_pairs().next().unwrap();
    assert_eq!(rd, "/a%2Fb?c=d");

    let target = format!("{}?{}", page.path(), page.query().unwrap());
    let answer = harness.send("GET", &target, &header_pairs).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    assert_eq!(answer.header("location"), Some("/a%2Fb?c=d"));
    let cookies = answer.header_values("set-cookie");
    let cleared = "__Host-session=; HttpOnly; Secure; Path=/; Max-Age=0";
    assert!(cookies.contains(&cleared), "{cookies:?}");
    // A cookie that could not be cleared causes no redirect loop.
    let cookies_after_clearing = format!("{two}; __Host-curfew-cleared=1");
    let header_pairs = [
        &[("host", host), ("cookie", &*cookies_after_clearing)],
        NAVIGATION,
    ]
    .concat();
    let answer = harness.send("GET", &target, &header_pairs).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("__Host-session"), "{answer:?}");
}

fn assert_cookies_set(answer: &Answer, cookie: &str) {
    let cookies = answer.header_values("set-cookie");
    assert!(cookies.contains(&"app=1; Path=/"), "{cookies:?}");
    let found = cookies.contains(&cookie);
    assert!(found, "the cookie of the service is lost: {cookies:?}");
}

/// A delegated service (another authorization service that Curfew asks) refreshes its cookie while it allows a
/// request.
pub async fn service_cookie_reaches_client(harness: &mut Harness) {
    let header_pairs_of_session = [
        ("host", DELEGATED_HOST),
        ("cookie", "_oauth2_proxy=ticket|1"),
    ];
    let answer = harness
        .send("GET", "/cookies", &header_pairs_of_session)
        .await;
    let backend_request = harness.assert_allowed(&answer, "alice");
    assert!(
        !backend_request.headers.contains_key("set-cookie"),
        "{backend_request:?}"
    );
    assert_cookies_set(&answer, REFRESHED_COOKIE);
}

/// The delegated service splits a large cookie into several cookies.
pub async fn several_service_cookies_reach_client(harness: &mut Harness) {
    let header_pairs_of_session = [
        ("host", DELEGATED_HOST),
        ("cookie", "_oauth2_proxy=ticket|1"),
    ];
    let answer = harness
        .send("GET", "/cookies/500", &header_pairs_of_session)
        .await;
    assert_eq!(answer.status, 500);
    harness.backend.take_one();
    assert_cookies_set(&answer, REFRESHED_COOKIE);
    assert_cookies_set(&answer, SECOND_COOKIE);
}

pub async fn application_cookies_unchanged(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    for (path, status) in [("/cookies", 200), ("/cookies/500", 500)] {
        let answer = harness.get(&session, path).await;
        assert_eq!(answer.status, status);
        let cookies = ["app=1; Path=/", "cart=2; Path=/; HttpOnly"];
        assert_eq!(answer.header_values("set-cookie"), cookies);
        harness.backend.take_one();
    }
}

pub async fn two_session_cookies_denied(harness: &mut Harness) {
    let (alice, bob) = (
        harness.curfew.sign_in("alice").await.cookie(),
        harness.curfew.sign_in("bob").await.cookie(),
    );
    for header_pairs in [
        vec![("cookie", &*alice), ("cookie", &*bob)],
        vec![("cookie", &*bob), ("cookie", &*alice)],
        vec![("cookie", &*format!("{alice}; {bob}"))],
        vec![("cookie", &*format!("{alice},{bob}"))],
        vec![
            ("cookie", &*format!("a=1; {alice}")),
            ("cookie", &*format!("b=2; {bob}")),
        ],
    ] {
        let answer = harness.send("GET", "/", &header_pairs).await;
        assert_eq!(answer.status, 401, "{header_pairs:?}");
        harness.assert_application_not_reached();
        let answer = harness.get_http2("/", &header_pairs).await;
        assert_eq!(answer.status, 401, "{header_pairs:?}");
        harness.assert_application_not_reached();
    }
    // If a request has Alice's cookie twice, or also has other cookies, it is denied or gets the access of Alice's
    // session.
    for header_pairs in [
        vec![("cookie", &*alice), ("cookie", &*alice)],
        vec![("cookie", "a=1"), ("cookie", &*alice)],
    ] {
        let answer = harness.send("GET", "/", &header_pairs).await;
        match answer.status {
            401 => harness.assert_application_not_reached(),
            _ => drop(harness.assert_allowed(&answer, "alice")),
        }
    }
}

pub async fn cookie_crumbs(harness: &mut Harness) {
    let alice = harness.curfew.sign_in("alice").await.cookie();
    let header_pairs = [("cookie", "a=1"), ("cookie", &*alice), ("cookie", "b=2")];
    let answer = harness.get_http2("/", &header_pairs).await;
    let backend_request = harness.assert_allowed(&answer, "alice");
    // The application receives all cookies.
    let joined_cookies = format!("a=1; {alice}; b=2");
    assert_eq!(
        backend_request.header_values("cookie").join("; "),
        joined_cookies
    );
}
