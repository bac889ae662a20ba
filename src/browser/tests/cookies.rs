//! Tests of the pages that clear cookies.

use super::*;
use crate::contract::CookieSettings;
use crate::contract::SessionCookie;
use crate::testing::cookie_settings;

/// Checks do not clear cookies, so the signed-out page clears the cookie of an ended session. It does so only on a
/// navigation, because a late request of a script could clear the cookie of a newer sign-in.
#[tokio::test]
async fn the_signed_out_page_clears_the_cookie_of_an_ended_session() {
    const PAGE: &str = "/.curfew/signed-out?reason=idle_timeout";
    let browser = Browser::new().await;
    let removal_cookies = async |header_lines: &[(&str, &str)]| {
        let response = browser.send_signed_in("GET", PAGE, header_lines).await;
        assert_eq!(response.status(), 200);
        let cookies = response.headers().get_all("set-cookie").into_iter();
        cookies.cloned().collect::<Vec<_>>()
    };
    assert!(
        removal_cookies(&[NAVIGATE]).await.is_empty(),
        "a live session must keep its cookie"
    );
    browser.fixture.bench.set_time_after_start(15 * MINUTE);
    assert_eq!(removal_cookies(&[NAVIGATE]).await, [REMOVAL_COOKIE]);
    assert!(
        removal_cookies(&[("sec-fetch-mode", "no-cors")])
            .await
            .is_empty()
    );
    let unknown = browser.send("GET", PAGE, &[NAVIGATE]).await;
    assert!(!unknown.headers().contains_key("set-cookie"));
}

const AMBIGUOUS_COOKIES: (&str, &str) = ("cookie", "session=a; session=b");

/// Returns a browser, and configures a session cookie without the prefix `__Host-`. Other hosts of the domain can set
/// a cookie with the same name.
async fn browser_with_plain_cookie() -> Browser {
    let fixture = Fixture::with(|contracts| {
        contracts.cookie = SessionCookie::new(CookieSettings {
            name: "session".to_owned(),
            secure: false,
            ..cookie_settings()
        })
        .unwrap();
        contracts.checker.sources.extractor.cookie = "session".to_owned();
    });
    Browser::with_fixture(fixture.await)
}

#[tokio::test]
async fn ambiguous_cookies_are_cleared_and_the_browser_is_redirected() {
    let browser = browser_with_plain_cookie().await;
    let page = "/.curfew/clear-cookies?rd=%2Fapp%2Fa%3Fb%3Dc";
    let response = browser
        .send("GET", page, &[AMBIGUOUS_COOKIES, NAVIGATE])
        .await;
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
    // The marker comes from another tab, which cleared the cookies for another page, so this tab is still redirected.
    let marker_of_other_page = ("cookie", "session=a; curfew-cleared=0123456789abcdef");
    let response = browser
        .send("GET", page, &[marker_of_other_page, NAVIGATE])
        .await;
    assert_eq!(response.status(), 303);
    // The browser still sends two cookies, so it is not redirected again.
    let still_ambiguous = ("cookie", "session=a; session=b; curfew-cleared=1");
    let response = browser
        .send("GET", page, &[still_ambiguous, NAVIGATE])
        .await;
    assert_eq!(response.status(), 400);
    assert_eq!(
        cookies(&response),
        ["curfew-cleared=; SameSite=Lax; Path=/; Max-Age=0"]
    );
    let text = read_text(response).await;
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
    let browser = browser_with_plain_cookie().await;
    let session_removal = "session=; ";
    for cookie in ["session=a", "session=a; session=a", "other=a; other=b", ""] {
        let page = "/.curfew/clear-cookies?rd=/";
        let response = browser
            .send("GET", page, &[("cookie", cookie), NAVIGATE])
            .await;
        assert_eq!(response.status(), 303, "{cookie}");
        assert!(
            !cookies(&response)
                .iter()
                .any(|it| it.starts_with(session_removal)),
            "{cookie}"
        );
    }
    // Even with a path in `rd`, the page does not clear the cookie that Curfew sets.
    let page = "/.curfew/clear-cookies?rd=/app";
    let single_cookie = ("cookie", "session=a");
    let response = browser.send("GET", page, &[single_cookie, NAVIGATE]).await;
    assert!(
        !cookies(&response)
            .iter()
            .any(|it| it.contains("Path=/; ") && it.starts_with(session_removal))
    );
    for header_lines in [
        &[AMBIGUOUS_COOKIES][..],
        &[AMBIGUOUS_COOKIES, ("sec-fetch-mode", "no-cors")],
        &[AMBIGUOUS_COOKIES, NAVIGATE, ("sec-fetch-dest", "iframe")],
    ] {
        let response = browser.send("GET", page, header_lines).await;
        assert!(cookies(&response).is_empty(), "{header_lines:?}");
        assert!(response.status().is_client_error(), "{header_lines:?}");
    }
    for rd in [
        "https://evil.example/",
        "//evil.example",
        "/%5Cevil.example",
        "/.curfew/clear-cookies",
    ] {
        let page = format!("/.curfew/clear-cookies?rd={rd}");
        let response = browser
            .send("GET", &page, &[AMBIGUOUS_COOKIES, NAVIGATE])
            .await;
        assert_eq!(response.headers()["location"], "/", "{rd}");
    }
}

#[tokio::test]
async fn a_check_redirects_a_navigation_with_ambiguous_cookies() {
    let browser = browser_with_plain_cookie().await;
    let check = async |header_lines: &[(&str, &str)], uri: &str| {
        let inputs = [
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "app.example.com:8443"),
            ("x-forwarded-uri", uri),
            ("x-forwarded-method", "GET"),
        ];
        let header_lines = [&inputs, header_lines].concat();
        browser
            .fixture
            .send_request("GET", "/forward-auth", &header_lines)
            .await
    };
    let response = check(&[AMBIGUOUS_COOKIES, NAVIGATE], "/a%2Fb?c=d").await;
    assert_eq!(response.status(), 302);
    assert_eq!(
        response.headers()["location"],
        "https://app.example.com:8443/.curfew/clear-cookies?rd=%2Fa%252Fb%3Fc%3Dd"
    );
    assert_eq!(response.headers()["x-session-reason"], "malformed_request");
    assert!(!response.headers().contains_key("set-cookie"));
    // A misconfigured proxy sends checks even for the page that clears cookies. The answer to such a check must not be
    // a redirect to this page, because the redirects would never end.
    let response = check(
        &[AMBIGUOUS_COOKIES, NAVIGATE],
        "/.curfew/clear-cookies?rd=/",
    )
    .await;
    assert_eq!(response.status(), 401);
    assert!(!response.headers().contains_key("location"));
    // A return address that is too long is omitted from the redirect.
    let long_path = format!("/{}", "x".repeat(9000));
    let response = check(&[AMBIGUOUS_COOKIES, NAVIGATE], &long_path).await;
    let page = "https://app.example.com:8443/.curfew/clear-cookies";
    assert_eq!(response.headers()["location"], page);
    let html = ("accept", "text/html");
    let script = ("sec-fetch-mode", "cors");
    let response = check(&[AMBIGUOUS_COOKIES, script, html], "/").await;
    assert_eq!(response.status(), 401);
    assert!(!response.headers().contains_key("location"));
    let detail = response.headers()["x-session-detail"].to_str().unwrap();
    assert!(
        detail.ends_with("/.curfew/clear-cookies clears them"),
        "{detail}"
    );
    let body = read_text(response).await;
    assert!(
        body.contains("<a href=\"/.curfew/clear-cookies\">"),
        "{body}"
    );
    let frame = check(
        &[AMBIGUOUS_COOKIES, NAVIGATE, ("sec-fetch-dest", "iframe")],
        "/",
    )
    .await;
    assert_eq!(frame.status(), 401);
    assert!(read_text(frame).await.contains("target=\"_top\""));
    // The page that clears cookies cannot remove a bearer token, so this check is not redirected to the page.
    let cookie_and_token = [
        ("cookie", "session=a"),
        ("authorization", "Bearer cfw1_b"),
        NAVIGATE,
    ];
    let response = check(&cookie_and_token, "/").await;
    assert_eq!(response.status(), 401);
    assert_eq!(
        response.headers()["x-session-detail"],
        "the request carries two different session credentials"
    );
}
