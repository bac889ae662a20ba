//! All servers between a person and an application.

use reqwest::Response;
use serde_json::json;

use crate::realm::{Realm, follow};
use crate::support::backend::Backend;
use crate::support::browser::Browser;
use crate::support::curfew::{Curfew, client};
use crate::support::deployment::{read_deploy_file, replace_once};
use crate::support::eventually;
use crate::support::front_proxy::{FrontProxy, FrontProxyKind, FrontUpstreams};
use crate::support::redis::RedisServer;

pub struct Stack {
    pub proxy: FrontProxy,
    pub curfew: Curfew,
    pub backend: Backend,
    pub realm: Realm,
    _redis: RedisServer,
    _directory: tempfile::TempDir,
}

impl Stack {
    /// Starts Curfew with a file of `deploy/keycloak`, in which only the addresses are changed. `settings` are further
    /// settings.
    pub async fn start(kind: FrontProxyKind, file: &str, settings: &[(&str, &str)]) -> Self {
        let backend = Backend::start().await;
        let upstreams = FrontUpstreams::free(backend.address);
        let proxy = FrontProxy::start(kind, &upstreams);
        let realm = Realm::create(&proxy.url("")).await;
        let redis = RedisServer::start();
        let text = replace_once(
            &read_deploy_file(&format!("keycloak/{file}")),
            &[("https://id.example.com/realms/main", realm.issuer.clone())],
        );
        let text = text
            .replace("https://app.example.com", &proxy.url(""))
            .replace("app.example.com", &proxy.address.ip().to_string());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("curfew.yaml");
        std::fs::write(&path, text).unwrap();
        let curfew = upstreams.start_curfew(&redis, &path, settings);
        let stack = Self {
            proxy,
            curfew,
            backend,
            realm,
            _redis: redis,
            _directory: directory,
        };
        eventually("Curfew and the proxy are ready", async || {
            let session = client().get(stack.proxy.url("/.curfew/session"));
            session.send().await.unwrap().status() == 401
                && stack.curfew.get_ops("/readyz").await.0 == 200
        })
        .await;
        stack
    }

    /// Asserts that the application got the last request with the identity of the user.
    pub fn assert_identity(&self) {
        let seen = self.backend.take();
        let seen = seen.last().expect("the application should get the request");
        assert_eq!(seen.header_values("x-session-user"), [&*self.realm.user_id]);
        assert_eq!(seen.header_values("x-session-groups"), ["staff"]);
        assert_eq!(seen.header_values("x-session-email"), ["alice@example.com"]);
    }

    /// Returns the number of live sessions of the user.
    pub async fn live_sessions(&self) -> u64 {
        let path = format!("/api/v1/sessions/count?subject={}", self.realm.user_id);
        let count = self.curfew.call("GET", &path, None).await.1;
        count["live"].as_u64().unwrap()
    }

    /// Makes the sessions of the user older.
    pub async fn age_sessions(&self, minutes: u32) {
        let path = format!("/api/v1/sessions?subject={}", self.realm.user_id);
        let answer = self.curfew.call("GET", &path, None).await.1;
        for session in answer["sessions"].as_array().unwrap() {
            let id = session["id"].as_str().unwrap();
            let path = format!("/api/v1/sessions/{id}/age");
            let by = json!({ "by": format!("{minutes}m") });
            let (status, answer) = self.curfew.call("POST", &path, Some(by)).await;
            assert_eq!(status, 200, "{answer}");
        }
    }

    /// Navigates to the page, and returns the status, the reason and the redirect target.
    pub async fn open_page(&self, browser: &mut Browser) -> (u16, String, Option<String>) {
        let response = browser.get(&self.proxy.url("/page")).await;
        let target = Browser::redirect_target(&response);
        (
            response.status().as_u16(),
            reason_of(&response).to_owned(),
            target,
        )
    }

    /// Asserts that the page is denied for this reason, and returns the redirect target.
    pub async fn assert_page_denied(&self, browser: &mut Browser, reason: &str) -> String {
        self.backend.take();
        let (status, found, target) = self.open_page(browser).await;
        assert_eq!(found, reason, "{status}: {}", self.curfew.log());
        assert!(self.backend.take().is_empty());
        target.expect("the answer should redirect to the sign-in")
    }

    /// Asserts that the page is allowed.
    pub async fn assert_page_allowed(&self, browser: &mut Browser) {
        let (status, reason, _) = self.open_page(browser).await;
        assert_eq!(status, 200, "{reason}: {}", self.curfew.log());
        self.assert_identity();
    }

    /// Opens the page, signs in with Keycloak, and returns whether Keycloak showed its sign-in page.
    pub async fn sign_in(&self, browser: &mut Browser) -> bool {
        let (status, reason, target) = self.open_page(browser).await;
        let target = target.unwrap_or_else(|| panic!("{status} {reason}: {}", self.curfew.log()));
        let (_, was_asked) = follow(browser, &target, &self.proxy.url("/page")).await;
        self.assert_page_allowed(browser).await;
        was_asked
    }
}

pub fn reason_of(response: &Response) -> &str {
    let reason = response.headers().get("x-session-reason");
    reason.map_or("", |reason| reason.to_str().unwrap())
}
