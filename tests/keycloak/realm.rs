//! Realms of the running Keycloak. Each test has a realm of its own.

use std::sync::atomic::{AtomicU32, Ordering};

use curfew::clock::Stopwatch;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::support::browser::Browser;
use crate::support::curfew::client;
use crate::support::deployment::{read_deploy_file, replace_once};

/// The environment variable with the address of Keycloak.
const KEYCLOAK_URL: &str = "CURFEW_TEST_KEYCLOAK_URL";
/// The name and the password of Keycloak's administrator.
const ADMINISTRATOR: (&str, &str) = ("admin", "admin");
/// The user of each realm.
const USER: &str = "alice";
const PASSWORD: &str = "password of alice";

pub struct Realm {
    pub issuer: String,
    admin_url: String,
    server: String,
    client: reqwest::Client,
    /// The administrator's token, and its age.
    admin_token: Mutex<Option<(String, Stopwatch)>>,
    /// The ID of the user, which is the `sub` of the user's tokens.
    pub user_id: String,
}

impl Realm {
    /// Creates a realm from `deploy/keycloak/realm.json`, in which only the name and the addresses are changed, and adds
    /// a user. `public` is the address of the proxy.
    pub async fn create(public: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let server = std::env::var(KEYCLOAK_URL);
        let server = server.expect("no Keycloak: run scripts/keycloak.sh");
        let name = format!(
            "test-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let text = replace_once(
            &read_deploy_file("keycloak/realm.json"),
            &[("\"realm\": \"main\"", format!("\"realm\": \"{name}\""))],
        );
        let text = text.replace("https://app.example.com", public);
        let mut settings: Value = serde_json::from_str(&text).unwrap();
        settings["users"] = json!([{
            "username": USER, "email": "alice@example.com", "emailVerified": true, "enabled": true,
            "firstName": "Alice", "lastName": "Example", "groups": ["staff"],
            "credentials": [{ "type": "password", "value": PASSWORD }],
        }]);
        let mut realm = Self {
            issuer: format!("{server}/realms/{name}"),
            admin_url: format!("{server}/admin/realms/{name}"),
            client: client(),
            admin_token: Mutex::default(),
            user_id: String::new(),
            server,
        };
        let url = format!("{}/admin/realms", realm.server);
        realm.request(Method::POST, &url, Some(settings)).await;
        // The token from before has no roles for the new realm.
        *realm.admin_token.lock().await = None;
        let users = realm.call(Method::GET, "/users", None).await;
        let users: Value = users.json().await.unwrap();
        realm.user_id = users[0]["id"].as_str().unwrap().to_owned();
        realm
    }

    /// Calls the admin API of the realm.
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        let url = format!("{}{path}", self.admin_url);
        self.request(method, &url, body).await
    }

    /// Returns a token of the administrator. Uses a token for 30 seconds, because Keycloak needs much CPU time to verify a
    /// password.
    async fn admin_token(&self) -> String {
        let mut cached = self.admin_token.lock().await;
        if let Some((token, age)) = &*cached
            && age.seconds() < 30.0
        {
            return token.clone();
        }
        let token_url = format!(
            "{}/realms/master/protocol/openid-connect/token",
            self.server
        );
        let (name, password) = ADMINISTRATOR;
        let form = [
            ("grant_type", "password"),
            ("client_id", "admin-cli"),
            ("username", name),
            ("password", password),
        ];
        let answer = post_form(&self.client, &token_url, &form).await;
        let answer: Value = answer.json().await.unwrap();
        let token = answer["access_token"].as_str().unwrap().to_owned();
        *cached = Some((token.clone(), Stopwatch::start()));
        token
    }

    async fn request(&self, method: Method, url: &str, body: Option<Value>) -> Response {
        let token = self.admin_token().await;
        let mut request = self.client.request(method, url).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        if !response.status().is_success() {
            let status = response.status();
            panic!("{url}: {status} {}", response.text().await.unwrap());
        }
        response
    }

    /// Changes settings of the realm.
    pub async fn update(&self, settings: Value) {
        self.call(Method::PUT, "", Some(settings)).await;
    }

    /// Adds a signing key, with which Keycloak signs from now on. The tokens of the old key stay valid.
    pub async fn rotate_keys(&self) {
        let key = json!({
            "name": "second-key", "providerId": "rsa-generated",
            "providerType": "org.keycloak.keys.KeyProvider",
            "config": {
                "priority": ["200"], "enabled": ["true"], "active": ["true"], "algorithm": ["RS256"],
            },
        });
        self.call(Method::POST, "/components", Some(key)).await;
    }

    /// Returns the IDs (`sid`) of the user's sessions.
    pub async fn session_ids(&self) -> Vec<String> {
        let path = format!("/users/{}/sessions", self.user_id);
        let sessions: Value = self
            .call(Method::GET, &path, None)
            .await
            .json()
            .await
            .unwrap();
        let sessions = sessions.as_array().unwrap().iter();
        sessions
            .map(|session| session["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Ends one session, as "Sign out" beside a session in the admin console does.
    pub async fn end_session(&self, id: &str) {
        let path = format!("/sessions/{id}");
        self.call(Method::DELETE, &path, None).await;
    }

    /// Ends all sessions of the user, as "Logout all sessions" of the user in the admin console does.
    pub async fn log_out_user(&self) {
        let path = format!("/users/{}/logout", self.user_id);
        self.call(Method::POST, &path, None).await;
    }

    /// Ends all sessions of the realm, as "Logout all active sessions" in the admin console does.
    pub async fn log_out_everybody(&self) {
        self.call(Method::POST, "/logout-all", None).await;
    }

    /// Sends a request to the token endpoint.
    pub async fn request_tokens(&self, form: &[(&str, &str)]) -> (u16, Value) {
        let url = format!("{}/protocol/openid-connect/token", self.issuer);
        let response = post_form(&self.client, &url, form).await;
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }
}

async fn post_form(client: &reqwest::Client, url: &str, form: &[(&str, &str)]) -> Response {
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let request = client.post(url).body(body);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    request.send().await.unwrap()
}

/// Follows redirects until the target begins with `end`. Signs in on Keycloak's sign-in page. Returns the last address,
/// and whether Keycloak showed its sign-in page.
pub async fn follow(browser: &mut Browser, url: &str, end: &str) -> (String, bool) {
    let (mut url, mut was_asked) = (url.to_owned(), false);
    for _ in 0..20 {
        if url.starts_with(end) {
            return (url, was_asked);
        }
        let mut response = browser.get(&url).await;
        if response.status() == 200 {
            let page = response.text().await.unwrap();
            let action = sign_in_form(&page).unwrap_or_else(|| panic!("{url}: {page}"));
            assert!(!was_asked, "the password should be right: {page}");
            was_asked = true;
            let form = [("username", USER), ("password", PASSWORD)];
            response = browser.post(&action, &form).await;
        }
        let Some(target) = Browser::redirect_target(&response) else {
            let status = response.status();
            panic!("{url}: {status} {}", response.text().await.unwrap());
        };
        url = target;
    }
    panic!("endless redirect: {url}");
}

/// Returns the address to which the sign-in form of this page is sent; `None` if the page has no such form.
fn sign_in_form(page: &str) -> Option<String> {
    let form = page.split("id=\"kc-form-login\"").nth(1)?;
    let action = form.split("action=\"").nth(1)?.split('"').next()?;
    Some(action.replace("&amp;", "&"))
}
