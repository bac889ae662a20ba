//! The cases that run with each proxy. The table in `docs/logins/README.md` lists them.

use std::time::Duration;

use reqwest::Response;

use super::SESSION_COOKIE;
use super::stack::OauthProxyStack;
use crate::reason_of;
use crate::support::browser::Browser;
use crate::support::curfew::client;
use crate::support::eventually;
use crate::support::front_proxy::FrontProxyKind;
use crate::support::sign_in_table::{assert_documented, assert_tested_with, pinned_version};

/// Lists the cases in `CASES`, and defines the function that runs all of them with one stack. Each case has a user of
/// its own, whose name is the name of the case.
macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        const CASES: &[&str] = &[$(stringify!($case)),*];

        async fn run_all(stack: &OauthProxyStack) {
            $(
                println!("case: {}", stringify!($case));
                $case(stack, stringify!($case)).await;
            )*
        }
    };
}

cases!(
    idle,
    absolute,
    refresh,
    sign_out,
    re_authentication,
    cookie_clearing,
    back_channel_logout,
    key_rotation,
    step_up,
);

/// A page for which the policy `recent` requires a recent authentication.
const RECENT: &str = "/recent/page";

async fn run_with(kind: FrontProxyKind) {
    let stack = OauthProxyStack::start(kind, &[], &[]).await;
    run_all(&stack).await;
}

#[tokio::test]
async fn all_cases_with_nginx() {
    run_with(FrontProxyKind::Nginx).await;
}

#[tokio::test]
async fn all_cases_with_traefik() {
    run_with(FrontProxyKind::Traefik).await;
}

#[tokio::test]
async fn all_cases_with_envoy_http() {
    run_with(FrontProxyKind::EnvoyHttp).await;
}

#[tokio::test]
async fn all_cases_with_envoy_grpc() {
    run_with(FrontProxyKind::EnvoyGrpc).await;
}

#[test]
fn the_table_lists_the_cases_that_run() {
    assert_documented("oauth2-proxy", CASES, &[]);
}

#[test]
fn the_pages_name_the_tested_version() {
    let module = "github.com/oauth2-proxy/oauth2-proxy/v7@v";
    let version = pinned_version("scripts/test.sh", module, "\n");
    assert_tested_with("docs/logins/oauth2-proxy.md", "oauth2-proxy", &version);
    let packages = "tests/packages/package.json";
    let version = pinned_version(packages, "\"oidc-provider\": \"", "\"");
    assert_tested_with("docs/logins/openid-connect.md", "oidc-provider", &version);
}

fn ticket_of(browser: &Browser) -> String {
    let cookie = &browser.cookies[SESSION_COOKIE];
    cookie.split('|').next().unwrap().to_owned()
}

async fn idle(stack: &OauthProxyStack, user: &str) {
    let mut browser = Browser::new();
    stack.sign_in(&mut browser, user).await;
    for _ in 0..3 {
        stack.age_sessions(user, 14).await;
        stack.assert_allowed(&mut browser, user).await;
    }
    stack.age_sessions(user, 15).await;
    let cookie = browser.cookies[SESSION_COOKIE].clone();
    stack.assert_denied(&mut browser, "idle_timeout").await;
    // The cookie gives no access, although oauth2-proxy accepts it.
    browser.cookies.insert(SESSION_COOKIE.to_owned(), cookie);
    stack.assert_denied(&mut browser, "idle_timeout").await;
}

/// The session is in use all the time, and ends after 12 hours.
async fn absolute(stack: &OauthProxyStack, user: &str) {
    let mut browser = Browser::new();
    stack.sign_in(&mut browser, user).await;
    for _ in 0..51 {
        stack.age_sessions(user, 14).await;
        stack.assert_allowed(&mut browser, user).await;
    }
    stack.age_sessions(user, 14).await;
    stack.assert_denied(&mut browser, "absolute_timeout").await;
}

/// oauth2-proxy refreshes its tokens and its cookie, and the session continues.
async fn refresh(stack: &OauthProxyStack, user: &str) {
    let mut browser = Browser::new();
    stack.sign_in(&mut browser, user).await;
    let first = browser.cookies[SESSION_COOKIE].clone();
    let ticket = ticket_of(&browser);
    wait_for_refresh(stack, &mut browser, user).await;
    assert_ne!(browser.cookies[SESSION_COOKIE], first);
    assert_eq!(ticket_of(&browser), ticket);
    assert_eq!(stack.live_sessions(user).await, 1);
}

/// Uses the page until oauth2-proxy has refreshed its cookie.
async fn wait_for_refresh(stack: &OauthProxyStack, browser: &mut Browser, user: &str) {
    let first = browser.cookies[SESSION_COOKIE].clone();
    eventually("oauth2-proxy refreshes its cookie", async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        stack.assert_allowed(browser, user).await;
        browser.cookies[SESSION_COOKIE] != first
    })
    .await;
}

/// A sign-out at Curfew ends the session, and the provider then asks for a new authentication.
async fn sign_out(stack: &OauthProxyStack, user: &str) {
    let mut browser = Browser::new();
    stack.sign_in(&mut browser, user).await;
    let cookie = browser.cookies[SESSION_COOKIE].clone();
    let response = request_sign_out(stack, &cookie).await;
    assert_eq!(response.status(), 204);
    stack.assert_denied(&mut browser, "signed_out").await;
    stack.follow_to_provider(&mut browser).await;
    stack.sign_in(&mut browser, user).await;
    browser.cookies.insert(SESSION_COOKIE.to_owned(), cookie);
    stack.assert_denied(&mut browser, "signed_out").await;
    // Only Curfew can reach the endpoints of oauth2-proxy that refresh a session.
    for path in ["/oauth2/auth", "/oauth2/userinfo"] {
        let response = browser.get(&stack.front.url(path)).await;
        assert_ne!(response.status(), 200, "{path}");
        assert_ne!(response.status(), 202, "{path}");
    }
}

async fn request_sign_out(stack: &OauthProxyStack, cookie: &str) -> Response {
    let request = client()
        .post(stack.front.url("/.curfew/sign-out"))
        .header("cookie", format!("{SESSION_COOKIE}={cookie}"))
        .header("sec-fetch-site", "same-origin");
    request.send().await.unwrap()
}

/// After a timeout, the provider asks for a new authentication, although its own session continues.
async fn re_authentication(stack: &OauthProxyStack, user: &str) {
    let mut browser = Browser::new();
    stack.sign_in(&mut browser, user).await;
    let ticket = ticket_of(&browser);
    stack.age_sessions(user, 15).await;
    stack.assert_denied(&mut browser, "idle_timeout").await;
    stack.follow_to_provider(&mut browser).await;
    stack.sign_in(&mut browser, user).await;
    assert_ne!(ticket_of(&browser), ticket);
    assert_eq!(stack.live_sessions(user).await, 1);
}

/// The denial of a navigation clears oauth2-proxy's cookie. The denial of a script's request does not. A sign-out clears
/// the cookie too.
async fn cookie_clearing(stack: &OauthProxyStack, user: &str) {
    let mut browser = Browser::new();
    stack.sign_in(&mut browser, user).await;
    let cookie = browser.cookies[SESSION_COOKIE].clone();
    stack.age_sessions(user, 15).await;
    let request = client()
        .get(stack.front.url("/page"))
        .header("cookie", format!("{SESSION_COOKIE}={cookie}"));
    let response = request.send().await.unwrap();
    let denial = (response.status().as_u16(), reason_of(&response));
    assert_eq!(denial, (401, "idle_timeout"));
    assert!(response.headers().get("set-cookie").is_none());
    stack.assert_denied(&mut browser, "idle_timeout").await;
    assert!(!browser.cookies.contains_key(SESSION_COOKIE));
    stack.sign_in(&mut browser, user).await;
    let response = request_sign_out(stack, &browser.cookies[SESSION_COOKIE]).await;
    let cleared = response.headers()["set-cookie"].to_str().unwrap();
    let is_cleared = cleared.starts_with(&format!("{SESSION_COOKIE}=;"));
    assert!(is_cleared, "{cleared}");
}

/// A logout at the provider ends the session that began with the provider's session, and no other session.
async fn back_channel_logout(stack: &OauthProxyStack, user: &str) {
    let (mut first, mut second) = (Browser::new(), Browser::new());
    stack.sign_in(&mut first, user).await;
    stack.sign_in(&mut second, user).await;
    stack.provider.log_out(&mut first).await;
    stack.assert_denied(&mut first, "revoked").await;
    stack.assert_allowed(&mut second, user).await;
}

/// The session continues when oauth2-proxy gets tokens with the new key, and new sign-ins work. A notice with the new
/// key ends the session.
async fn key_rotation(stack: &OauthProxyStack, user: &str) {
    let (mut first, mut second) = (Browser::new(), Browser::new());
    stack.sign_in(&mut first, user).await;
    stack.provider.rotate_keys(false).await;
    wait_for_refresh(stack, &mut first, user).await;
    stack.sign_in(&mut second, user).await;
    stack.provider.log_out(&mut second).await;
    stack.assert_denied(&mut second, "revoked").await;
    stack.assert_allowed(&mut first, user).await;
}

/// A path requires a recent authentication. oauth2-proxy reuses the ticket of a cookie that the browser still has, so
/// the person first signs out at oauth2-proxy.
async fn step_up(stack: &OauthProxyStack, user: &str) {
    let mut browser = Browser::new();
    stack.sign_in(&mut browser, user).await;
    let page = stack.front.url(RECENT);
    assert_eq!(browser.get(&page).await.status(), 200);
    for _ in 0..2 {
        stack.age_sessions(user, 14).await;
        stack.assert_allowed(&mut browser, user).await;
    }
    let denied = browser.get(&page).await;
    assert_eq!(reason_of(&denied), "reauthentication_required");
    assert!(browser.cookies.contains_key(SESSION_COOKIE));
    stack.assert_allowed(&mut browser, user).await;
    browser.get(&stack.front.url("/oauth2/sign_out")).await;
    stack.sign_in(&mut browser, user).await;
    assert_eq!(browser.get(&page).await.status(), 200);
}
