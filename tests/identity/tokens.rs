//! The provider's tokens are the credentials of sessions.

use std::time::Duration;

use super::*;
use crate::provider::claims;

#[tokio::test]
async fn a_session_goes_on_with_refreshed_tokens_and_rotated_keys() {
    let stack = Stack::start("15m", "12h").await;
    let mut browser = Browser::new();
    let first_tokens = stack.provider.sign_in(&mut browser, "alice").await;
    stack.assert_allowed(&first_tokens.id_token, "alice").await;
    // The provider signs with a key that Curfew has not fetched yet.
    stack.provider.rotate_keys(false).await;
    let second_tokens = stack.provider.refresh(&first_tokens).await;
    assert_ne!(
        first_tokens.id_token.split('.').next(),
        second_tokens.id_token.split('.').next()
    );
    let (before, after) = (
        claims(&first_tokens.id_token),
        claims(&second_tokens.id_token),
    );
    assert_eq!(
        (&before["sid"], &before["auth_time"]),
        (&after["sid"], &after["auth_time"])
    );
    stack.assert_allowed(&second_tokens.id_token, "alice").await;
    stack.assert_allowed(&first_tokens.id_token, "alice").await;
    let count = stack
        .curfew
        .call("GET", "/api/v1/sessions/count?subject=alice", None)
        .await
        .1;
    assert_eq!(count["live"], 1, "there should be one session: {count}");
    // Tokens that the old key signed become invalid, but the session stays valid.
    stack.provider.rotate_keys(true).await;
    eventually("Curfew no longer accepts the old key", async || {
        stack.get(&first_tokens.id_token).await.status() == 401
    })
    .await;
    stack.backend.take();
    stack
        .assert_denied(&first_tokens.id_token, "invalid_credential")
        .await;
    let third_tokens = stack.provider.refresh(&second_tokens).await;
    stack.assert_allowed(&third_tokens.id_token, "alice").await;
    let count = stack
        .curfew
        .call("GET", "/api/v1/sessions/count?subject=alice", None)
        .await
        .1;
    assert_eq!(count["live"], 1, "there should be one session: {count}");
}

#[tokio::test]
async fn an_idle_session_stays_ended_until_a_new_sign_in() {
    let stack = Stack::start("2s", "1h").await;
    let mut browser = Browser::new();
    let tokens = stack.provider.sign_in(&mut browser, "alice").await;
    stack.assert_allowed(&tokens.id_token, "alice").await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    stack.assert_denied(&tokens.id_token, "idle_timeout").await;
    let refreshed = stack.provider.refresh(&tokens).await;
    stack
        .assert_denied(&refreshed.id_token, "idle_timeout")
        .await;
    // The person authenticates again, and the session ID at the provider does not change.
    let new_tokens = stack.provider.sign_in(&mut browser, "alice").await;
    let (before, after) = (claims(&tokens.id_token), claims(&new_tokens.id_token));
    assert_ne!(before["auth_time"], after["auth_time"]);
    stack.assert_allowed(&new_tokens.id_token, "alice").await;
    stack
        .assert_denied(&refreshed.id_token, "idle_timeout")
        .await;
}

#[tokio::test]
async fn token_refresh_never_extends_the_absolute_limit() {
    let stack = Stack::start("3s", "4s").await;
    let mut tokens = stack.provider.sign_in(&mut Browser::new(), "alice").await;
    stack.assert_allowed(&tokens.id_token, "alice").await;
    let stopwatch = curfew::clock::Stopwatch::start();
    let reason = loop {
        let response = stack.get(&tokens.id_token).await;
        if response.status() != 200 {
            break reason_of(&response).to_owned();
        }
        assert!(
            stopwatch.seconds() < 5.0,
            "the session should have ended at its absolute limit"
        );
        tokens = stack.provider.refresh(&tokens).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    assert_eq!(reason, "absolute_timeout");
    let refreshed = stack.provider.refresh(&tokens).await;
    stack.backend.take();
    stack
        .assert_denied(&refreshed.id_token, "absolute_timeout")
        .await;
}

#[tokio::test]
async fn the_browser_endpoints_work_with_token_sessions() {
    let stack = Stack::start("15m", "12h").await;
    let mut browser = Browser::new();
    let tokens = stack.provider.sign_in(&mut browser, "alice").await;
    let url = |path: &str| stack.nginx.url(&format!("/.curfew/{path}"));
    let send_request = async |request: reqwest::RequestBuilder| {
        let request = request.bearer_auth(&tokens.id_token);
        request.send().await.unwrap()
    };
    // On the browser endpoints, too, the first token starts the session.
    for request in [
        stack.client.get(url("session")),
        stack.client.post(url("keep-alive")),
    ] {
        let response = send_request(request).await;
        assert_eq!(response.status(), 200, "{}", stack.curfew.log());
        let status: serde_json::Value = response.json().await.unwrap();
        assert_eq!(status["subject"], "alice");
        assert!(
            status["idle_remaining"].as_f64().unwrap() > 800.0,
            "{status}"
        );
    }
    let sessions = stack
        .curfew
        .call("GET", "/api/v1/sessions?subject=alice", None);
    assert_eq!(sessions.await.1["sessions"][0]["source"], "jwt");
    let response = send_request(stack.client.post(url("sign-out"))).await;
    assert_eq!(response.status(), 204);
    stack.assert_denied(&tokens.id_token, "signed_out").await;
    let refreshed = stack.provider.refresh(&tokens).await;
    stack.assert_denied(&refreshed.id_token, "signed_out").await;
}
