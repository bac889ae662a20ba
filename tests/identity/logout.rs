//! The provider sends logout notices, and Curfew ends the sessions.

use super::*;
use crate::provider::claims;

#[tokio::test]
async fn a_logout_at_the_provider_ends_the_session_at_once() {
    let stack = Stack::start("15m", "12h").await;
    let (mut alice, mut other_browser) = (Browser::new(), Browser::new());
    let tokens = stack.provider.sign_in(&mut alice, "alice").await;
    let other = stack.provider.sign_in(&mut other_browser, "alice").await;
    stack.assert_allowed(&tokens.id_token, "alice").await;
    stack.assert_allowed(&other.id_token, "alice").await;
    // The provider waits for the response of POST /oidc/backchannel-logout before it confirms the logout.
    stack.provider.log_out(&mut alice).await;
    stack.assert_denied(&tokens.id_token, "revoked").await;
    stack.assert_allowed(&other.id_token, "alice").await;
    let events = stack.curfew.audit_events("provider.logout");
    assert_eq!(events.len(), 1, "{events:?}");
    let ended = stack.curfew.audit_events("session.ended");
    let reason = &ended[0]["event.reason"];
    assert_eq!((ended.len(), reason), (1, &"revoked".into()));
    let actor_kind = &ended[0]["curfew.actor.kind"];
    assert_eq!(
        (actor_kind, &events[0]["curfew.actor.kind"]),
        (&"provider".into(), &"provider".into())
    );
    let new_tokens = stack.provider.sign_in(&mut alice, "alice").await;
    stack.assert_allowed(&new_tokens.id_token, "alice").await;
}

#[tokio::test]
async fn a_security_event_ends_one_session_or_all_sessions_of_a_subject() {
    let stack = Stack::start("15m", "12h").await;
    let mut tokens = Vec::new();
    for user in ["alice", "alice", "bob", "bob"] {
        let signed_in = stack.provider.sign_in(&mut Browser::new(), user).await;
        stack.assert_allowed(&signed_in.id_token, user).await;
        tokens.push(signed_in.id_token);
    }
    let post_event = async |event: String| {
        let request = stack
            .client
            .post(stack.nginx.url("/ssf/events"))
            .body(event);
        let request = request.header("content-type", "application/secevent+jwt");
        request.send().await.unwrap().status().as_u16()
    };
    let sid = claims(&tokens[0])["sid"].as_str().unwrap().to_owned();
    let event = stack
        .provider
        .issue_security_event(&format!("sid={sid}"))
        .await;
    assert_eq!(post_event(event.clone()).await, 202);
    assert_eq!(
        post_event(event).await,
        202,
        "a repeated event should get 202, too"
    );
    stack.assert_denied(&tokens[0], "revoked").await;
    stack.assert_allowed(&tokens[1], "alice").await;
    // The event also ends a session that started in the same second.
    assert_eq!(
        post_event(stack.provider.issue_security_event("sub=bob").await).await,
        202
    );
    for token in &tokens[2..] {
        stack.assert_denied(token, "revoked").await;
    }
    stack.assert_allowed(&tokens[1], "alice").await;
    assert_eq!(post_event("garbage".to_owned()).await, 400);
}

#[tokio::test]
async fn front_channel_logout_ends_the_session() {
    let stack = Stack::start("15m", "12h").await;
    let tokens = stack.provider.sign_in(&mut Browser::new(), "alice").await;
    stack.assert_allowed(&tokens.id_token, "alice").await;
    let sid = claims(&tokens.id_token)["sid"].as_str().unwrap().to_owned();
    let request_logout = async |sid: &str| {
        let issuer = &stack.provider.issuer;
        let path = format!("/oidc/frontchannel-logout?iss={issuer}&sid={sid}");
        let response = stack
            .client
            .get(stack.nginx.url(&path))
            .send()
            .await
            .unwrap();
        assert_eq!(response.headers()["cache-control"], "no-store");
        response.status().as_u16()
    };
    assert_eq!(request_logout("another").await, 200);
    stack.assert_allowed(&tokens.id_token, "alice").await;
    assert_eq!(request_logout(&sid).await, 200);
    stack.assert_denied(&tokens.id_token, "revoked").await;
}
