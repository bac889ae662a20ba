//! Curfew signs people in with Keycloak.

use std::time::Duration;

use curfew::clock::Stopwatch;
use serde_json::json;
use tokio::time::sleep;

use crate::realm::follow;
use crate::stack::Stack;
use crate::support::browser::Browser;
use crate::support::eventually;
use crate::support::front_proxy::FrontProxyKind;
use crate::test_with_each_proxy;

const FILE: &str = "sign-in.yaml";
/// The name of Curfew's session cookie in these tests.
const COOKIE: &str = "session";

test_with_each_proxy!(
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

async fn idle(kind: FrontProxyKind) {
    let stack = Stack::start(kind, FILE, &[]).await;
    let mut browser = Browser::new();
    assert!(stack.sign_in(&mut browser).await);
    for _ in 0..3 {
        stack.age_sessions(14).await;
        stack.assert_page_allowed(&mut browser).await;
    }
    stack.age_sessions(15).await;
    stack.assert_page_denied(&mut browser, "idle_timeout").await;
}

/// The session is in use all the time, and ends after 12 hours.
async fn absolute(kind: FrontProxyKind) {
    let stack = Stack::start(kind, FILE, &[]).await;
    let mut browser = Browser::new();
    stack.sign_in(&mut browser).await;
    for _ in 0..51 {
        stack.age_sessions(14).await;
        stack.assert_page_allowed(&mut browser).await;
    }
    stack.age_sessions(14).await;
    stack
        .assert_page_denied(&mut browser, "absolute_timeout")
        .await;
}

/// Curfew refreshes its tokens at Keycloak. When Keycloak's own idle limit has ended the session there, Curfew ends its
/// session too.
async fn refresh(kind: FrontProxyKind) {
    let settings = [("LOGIN__REVALIDATE", "1s")];
    let stack = Stack::start(kind, FILE, &settings).await;
    let mut browser = Browser::new();
    stack.sign_in(&mut browser).await;
    stack
        .realm
        .update(json!({ "ssoSessionIdleTimeout": 6 }))
        .await;
    // Without the refreshes, Keycloak's session would end after six seconds.
    let stopwatch = Stopwatch::start();
    while stopwatch.seconds() < 9.0 {
        sleep(Duration::from_millis(500)).await;
        stack.assert_page_allowed(&mut browser).await;
    }
    let metrics = stack.curfew.get_ops("/metrics").await.1;
    let mut lines = metrics.lines();
    assert!(
        lines.any(|line| {
            let is_count =
                line.starts_with("curfew_revalidations_total{") && line.contains("result=\"ok\"");
            is_count && !line.ends_with(" 0")
        }),
        "{metrics}"
    );
    sleep(Duration::from_secs(8)).await;
    eventually(
        "Curfew ends the session that Keycloak has ended",
        async || stack.open_page(&mut browser).await.1 == "revoked",
    )
    .await;
}

async fn sign_out(kind: FrontProxyKind) {
    let stack = Stack::start(kind, FILE, &[]).await;
    let mut browser = Browser::new();
    stack.sign_in(&mut browser).await;
    let old_cookie = browser.cookies[COOKIE].clone();
    assert_eq!(stack.realm.session_ids().await.len(), 1);
    let response = browser
        .post(&stack.proxy.url("/.curfew/sign-out"), &[])
        .await;
    let target = Browser::redirect_target(&response).unwrap();
    assert!(target.starts_with(&stack.realm.issuer), "{target}");
    let end = stack.proxy.url("/.curfew/signed-out");
    let (_, was_asked) = follow(&mut browser, &target, &end).await;
    assert!(!was_asked);
    assert!(stack.realm.session_ids().await.is_empty());
    browser.cookies.insert(COOKIE.to_owned(), old_cookie);
    stack.assert_page_denied(&mut browser, "signed_out").await;
    assert!(stack.sign_in(&mut browser).await);
}

/// After a timeout, Keycloak asks for the password, although its own session continues.
async fn re_authentication(kind: FrontProxyKind) {
    let stack = Stack::start(kind, FILE, &[("POLICIES__DEFAULT__IDLE", "8s")]).await;
    let mut browser = Browser::new();
    stack.sign_in(&mut browser).await;
    sleep(Duration::from_millis(9300)).await;
    stack.assert_page_denied(&mut browser, "idle_timeout").await;
    assert_eq!(stack.realm.session_ids().await.len(), 1);
    assert!(
        stack.sign_in(&mut browser).await,
        "Keycloak should ask for the password"
    );
    assert_eq!(stack.live_sessions().await, 1);
}

/// A denial clears no cookie. A sign-out clears the cookies, and a new sign-in replaces them.
async fn cookie_clearing(kind: FrontProxyKind) {
    let stack = Stack::start(kind, FILE, &[]).await;
    let mut browser = Browser::new();
    stack.sign_in(&mut browser).await;
    let first = browser.cookies[COOKIE].clone();
    stack.age_sessions(15).await;
    stack.assert_page_denied(&mut browser, "idle_timeout").await;
    assert_eq!(browser.cookies[COOKIE], first);
    stack.sign_in(&mut browser).await;
    assert_ne!(browser.cookies[COOKIE], first);
    browser
        .post(&stack.proxy.url("/.curfew/sign-out"), &[])
        .await;
    let names: Vec<&String> = browser.cookies.keys().collect();
    let is_of_curfew = |name: &&&String| **name == COOKIE || name.starts_with("curfew");
    assert_eq!(names.iter().filter(is_of_curfew).count(), 0, "{names:?}");
}

/// Keycloak sends a notice for each session that ends.
async fn back_channel_logout(kind: FrontProxyKind) {
    let stack = Stack::start(kind, FILE, &[]).await;
    let (mut first, mut second) = (Browser::new(), Browser::new());
    stack.sign_in(&mut first).await;
    let first_id = stack.realm.session_ids().await.remove(0);
    stack.sign_in(&mut second).await;
    stack.realm.end_session(&first_id).await;
    stack.assert_page_denied(&mut first, "revoked").await;
    stack.assert_page_allowed(&mut second).await;
    stack.realm.log_out_user().await;
    stack.assert_page_denied(&mut second, "revoked").await;
    stack
        .curfew
        .wait_for_audit_events("provider.logout", 2)
        .await;
}

/// Curfew accepts ID tokens and notices with the new key, and sessions of the old key continue.
async fn key_rotation(kind: FrontProxyKind) {
    let settings = [("JWT__REFRESH_INTERVAL", "1s")];
    let stack = Stack::start(kind, FILE, &settings).await;
    let (mut first, mut second) = (Browser::new(), Browser::new());
    stack.sign_in(&mut first).await;
    stack.realm.rotate_keys().await;
    stack.sign_in(&mut second).await;
    stack.assert_page_allowed(&mut first).await;
    stack.realm.log_out_user().await;
    stack.assert_page_denied(&mut first, "revoked").await;
    stack.assert_page_denied(&mut second, "revoked").await;
}

/// The policy requires a recent authentication, and Curfew sends `prompt=login`.
async fn step_up(kind: FrontProxyKind) {
    let settings = [("POLICIES__DEFAULT__MAX_AUTH_AGE", "20m")];
    let stack = Stack::start(kind, FILE, &settings).await;
    let mut browser = Browser::new();
    stack.sign_in(&mut browser).await;
    stack.age_sessions(14).await;
    stack.assert_page_allowed(&mut browser).await;
    stack.age_sessions(14).await;
    stack
        .assert_page_denied(&mut browser, "reauthentication_required")
        .await;
    assert!(
        stack.sign_in(&mut browser).await,
        "Keycloak should ask for the password"
    );
}

/// Keycloak sends no notice when its own session ends because it was idle. So Curfew's session continues.
#[tokio::test]
async fn the_session_outlives_the_session_of_keycloak() {
    let stack = Stack::start(FrontProxyKind::Nginx, FILE, &[]).await;
    let mut browser = Browser::new();
    stack.sign_in(&mut browser).await;
    stack
        .realm
        .update(json!({ "ssoSessionIdleTimeout": 1 }))
        .await;
    sleep(Duration::from_millis(2500)).await;
    stack.assert_page_allowed(&mut browser).await;
    stack.realm.log_out_user().await;
    stack.assert_page_allowed(&mut browser).await;
    assert!(stack.curfew.audit_events("provider.logout").is_empty());
}

/// Keycloak sends a notice only for the sessions that it still has. With the scope `user`, this notice ends the other
/// sessions of the person too.
#[tokio::test]
async fn with_the_scope_user_a_notice_ends_sessions_that_keycloak_no_longer_has() {
    for (scope, ends_other) in [("session", false), ("user", true)] {
        let settings = [("LOGIN__PROVIDERS__KEYCLOAK__LOGOUT_SCOPE", scope)];
        let stack = Stack::start(FrontProxyKind::Nginx, FILE, &settings).await;
        let (mut first, mut second) = (Browser::new(), Browser::new());
        stack.sign_in(&mut first).await;
        // This logout sends no notice.
        stack.realm.log_out_everybody().await;
        stack.sign_in(&mut second).await;
        stack.realm.log_out_user().await;
        stack.assert_page_denied(&mut second, "revoked").await;
        let (status, reason, _) = stack.open_page(&mut first).await;
        let notices = stack.curfew.audit_events("provider.logout");
        assert_eq!(
            reason == "revoked",
            ends_other,
            "{scope}: {status} {reason} {notices:?}"
        );
    }
}

/// "Logout all active sessions" of a realm sends no notice.
#[tokio::test]
async fn a_logout_of_the_whole_realm_sends_no_notice() {
    let stack = Stack::start(FrontProxyKind::Nginx, FILE, &[]).await;
    let mut browser = Browser::new();
    stack.sign_in(&mut browser).await;
    stack.realm.log_out_everybody().await;
    assert!(stack.realm.session_ids().await.is_empty());
    stack.assert_page_allowed(&mut browser).await;
    assert!(stack.curfew.audit_events("provider.logout").is_empty());
}
