//! All servers between a person and an application, with oauth2-proxy and the files of `deploy/oauth2-proxy`.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::json;

use crate::provider::Provider;
use crate::reason_of;
use crate::support::backend::Backend;
use crate::support::browser::Browser;
use crate::support::curfew::{Curfew, client};
use crate::support::deployment::{Server, installed_path, read_deploy_file, replace_once};
use crate::support::front_proxy::{FrontProxy, FrontProxyKind, FrontUpstreams};
use crate::support::redis::RedisServer;
use crate::support::{eventually, free_port, loopback};

pub struct OauthProxyStack {
    pub front: FrontProxy,
    pub curfew: Curfew,
    pub backend: Backend,
    pub provider: Provider,
    oauth2_proxy: Server,
    _redis: RedisServer,
    _directory: tempfile::TempDir,
}

impl OauthProxyStack {
    /// Starts the stack with the documented files. Changes addresses and times in these files, applies `replacements`
    /// to oauth2-proxy's file, and starts Curfew with `settings`. Curfew also accepts the provider's notices, and requires
    /// a recent authentication for the paths below `/recent`.
    pub async fn start(
        kind: FrontProxyKind,
        replacements: &[(&str, &str)],
        settings: &[(&str, &str)],
    ) -> Self {
        let backend = Backend::start().await;
        let address = loopback(free_port());
        let mut upstreams = FrontUpstreams::free(backend.address);
        upstreams.oauth2_proxy = Some(address);
        let front = FrontProxy::start(kind, &upstreams);
        let provider = Provider::start(&front.url(""), &front.url("/auth/callback"));
        let redis = RedisServer::start();
        let oauth2_proxy = start_oauth2_proxy(address, &front, &provider, &redis, replacements);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("curfew.yaml");
        std::fs::write(&file, curfew_configuration(address, &front)).unwrap();
        let own_settings = [
            ("JWT__ISSUERS__MAIN__ISSUER", &*provider.issuer),
            ("JWT__ISSUERS__MAIN__AUDIENCE", "oauth2-proxy"),
            ("JWT__REFRESH_INTERVAL", "1s"),
            ("POLICIES__RECENT__IDLE", "15m"),
            ("POLICIES__RECENT__ABSOLUTE", "12h"),
            ("POLICIES__RECENT__MAX_AUTH_AGE", "20m"),
        ];
        let curfew = upstreams.start_curfew(&redis, &file, &[&own_settings, settings].concat());
        let stack = Self {
            front,
            curfew,
            backend,
            provider,
            oauth2_proxy,
            _redis: redis,
            _directory: directory,
        };
        eventually("Curfew and the proxies are ready", async || {
            let session = client().get(stack.front.url("/.curfew/session"));
            let sign_in = client().get(stack.front.url("/oauth2/sign_in"));
            session.send().await.unwrap().status() == 401
                && sign_in.send().await.unwrap().status() == 200
                && stack.curfew.get_ops("/readyz").await.0 == 200
        })
        .await;
        stack
    }

    /// Navigates to the page, and returns the status, the reason and the redirect target.
    pub async fn open_page(&self, browser: &mut Browser) -> (u16, String, Option<String>) {
        let response = browser.get(&self.front.url("/page")).await;
        let target = Browser::redirect_target(&response);
        let status = response.status().as_u16();
        (status, reason_of(&response).to_owned(), target)
    }

    /// Follows the redirects of the page to the provider's sign-in page.
    pub async fn follow_to_provider(&self, browser: &mut Browser) -> String {
        let (status, reason, target) = self.open_page(browser).await;
        let target = target.unwrap_or_else(|| panic!("{status} {reason}: {}", self.curfew.log()));
        assert!(
            target.starts_with(&self.front.url("/oauth2/start?rd=")),
            "{target}"
        );
        let sign_in_page = format!("{}/interaction/", self.provider.issuer);
        let last_address = browser.follow(&target, "nobody", &sign_in_page).await;
        last_address.to_string()
    }

    /// Authenticates with the provider, and returns to the page.
    pub async fn sign_in(&self, browser: &mut Browser, user: &str) {
        let sign_in_page = self.follow_to_provider(browser).await;
        let page = self.front.url("/page");
        browser.follow(&sign_in_page, user, &page).await;
        let (status, reason, _) = self.open_page(browser).await;
        assert_eq!(
            status,
            200,
            "{reason}: {}\n{}",
            self.log_of_oauth2_proxy(),
            self.curfew.log()
        );
        let seen = self.backend.take();
        assert_eq!(seen.last().unwrap().header_values("x-session-user"), [user]);
        assert_eq!(
            seen.last().unwrap().header_values("x-session-groups"),
            ["staff"]
        );
    }

    /// Asserts that the page is allowed for `user`.
    pub async fn assert_allowed(&self, browser: &mut Browser, user: &str) {
        self.backend.take();
        let (status, reason, _) = self.open_page(browser).await;
        assert_eq!(status, 200, "{reason}: {}", self.curfew.log());
        let seen = self.backend.take_one();
        assert_eq!(seen.header_values("x-session-user"), [user]);
        assert_eq!(seen.header_values("x-session-groups"), ["staff"]);
    }

    /// Asserts that the page is denied for this reason.
    pub async fn assert_denied(&self, browser: &mut Browser, reason: &str) {
        self.backend.take();
        let (status, found, _) = self.open_page(browser).await;
        assert_eq!((status, &*found), (302, reason), "{}", self.curfew.log());
        assert!(self.backend.take().is_empty());
    }

    /// Makes the sessions of `user` older.
    pub async fn age_sessions(&self, user: &str, minutes: u32) {
        let path = format!("/api/v1/sessions?subject={user}");
        let answer = self.curfew.call("GET", &path, None).await.1;
        for session in answer["sessions"].as_array().unwrap() {
            let id = session["id"].as_str().unwrap();
            let path = format!("/api/v1/sessions/{id}/age");
            let by = json!({ "by": format!("{minutes}m") });
            let (status, answer) = self.curfew.call("POST", &path, Some(by)).await;
            assert_eq!(status, 200, "{answer}");
        }
    }

    pub fn log_of_oauth2_proxy(&self) -> String {
        self.oauth2_proxy.read("log")
    }

    /// Returns the number of live sessions of `user`.
    pub async fn live_sessions(&self, user: &str) -> u64 {
        let path = format!("/api/v1/sessions/count?subject={user}");
        let count = self.curfew.call("GET", &path, None).await.1;
        count["live"].as_u64().unwrap()
    }
}

/// Starts oauth2-proxy with the documented file, after some changes.
fn start_oauth2_proxy(
    address: SocketAddr,
    front: &FrontProxy,
    provider: &Provider,
    redis: &RedisServer,
    replacements: &[(&str, &str)],
) -> Server {
    let addresses = [
        ("0.0.0.0:4180", address.to_string()),
        ("https://id.example.com", provider.issuer.clone()),
        ("https://app.example.com", front.url("")),
        ("\"app.example.com\"", format!("\"{}\"", front.address)),
        ("redis://redis:6379", redis.url()),
        // The time is short, so oauth2-proxy refreshes its cookie during the test.
        (
            "cookie_refresh = \"5m\"",
            "cookie_refresh = \"1s\"".to_owned(),
        ),
    ];
    let text = replace_once(
        &read_deploy_file("oauth2-proxy/oauth2-proxy.cfg"),
        &addresses,
    );
    let replacements: Vec<_> = replacements
        .iter()
        .map(|(from, to)| (*from, (*to).to_owned()))
        .collect();
    let text = replace_once(&text, &replacements);
    let mut command = Command::new(installed_path("oauth2-proxy"));
    command.args(["--config", "oauth2-proxy.cfg"]);
    Server::start(&mut command, &[("oauth2-proxy.cfg", &text)], &[address])
}

/// Returns the text of Curfew's configuration file.
fn curfew_configuration(address: SocketAddr, front: &FrontProxy) -> String {
    let text = read_deploy_file("oauth2-proxy/curfew.yaml");
    let addresses = [
        ("http://oauth2-proxy:4180", format!("http://{address}")),
        ("https://app.example.com", front.url("")),
        (
            "allowed_hosts: app.example.com",
            format!("allowed_hosts: {}", front.address),
        ),
    ];
    let text = replace_once(&text, &addresses);
    format!("{text}rules:\n  - path_prefix: /recent\n    policy: recent\n")
}
