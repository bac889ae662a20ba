//! Clients send access tokens of Keycloak.

use std::time::Duration;

use reqwest::Response;
use serde_json::json;
use tokio::time::sleep;
use url::Url;

use crate::realm::follow;
use crate::stack::{Stack, reason_of};
use crate::support::browser::Browser;
use crate::support::curfew::client;
use crate::support::eventually;
use crate::support::front_proxy::FrontProxyKind;
use crate::test_with_each_proxy;

const FILE: &str = "tokens.yaml";
// The example values of RFC 7636, appendix B.
const CODE_VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CODE_CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

test_with_each_proxy!(
    idle,
    absolute,
    refresh,
    sign_out,
    re_authentication,
    back_channel_logout,
    key_rotation,
    step_up,
);

/// The tokens of the client `app`.
struct Tokens {
    access: String,
    refresh: String,
    /// Whether Keycloak showed its sign-in page.
    was_asked: bool,
}

impl Stack {
    /// Gets tokens with an authorization request. `parameters` are further parameters of the request.
    async fn get_tokens(&self, browser: &mut Browser, parameters: &str) -> Tokens {
        let callback = self.proxy.url("/callback");
        let url = format!(
            "{}/protocol/openid-connect/auth?client_id=app&response_type=code&scope=openid&redirect_uri={callback}\
             &code_challenge={CODE_CHALLENGE}&code_challenge_method=S256{parameters}",
            self.realm.issuer
        );
        let (last, was_asked) = follow(browser, &url, &callback).await;
        let last: Url = last.parse().unwrap();
        let code = last.query_pairs().find(|(name, _)| name == "code");
        let code = code.unwrap_or_else(|| panic!("no code: {last}")).1;
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", "app"),
            ("code", &*code),
            ("redirect_uri", &callback),
            ("code_verifier", CODE_VERIFIER),
        ];
        let (status, answer) = self.realm.request_tokens(&form).await;
        assert_eq!(status, 200, "{answer}");
        let token = |name: &str| answer[name].as_str().unwrap().to_owned();
        Tokens {
            access: token("access_token"),
            refresh: token("refresh_token"),
            was_asked,
        }
    }

    /// Uses the refresh token. Returns the new tokens, or the error.
    async fn refresh(&self, tokens: &Tokens) -> Result<Tokens, String> {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", "app"),
            ("refresh_token", &*tokens.refresh),
        ];
        let (_, answer) = self.realm.request_tokens(&form).await;
        if let Some(error) = answer["error"].as_str() {
            return Err(error.to_owned());
        }
        let token = |name: &str| answer[name].as_str().unwrap().to_owned();
        Ok(Tokens {
            access: token("access_token"),
            refresh: token("refresh_token"),
            was_asked: false,
        })
    }

    /// Sends a request with the access token.
    async fn use_token(&self, tokens: &Tokens) -> Response {
        let request = client().get(self.proxy.url("/data"));
        request.bearer_auth(&tokens.access).send().await.unwrap()
    }

    async fn assert_allowed(&self, tokens: &Tokens) {
        let response = self.use_token(tokens).await;
        let reason = reason_of(&response);
        assert_eq!(response.status(), 200, "{reason}: {}", self.curfew.log());
        self.assert_identity();
    }

    async fn assert_denied(&self, tokens: &Tokens, reason: &str) -> Response {
        let response = self.use_token(tokens).await;
        assert_eq!(
            (response.status().as_u16(), reason_of(&response)),
            (401, reason),
            "{}",
            self.curfew.log()
        );
        assert!(self.backend.take().is_empty());
        response
    }
}

async fn idle(kind: FrontProxyKind) {
    let stack = Stack::start(kind, FILE, &[]).await;
    let tokens = stack.get_tokens(&mut Browser::new(), "").await;
    stack.assert_allowed(&tokens).await;
    for _ in 0..3 {
        stack.age_sessions(14).await;
        stack.assert_allowed(&tokens).await;
    }
    stack.age_sessions(15).await;
    stack.assert_denied(&tokens, "idle_timeout").await;
}

/// The session is in use all the time, and ends after 12 hours. Refreshed tokens do not extend it.
async fn absolute(kind: FrontProxyKind) {
    let stack = Stack::start(kind, FILE, &[]).await;
    let mut tokens = stack.get_tokens(&mut Browser::new(), "").await;
    stack.assert_allowed(&tokens).await;
    for round in 0..51 {
        stack.age_sessions(14).await;
        if round % 10 == 0 {
            tokens = stack.refresh(&tokens).await.unwrap();
        }
        stack.assert_allowed(&tokens).await;
    }
    stack.age_sessions(14).await;
    let refreshed = stack.refresh(&tokens).await.unwrap();
    stack.assert_denied(&refreshed, "absolute_timeout").await;
}

/// A refreshed token continues the session. When Keycloak's own idle limit has passed, Curfew's session continues with the
/// last token. Then the client tries to refresh the token. Keycloak refuses, and sends a notice, so the session ends.
async fn refresh(kind: FrontProxyKind) {
    let stack = Stack::start(kind, FILE, &[]).await;
    let tokens = stack.get_tokens(&mut Browser::new(), "").await;
    stack.assert_allowed(&tokens).await;
    let refreshed = stack.refresh(&tokens).await.unwrap();
    assert_ne!(tokens.access, refreshed.access);
    stack.assert_allowed(&refreshed).await;
    assert_eq!(stack.live_sessions().await, 1);
    stack
        .realm
        .update(json!({ "ssoSessionIdleTimeout": 1 }))
        .await;
    sleep(Duration::from_millis(2500)).await;
    stack.assert_allowed(&refreshed).await;
    let error = stack.refresh(&refreshed).await.err();
    assert_eq!(error.as_deref(), Some("invalid_grant"));
    eventually("the notice of Keycloak ends the session", async || {
        reason_of(&stack.use_token(&refreshed).await) == "revoked"
    })
    .await;
}

async fn sign_out(kind: FrontProxyKind) {
    let stack = Stack::start(kind, FILE, &[]).await;
    let tokens = stack.get_tokens(&mut Browser::new(), "").await;
    stack.assert_allowed(&tokens).await;
    let request = client().post(stack.proxy.url("/.curfew/sign-out"));
    let response = request.bearer_auth(&tokens.access).send().await.unwrap();
    assert_eq!(response.status(), 204);
    stack.assert_denied(&tokens, "signed_out").await;
    let refreshed = stack.refresh(&tokens).await.unwrap();
    stack.assert_denied(&refreshed, "signed_out").await;
}

/// After a timeout, Keycloak's own session gives no access. A new authentication does.
async fn re_authentication(kind: FrontProxyKind) {
    let stack = Stack::start(kind, FILE, &[("POLICIES__DEFAULT__IDLE", "8s")]).await;
    let mut browser = Browser::new();
    let tokens = stack.get_tokens(&mut browser, "").await;
    stack.assert_allowed(&tokens).await;
    sleep(Duration::from_millis(9300)).await;
    let from_session = stack.get_tokens(&mut browser, "").await;
    assert!(!from_session.was_asked);
    stack.assert_denied(&from_session, "idle_timeout").await;
    let refreshed = stack.refresh(&tokens).await.unwrap();
    stack.assert_denied(&refreshed, "idle_timeout").await;
    let new_tokens = stack.get_tokens(&mut browser, "&prompt=login").await;
    assert!(new_tokens.was_asked);
    stack.assert_allowed(&new_tokens).await;
    stack.assert_denied(&refreshed, "idle_timeout").await;
    // Keycloak stores `auth_time` in its session. So after the new authentication, an old refresh token gets tokens with
    // the new `auth_time`, which belong to the new session.
    let refreshed = stack.refresh(&tokens).await.unwrap();
    stack.assert_allowed(&refreshed).await;
    assert_eq!(stack.live_sessions().await, 1);
}

async fn back_channel_logout(kind: FrontProxyKind) {
    let stack = Stack::start(kind, FILE, &[]).await;
    let first = stack.get_tokens(&mut Browser::new(), "").await;
    let first_id = stack.realm.session_ids().await.remove(0);
    let second = stack.get_tokens(&mut Browser::new(), "").await;
    stack.assert_allowed(&first).await;
    stack.assert_allowed(&second).await;
    stack.realm.end_session(&first_id).await;
    stack.assert_denied(&first, "revoked").await;
    stack.assert_allowed(&second).await;
    stack.realm.log_out_user().await;
    stack.assert_denied(&second, "revoked").await;
    stack
        .curfew
        .wait_for_audit_events("provider.logout", 2)
        .await;
}

async fn key_rotation(kind: FrontProxyKind) {
    let stack = Stack::start(kind, FILE, &[("JWT__REFRESH_INTERVAL", "1s")]).await;
    let tokens = stack.get_tokens(&mut Browser::new(), "").await;
    stack.assert_allowed(&tokens).await;
    stack.realm.rotate_keys().await;
    let refreshed = stack.refresh(&tokens).await.unwrap();
    let header = |tokens: &Tokens| tokens.access.split('.').next().unwrap().to_owned();
    assert_ne!(header(&tokens), header(&refreshed));
    stack.assert_allowed(&refreshed).await;
    stack.assert_allowed(&tokens).await;
    assert_eq!(stack.live_sessions().await, 1);
}

/// The client gets a challenge (RFC 9470), and asks Keycloak for a new authentication.
async fn step_up(kind: FrontProxyKind) {
    let settings = [("POLICIES__DEFAULT__MAX_AUTH_AGE", "8s")];
    let stack = Stack::start(kind, FILE, &settings).await;
    let mut browser = Browser::new();
    let tokens = stack.get_tokens(&mut browser, "").await;
    stack.assert_allowed(&tokens).await;
    sleep(Duration::from_millis(9300)).await;
    let denied = stack
        .assert_denied(&tokens, "reauthentication_required")
        .await;
    let challenge = denied.headers()["www-authenticate"].to_str().unwrap();
    assert!(
        challenge.contains("insufficient_user_authentication"),
        "{challenge}"
    );
    let new_tokens = stack.get_tokens(&mut browser, "&max_age=8").await;
    assert!(new_tokens.was_asked);
    stack.assert_allowed(&new_tokens).await;
}
