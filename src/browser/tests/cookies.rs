//! Tests of the pages that clear cookies.

use super::*;
use crate::contract::CookieSettings;
use crate::contract::SessionCookie;
use crate::testing::cookie_config;

/// Checks do not clear cookies, so this page clears the cookie of an ended session, but only on a navigation.
#[tokio::test]
async fn the_signed_out_page_clears_the_cookie_of_an_ended_session() {
    const PAGE: &str = "/.curfew/signed-out?reason=idle_timeout";
    let browser = Browser::new().await;
    let cleared = async |lines: &[(&str, &str)]| {
        let response = browser.send_signed_in("GET", PAGE, lines).await;
        assert_eq!(response.status(), 200);
        let cookies = response.headers().get_all("set-cookie").into_iter();
        cookies.cloned().collect::<Vec<_>>()
    };
    assert!(cleared(&[NAVIGATE]).await.is_empty(), "the session lives");
    browser.fixture.bench.at(15 * MINUTE);
    assert_eq!(cleared(&[NAVIGATE]).await, [CLEARED]);
    assert!(cleared(&[("sec-fetch-mode", "no-cors")]).await.is_empty());
    let unknown = browser.send("GET", PAGE, &[NAVIGATE]).await;
    assert!(!unknown.headers().contains_key("set-cookie"));
}

const AMBIGUOUS: (&str, &str) = ("cookie", "session=a; session=b");

/// Starts a service whose session cookie has a name that other hosts of the domain can set, too.
async fn with_plain_cookie() -> Browser {
    let fixture = Fixture::with(|contracts| {
        contracts.cookie = SessionCookie::new(CookieSettings {
            name: "session".to_owned(),
            secure: false,
            ..cookie_config()
        })
        .unwrap();
        contracts.checker.sources.extractor.cookie = "session".to_owned();
    });
    Browser::with_fixture(fixture.await)
}

#[tokio::test]
async fn ambiguous_cookies_are_cleared_and_the_browser_is_redirected() {
    let browser = with_plain_cookie().await;
    let page = "/.curfew/clear-cookies?rd=%2Fapp%2Fa%3Fb%3Dc";
    let response = browser.send("GET", page, &[AMBIGUOUS, NAVIGATE]).await;
    assert_eq!(response.status(), 303);
    assert_eq!(response.headers()["location"], "/app/a?b=c");
    assert_eq!(
        cookies(&response),
        [
            "session=; Path=/; Max-Age=0",
            "session=; Path=/; Domain=app.example.com; Max-Age=0",
            "session=; Path=/; Domain=example.com; Max-Age=0",
            "session=; SameSite=Lax; Path=/; Max-Age=0",
            "session=; Path=/app; Max-Age=0",
            "session=; Path=/app/; Max-Age=0",
            "session=; Path=/app/a; Max-Age=0",
            "session=; Path=/app/a/; Max-Age=0",
            "curfew-cleared=babf95705728f67f; SameSite=Lax; Path=/; Max-Age=30",
        ]
    );
    // Another tab has just cleared the cookies for its own page, so this tab is still redirected.
    let cleared = ("cookie", "session=a; curfew-cleared=0123456789abcdef");
    let response = browser.send("GET", page, &[cleared, NAVIGATE]).await;
    assert_eq!(response.status(), 303);
    // The browser still sends two cookies, so it is not redirected again.
    let still = ("cookie", "session=a; session=b; curfew-cleared=1");
    let response = browser.send("GET", page, &[still, NAVIGATE]).await;
    assert_eq!(response.status(), 400);
    assert_eq!(
        cookies(&response),
        ["curfew-cleared=; SameSite=Lax; Path=/; Max-Age=0"]
    );
    let text = text(response).await;
    assert!(text.contains("with the name session"), "{text}");
    assert!(
        text.contains("Path") && text.contains("Partitioned"),
        "{text}"
    );
    assert!(
        text.contains("/.curfew/clear-cookies?rd=%2Fapp%2Fa%3Fb%3Dc"),
        "{text}"
    );
}

/// Any site can link to the page or embed it. Neither a link nor an embedded page may clear a cookie that gives
/// access.
#[tokio::test]
async fn other_sites_cannot_clear_a_cookie() {
    let browser = with_plain_cookie().await;
    let own = "session=; ";
    for cookie in ["session=a", "session=a; session=a", "other=a; other=b", ""] {
        let page = "/.curfew/clear-cookies?rd=/";
        let response = browser
            .send("GET", page, &[("cookie", cookie), NAVIGATE])
            .await;
        assert_eq!(response.status(), 303, "{cookie}");
        assert!(
            !cookies(&response).iter().any(|it| it.starts_with(own)),
            "{cookie}"
        );
    }
    // With a path in `rd`, the page does not clear the cookie that Curfew sets.
    let page = "/.curfew/clear-cookies?rd=/app";
    let one = ("cookie", "session=a");
    let response = browser.send("GET", page, &[one, NAVIGATE]).await;
    assert!(
        !cookies(&response)
            .iter()
            .any(|it| it.contains("Path=/; ") && it.starts_with(own))
    );
    for lines in [
        &[AMBIGUOUS][..],
        &[AMBIGUOUS, ("sec-fetch-mode", "no-cors")],
        &[AMBIGUOUS, NAVIGATE, ("sec-fetch-dest", "iframe")],
    ] {
        let response = browser.send("GET", page, lines).await;
        assert!(cookies(&response).is_empty(), "{lines:?}");
        assert!(response.status().is_client_error(), "{lines:?}");
    }
    for rd in [
        "https://evil.example/",
        "//evil.example",
        "/%5Cevil.example",
        "/.curfew/clear-cookies",
    ] {
        let page = format!("/.curfew/clear-cookies?rd={rd}");
        let response = browser.send("GET", &page, &[AMBIGUOUS, NAVIGATE]).await;
        assert_eq!(response.headers()["location"], "/", "{rd}");
    }
}

#[tokio::test]
async fn a_check_redirects_a_navigation_with_ambiguous_cookies() {
    let browser = with_plain_cookie().await;
    let ask = async |lines: &[(&str, &str)], uri: &str| {
        let own = [
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "app.example.com:8443"),
            ("x-forwarded-uri", uri),
            ("x-forwarded-method", "GET"),
        ];
        let lines = [&own, lines].concat();
        browser.fixture.send("GET", "/forward-auth", &lines).await
    };
    let response = ask(&[AMBIGUOUS, NAVIGATE], "/a%2Fb?c=d").await;
    assert_eq!(response.status(), 302);
    assert_eq!(
        response.headers()["location"],
        "https://app.example.com:8443/.curfew/clear-cookies?rd=%2Fa%252Fb%3Fc%3Dd"
    );
    assert_eq!(response.headers()["x-session-reason"], "malformed_request");
    assert!(!response.headers().contains_key("set-cookie"));
    // The proxy is misconfigured and checks the page itself, so the browser is not redirected again.
    let response = ask(&[AMBIGUOUS, NAVIGATE], "/.curfew/clear-cookies?rd=/").await;
    assert_eq!(response.status(), 401);
    assert!(!response.headers().contains_key("location"));
    // A return address that is too long is omitted from the redirect.
    let long = format!("/{}", "x".repeat(9000));
    let response = ask(&[AMBIGUOUS, NAVIGATE], &long).await;
    let page = "https://app.example.com:8443/.curfew/clear-cookies";
    assert_eq!(response.headers()["location"], page);
    let html = ("accept", "text/html");
    let script = ("sec-fetch-mode", "cors");
    let response = ask(&[AMBIGUOUS, script, html], "/").await;
    assert_eq!(response.status(), 401);
    assert!(!response.headers().contains_key("location"));
    let detail = response.headers()["x-session-detail"].to_str().unwrap();
    assert!(
        detail.ends_with("/.curfew/clear-cookies clears them"),
        "{detail}"
    );
    let body = text(response).await;
    assert!(
        body.contains("<a href=\"/.curfew/clear-cookies\">"),
        "{body}"
    );
    let frame = ask(&[AMBIGUOUS, NAVIGATE, ("sec-fetch-dest", "iframe")], "/").await;
    assert_eq!(frame.status(), 401);
    assert!(text(frame).await.contains("target=\"_top\""));
    // No page can resolve a conflict between a cookie and a bearer token.
    let both = [
        ("cookie", "session=a"),
        ("authorization", "Bearer cfw1_b"),
        NAVIGATE,
    ];
    let response = ask(&both, "/").await;
    assert_eq!(response.status(), 401);
    assert_eq!(
        response.headers()["x-session-detail"],
        "the request carries two different session credentials"
    );
}
