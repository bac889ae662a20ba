//! The OpenID provider, and an application that signs people in with it.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::deployment::{Server, installed_path};
use crate::support::{free_port, loopback};

/// The redirect address of the application. No server listens there.
const CALLBACK: &str = "http://app.test/callback";
// The example values of RFC 7636, appendix B.
const CODE_VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CODE_CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

pub struct Provider {
    _server: Server,
    pub issuer: String,
    control: String,
    client: reqwest::Client,
}

/// The tokens that the provider issued for a person who signed in.
pub struct Tokens {
    pub id_token: String,
    pub refresh_token: String,
}

impl Provider {
    /// Starts `provider.mjs`. Its clients are an application whose tokens are credentials, Curfew's own sign-in,
    /// Apache's module with the redirect address `apache`, and oauth2-proxy. `curfew` is the public address of Curfew.
    pub fn start(curfew: &str, apache: &str) -> Self {
        let (port, control) = (free_port(), free_port());
        let settings = json!({
            "port": port,
            "control": control,
            "clients": [
                {
                    "client_id": "app",
                    "client_secret": "secret-of-the-app",
                    "redirect_uris": [CALLBACK],
                    "grant_types": ["authorization_code", "refresh_token"],
                    "require_auth_time": true,
                    "backchannel_logout_uri": format!("{curfew}/oidc/backchannel-logout"),
                    "backchannel_logout_session_required": true,
                },
                {
                    "client_id": "curfew",
                    "client_secret": "secret of curfew's",
                    "redirect_uris": [format!("{curfew}/.curfew/callback/main")],
                    "grant_types": ["authorization_code", "refresh_token"],
                },
                {
                    "client_id": "apache",
                    "client_secret": "secret-of-apache",
                    "redirect_uris": [apache],
                },
                oauth2_proxy_client("oauth2-proxy", curfew, false),
                // For this application, tokens always have the authentication time, as with some providers.
                oauth2_proxy_client("oauth2-proxy-timed", curfew, true),
            ],
        });
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/identity/provider.mjs");
        let mut command = Command::new(installed_path("bin/node"));
        command.arg(script).env("PROVIDER", settings.to_string());
        Self {
            _server: Server::start(&mut command, &[], &[loopback(port), loopback(control)]),
            issuer: format!("http://127.0.0.1:{port}"),
            control: format!("http://127.0.0.1:{control}"),
            client: crate::support::curfew::client(),
        }
    }

    /// Signs `user` in to the application.
    pub async fn sign_in(&self, browser: &mut Browser, user: &str) -> Tokens {
        self.authorize(browser, user, "login").await
    }

    /// Gets tokens with an authorization request. A browser with a session at the provider needs no sign-in, unless
    /// `prompt` asks for it.
    async fn authorize(&self, browser: &mut Browser, user: &str, prompt: &str) -> Tokens {
        let url = format!(
            "{}/auth?client_id=app&response_type=code&scope=openid+email&redirect_uri={CALLBACK}\
             &code_challenge={CODE_CHALLENGE}&code_challenge_method=S256&prompt={prompt}",
            self.issuer
        );
        let callback_url = browser.follow(&url, user, CALLBACK).await;
        let code = callback_url.query_pairs().find(|(name, _)| name == "code");
        let code = code
            .unwrap_or_else(|| panic!("no code in the last address: {callback_url}"))
            .1
            .into_owned();
        self.request_tokens(&[
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", CODE_VERIFIER),
        ])
        .await
    }

    /// Uses the refresh token, and returns the new tokens.
    pub async fn refresh(&self, tokens: &Tokens) -> Tokens {
        self.request_tokens(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", &tokens.refresh_token),
        ])
        .await
    }

    async fn request_tokens(&self, form: &[(&str, &str)]) -> Tokens {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = self
            .client
            .post(format!("{}/token", self.issuer))
            .body(body);
        let request = request
            .basic_auth("app", Some("secret-of-the-app"))
            .header("content-type", "application/x-www-form-urlencoded");
        let response = request.send().await.unwrap();
        let answer: Value = response.json().await.unwrap();
        let field = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        let tokens = Tokens {
            id_token: field("id_token"),
            refresh_token: field("refresh_token"),
        };
        assert!(!tokens.id_token.is_empty(), "{answer}");
        tokens
    }

    /// Signs the browser out at the provider, which sends logout notices.
    pub async fn log_out(&self, browser: &mut Browser) {
        let page = browser.get(&format!("{}/session/end", self.issuer)).await;
        let page = page.text().await.unwrap();
        let secret = page.split("name=\"xsrf\" value=\"").nth(1);
        let secret = secret.unwrap_or_else(|| panic!("no secret in the logout page: {page}"));
        let secret = secret.split('"').next().unwrap();
        let form = [("xsrf", secret), ("logout", "yes")];
        let url = format!("{}/session/end/confirm", self.issuer);
        let response = browser.post(&url, &form).await;
        assert!(response.status().is_redirection(), "{response:?}");
    }

    /// Makes the provider sign with a new key from now on. If `remove_other_keys` is true, removes its other keys.
    pub async fn rotate_keys(&self, remove_other_keys: bool) {
        let query = if remove_other_keys { "?alone" } else { "" };
        self.send_control_request(&format!("/rotate{query}")).await;
    }

    /// Returns a security event that reports a revoked session to the application. `selector` selects the session or
    /// the subject.
    pub async fn issue_security_event(&self, selector: &str) -> String {
        self.send_control_request(&format!("/event?aud=app&{selector}"))
            .await
    }

    /// Sets the groups of a person. With the value `disabled`, disables the account.
    pub async fn set_account(&self, user: &str, groups: &str) {
        self.send_control_request(&format!("/account?id={user}&groups={groups}"))
            .await;
    }

    /// Makes the provider close all connections, or makes it work again.
    pub async fn set_unavailable(&self, is_unavailable: bool) {
        self.send_control_request(&format!("/unavailable?{is_unavailable}"))
            .await;
    }

    /// Makes the provider issue no more refresh tokens.
    pub async fn stop_refresh_tokens(&self) {
        self.send_control_request("/stop-refresh-tokens").await;
    }

    /// Returns the number of refresh tokens that the provider accepted, and the number that it refused.
    pub async fn refresh_counts(&self) -> (usize, usize) {
        let answer: Value =
            serde_json::from_str(&self.send_control_request("/refreshes").await).unwrap();
        let number = |name: &str| usize::try_from(answer[name].as_u64().unwrap()).unwrap();
        (number("granted"), number("refused"))
    }

    /// Returns all refresh tokens that the provider issued.
    pub async fn refresh_tokens(&self) -> Vec<String> {
        let answer: Value =
            serde_json::from_str(&self.send_control_request("/refreshes").await).unwrap();
        serde_json::from_value(answer["issued"].clone()).unwrap()
    }

    async fn send_control_request(&self, path: &str) -> String {
        let url = format!("{}{path}", self.control);
        let response = self.client.get(url).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.text().await.unwrap()
    }
}

/// Returns the provider's settings for an oauth2-proxy with this client ID and the public address `public`.
fn oauth2_proxy_client(id: &str, public: &str, with_auth_time: bool) -> Value {
    json!({
        "client_id": id,
        "client_secret": "change-me",
        "redirect_uris": [format!("{public}/oauth2/callback")],
        "grant_types": ["authorization_code", "refresh_token"],
        "require_auth_time": with_auth_time,
        "backchannel_logout_uri": format!("{public}/oidc/backchannel-logout"),
        "backchannel_logout_session_required": true,
    })
}

/// Returns the claims of a token without verifying it.
pub fn claims(token: &str) -> Value {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap());
    serde_json::from_slice(&payload.unwrap()).unwrap()
}
