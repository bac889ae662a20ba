//! Sign-in with oauth2-proxy and the files of `deploy/oauth2-proxy`. After a timeout, people must authenticate again.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use super::*;
use crate::support::deployed::{Server, changed, deployed, installed};
use crate::support::{free_port, local};

/// The name of the session cookie of oauth2-proxy.
const COOKIE: &str = "_oauth2_proxy";
const IDLE: Duration = Duration::from_secs(4);

struct Behind {
    nginx: Nginx,
    curfew: Curfew,
    backend: Backend,
    provider: Provider,
    proxy: Server,
    _redis: RedisServer,
    _directory: tempfile::TempDir,
}

impl Behind {
    /// Starts the stack with the documented files. Only addresses, times and these lines of oauth2-proxy's file are changed.
    async fn start(lines: &[(&str, &str)]) -> Self {
        Self::start_with(lines, None).await
    }

    /// Like `start`, with another `max_age`.
    async fn start_with(lines: &[(&str, &str)], max_age: Option<&str>) -> Self {
        let (listeners, place) = (Listeners::free(), local(free_port()));
        let backend = Backend::start().await;
        let pages = deployed("oauth2-proxy/nginx.conf");
        let pages = changed(
            &pages,
            &[("http://oauth2-proxy:4180", format!("http://{place}"))],
        );
        let pages = format!("{pages}    location / {{");
        let nginx = Nginx::changed(listeners, backend.address, &[("    location / {", pages)]);
        let provider = Provider::start(&nginx.url(""), &nginx.url("/auth/callback"));
        let redis = RedisServer::start();
        let proxy = oauth2_proxy(place, &nginx, &provider, &redis, lines);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("curfew.yaml");
        std::fs::write(&file, configuration(place, &nginx)).unwrap();
        let mut setup = Setup::redis(&redis.url())
            .file(&file)
            .limits(&format!("{}s", IDLE.as_secs()), "1h")
            .listening(listeners)
            .set("COOKIE__SECURE", "false")
            .set("COOKIE__NAME", "session");
        if let Some(max_age) = max_age {
            setup = setup.set("DELEGATED__SERVICES__OAUTH2-PROXY__MAX_AGE", max_age);
        }
        setup.declare_redis_new();
        let curfew = setup.start();
        eventually("Curfew is ready", async || {
            curfew.ops("/readyz").await.0 == 200
        })
        .await;
        Self {
            nginx,
            curfew,
            backend,
            provider,
            proxy,
            _redis: redis,
            _directory: directory,
        }
    }

    /// The response to a navigation to the page: status, reason and redirect target.
    async fn page(&self, browser: &mut Browser) -> (u16, String, Option<String>) {
        let response = browser.get(&self.nginx.url("/page")).await;
        let target = Browser::target(&response);
        let status = response.status().as_u16();
        (status, reason_of(&response).to_owned(), target)
    }

    /// Follows the redirects of the page to the provider's sign-in page.
    async fn asked(&self, browser: &mut Browser) -> String {
        let (status, reason, target) = self.page(browser).await;
        let target = target.unwrap_or_else(|| panic!("{status} {reason}: {}", self.curfew.log()));
        assert!(
            target.starts_with(&self.nginx.url("/oauth2/start?rd=")),
            "{target}"
        );
        let question = format!("{}/interaction/", self.provider.issuer);
        let asked = browser.follow(&target, "nobody", &question).await;
        asked.to_string()
    }

    /// Authenticates with the provider, and returns to the page.
    async fn sign_in(&self, browser: &mut Browser, user: &str) {
        let question = self.asked(browser).await;
        let page = self.nginx.url("/page");
        browser.follow(&question, user, &page).await;
        let (status, reason, _) = self.page(browser).await;
        assert_eq!(
            status,
            200,
            "{reason}: {}\n{}",
            self.proxy.read("log"),
            self.curfew.log()
        );
        let seen = self.backend.take();
        assert_eq!(seen.last().unwrap().all("x-session-user"), [user]);
        assert_eq!(seen.last().unwrap().all("x-session-groups"), ["staff"]);
    }

    /// The number of live sessions of `user`.
    async fn live(&self, user: &str) -> u64 {
        let path = format!("/api/v1/sessions/count?subject={user}");
        let count = self.curfew.call("GET", &path, None).await.1;
        count["live"].as_u64().unwrap()
    }
}

/// Starts oauth2-proxy with its file.
fn oauth2_proxy(
    place: SocketAddr,
    nginx: &Nginx,
    provider: &Provider,
    redis: &RedisServer,
    lines: &[(&str, &str)],
) -> Server {
    let replaced = [
        ("0.0.0.0:4180", place.to_string()),
        ("https://id.example.com", provider.issuer.clone()),
        ("https://app.example.com", nginx.url("")),
        ("\"app.example.com\"", format!("\"{}\"", nginx.address)),
        ("redis://redis:6379", redis.url()),
        // Short, so that the test sees a refresh.
        (
            "cookie_refresh = \"5m\"",
            "cookie_refresh = \"1s\"".to_owned(),
        ),
    ];
    let text = changed(&deployed("oauth2-proxy/oauth2-proxy.cfg"), &replaced);
    let lines: Vec<_> = lines
        .iter()
        .map(|(from, to)| (*from, (*to).to_owned()))
        .collect();
    let text = changed(&text, &lines);
    let mut command = Command::new(installed("oauth2-proxy"));
    command.args(["--config", "oauth2-proxy.cfg"]);
    Server::start(&mut command, &[("oauth2-proxy.cfg", &text)], &[place])
}

/// Curfew's configuration file.
fn configuration(place: SocketAddr, nginx: &Nginx) -> String {
    let text = deployed("oauth2-proxy/curfew.yaml");
    let replaced = [
        ("http://oauth2-proxy:4180", format!("http://{place}")),
        ("https://app.example.com", nginx.url("")),
        (
            "allowed_hosts: app.example.com",
            format!("allowed_hosts: {}", nginx.address),
        ),
    ];
    changed(&text, &replaced)
}

/// A setting without a new authentication at the provider.
const UNASKED: [(&str, &str); 2] = [
    ("prompt = \"login\"", "prompt = \"\""),
    (
        "client_id = \"oauth2-proxy\"",
        "client_id = \"oauth2-proxy-timed\"",
    ),
];

#[tokio::test]
async fn after_a_timeout_people_authenticate_again() {
    let behind = Behind::start(&[]).await;
    let mut browser = Browser::new();
    behind.sign_in(&mut browser, "alice").await;
    let first = browser.cookies[COOKIE].clone();
    let ticket = |cookie: &str| cookie.split('|').next().unwrap().to_owned();
    // Active for longer than the idle limit. Meanwhile oauth2-proxy refreshes its tokens and its cookie.
    for _ in 0..8 {
        tokio::time::sleep(IDLE / 6).await;
        assert_eq!(
            behind.page(&mut browser).await.0,
            200,
            "{}",
            behind.curfew.log()
        );
    }
    let refreshed = browser.cookies[COOKIE].clone();
    assert_ne!(first, refreshed, "{}", behind.proxy.read("log"));
    assert_eq!(ticket(&first), ticket(&refreshed));
    assert_eq!(behind.live("alice").await, 1);
    tokio::time::sleep(IDLE + Duration::from_millis(300)).await;
    behind.backend.take();
    let (status, reason, _) = behind.page(&mut browser).await;
    assert_eq!((status, &*reason), (302, "idle_timeout"));
    assert!(
        !browser.cookies.contains_key(COOKIE),
        "the cookie of oauth2-proxy is cleared"
    );
    // The provider has a session, but asks for a new authentication.
    behind.asked(&mut browser).await;
    assert!(behind.backend.take().is_empty());
    behind.sign_in(&mut browser, "alice").await;
    assert_ne!(ticket(&browser.cookies[COOKIE]), ticket(&first));
    // The old cookie gives no access, although oauth2-proxy accepts it.
    browser.cookies.insert(COOKIE.to_owned(), refreshed);
    let (status, reason, _) = behind.page(&mut browser).await;
    assert_eq!((status, &*reason), (302, "idle_timeout"));
}

/// Without `prompt=login`, the provider answers from its own session, and Curfew detects this.
#[tokio::test]
async fn a_return_without_a_new_authentication_is_refused() {
    let behind = Behind::start(&UNASKED).await;
    let mut browser = Browser::new();
    behind.sign_in(&mut browser, "alice").await;
    tokio::time::sleep(IDLE + Duration::from_millis(1300)).await;
    behind.backend.take();
    let (status, reason, target) = behind.page(&mut browser).await;
    assert_eq!((status, &*reason), (302, "idle_timeout"));
    let back = browser
        .follow(&target.unwrap(), "nobody", &behind.nginx.url("/page"))
        .await;
    assert_eq!(back.path(), "/page");
    assert!(
        browser.cookies.contains_key(COOKIE),
        "oauth2-proxy has accepted the browser"
    );
    let (status, reason, target) = behind.page(&mut browser).await;
    assert_eq!((status, &*reason), (302, "reauthentication_required"));
    assert!(
        target
            .unwrap()
            .starts_with(&behind.nginx.url("/oauth2/start?rd="))
    );
    assert!(behind.backend.take().is_empty());
    assert_eq!(behind.live("alice").await, 0);
    // A client without redirects gets the requirements in a challenge (RFC 9470).
    let cookie = format!("{COOKIE}={}", browser.cookies[COOKIE]);
    let original = behind.nginx.url("/page");
    let url = format!("http://{}/auth-request", behind.curfew.listeners().check);
    let script = support::curfew::client()
        .get(url)
        .header("cookie", cookie)
        .header("x-original-url", original)
        .header("x-original-method", "POST");
    let told = script.send().await.unwrap();
    let challenge = told.headers()["www-authenticate"].to_str().unwrap();
    assert_eq!(told.status(), 401);
    assert!(
        challenge.contains("insufficient_user_authentication"),
        "{challenge}"
    );
    assert!(
        challenge.contains("max_age=4") || challenge.contains("max_age=\"4\""),
        "{challenge}"
    );
    let detail = told.headers()["x-session-detail"].to_str().unwrap();
    assert!(detail.contains("prompt=login"), "{detail}");
}

/// Without `prompt=login`, oauth2-proxy accepts the browser at once. The authentication is older than the revocation.
#[tokio::test]
async fn after_a_revocation_an_earlier_authentication_starts_no_session() {
    let behind = Behind::start(&UNASKED).await;
    let mut browser = Browser::new();
    behind.sign_in(&mut browser, "alice").await;
    let path = "/api/v1/sessions?subject=alice";
    let listed = behind.curfew.call("GET", path, None).await.1;
    let id = listed["sessions"][0]["id"].as_str().unwrap();
    let path = format!("/api/v1/sessions/{id}");
    let (status, answer) = behind.curfew.call("DELETE", &path, None).await;
    assert_eq!(status, 200, "{answer}");
    behind.backend.take();
    let (status, reason, target) = behind.page(&mut browser).await;
    assert_eq!((status, &*reason), (302, "revoked"));
    let page = behind.nginx.url("/page");
    browser.follow(&target.unwrap(), "nobody", &page).await;
    assert!(
        browser.cookies.contains_key(COOKIE),
        "oauth2-proxy has accepted the browser"
    );
    let (status, reason, _) = behind.page(&mut browser).await;
    assert!(
        status == 302 && ["revoked", "reauthentication_required"].contains(&&*reason),
        "{status} {reason}"
    );
    assert!(behind.backend.take().is_empty());
    assert_eq!(behind.live("alice").await, 0);
}

/// A user can change the request to the provider. Then the token has no authentication time.
#[tokio::test]
async fn removing_prompt_login_from_the_request_gives_no_access() {
    let behind = Behind::start(&[]).await;
    let mut browser = Browser::new();
    behind.sign_in(&mut browser, "alice").await;
    tokio::time::sleep(IDLE + Duration::from_millis(1300)).await;
    let (_, _, target) = behind.page(&mut browser).await;
    behind.backend.take();
    let start = browser.get(&target.unwrap()).await;
    let authorize = Browser::target(&start).unwrap();
    assert!(authorize.contains("prompt=login"), "{authorize}");
    let silent = authorize.replace("prompt=login", "x=y");
    browser
        .follow(&silent, "nobody", &behind.nginx.url("/page"))
        .await;
    assert!(browser.cookies.contains_key(COOKIE));
    let (status, reason, _) = behind.page(&mut browser).await;
    // NGINX answers 500 if the check returns neither allow nor deny.
    assert_eq!((status, &*reason), (500, "source_unavailable"));
    assert!(behind.backend.take().is_empty());
    assert_eq!(behind.live("alice").await, 0);
    // A regular sign-in still works.
    browser.get(&behind.nginx.url("/oauth2/sign_out")).await;
    behind.sign_in(&mut browser, "alice").await;
}

/// The output of `curfew probe` for a signed-in session, with or without the cookies of the provider.
async fn probed(behind: &Behind, with_provider: bool) -> (bool, String) {
    let mut browser = Browser::new();
    behind.sign_in(&mut browser, "alice").await;
    let cookie = browser.cookies.remove(COOKIE).unwrap();
    let pairs = browser
        .cookies
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let provider_cookie = pairs.collect::<Vec<_>>().join("; ");
    let mut command = Command::new(env!("CARGO_BIN_EXE_curfew"));
    command.args([
        "probe",
        &behind.nginx.url("/page"),
        "--idle",
        &format!("{}s", IDLE.as_secs()),
    ]);
    command.env("CURFEW_PROBE_COOKIE", format!("{COOKIE}={cookie}"));
    if with_provider {
        command.args(["--provider", &behind.provider.issuer]);
        command.env("CURFEW_PROBE_PROVIDER_COOKIE", provider_cookie);
    }
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let told = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(told).unwrap())
}

const TOLD: &str =
    "after the idle limit, the identity provider is asked to authenticate the person again";
const RETURN: &str = "after the idle limit, the identity provider's session gives no access";

#[tokio::test]
async fn the_probe_follows_the_redirects_to_the_provider() {
    let behind = Behind::start(&[]).await;
    let (passed, told) = probed(&behind, true).await;
    assert!(passed, "{told}");
    assert!(
        told.contains(&format!(
            "ok    {TOLD}: prompt=login, for {}",
            behind.provider.issuer
        )),
        "{told}"
    );
    assert!(
        told.contains(&format!(
            "ok    {RETURN}: refused, the redirects end at another page, 200"
        )),
        "{told}"
    );
    assert!(told.contains("\nsessions end on time here\n"), "{told}");
    // Without the provider's cookies, the probe reports this step as not checked.
    let (passed, told) = probed(&behind, false).await;
    assert!(passed, "{told}");
    assert!(
        told.contains(&format!("?     {RETURN}: not checked")),
        "{told}"
    );
    assert!(
        told.contains("sessions end on time here; steps marked ? were not checked\n"),
        "{told}"
    );
}

/// Without the lines for a new authentication, and with `max_age: off` in Curfew.
#[tokio::test]
async fn the_probe_detects_a_return_without_authentication() {
    let behind = Behind::start_with(&[("prompt = \"login\"", "prompt = \"\"")], Some("off")).await;
    let (passed, told) = probed(&behind, true).await;
    assert!(!passed, "{told}");
    assert!(told.contains(&format!("?     {TOLD}: it is not")), "{told}");
    assert!(
        told.contains(&format!("FAIL  {RETURN}: served, 200")),
        "{told}"
    );
}

#[tokio::test]
async fn a_sign_out_ends_both_sessions() {
    let behind = Behind::start(&[]).await;
    let mut browser = Browser::new();
    behind.sign_in(&mut browser, "alice").await;
    let cookie = browser.cookies[COOKIE].clone();
    let url = behind.nginx.url("/.curfew/sign-out");
    let leave = support::curfew::client()
        .post(url)
        .header("cookie", format!("{COOKIE}={cookie}"))
        .header("sec-fetch-site", "same-origin");
    let left = leave.send().await.unwrap();
    assert_eq!(left.status(), 204);
    let dropped = left.headers()["set-cookie"].to_str().unwrap();
    assert!(dropped.starts_with(&format!("{COOKIE}=;")), "{dropped}");
    assert_eq!(behind.page(&mut browser).await.1, "signed_out");
    assert!(!browser.cookies.contains_key(COOKIE));
    behind.asked(&mut browser).await;
    // Only Curfew can reach the pages that refresh sessions.
    for path in ["/oauth2/auth", "/oauth2/userinfo"] {
        let response = browser.get(&behind.nginx.url(path)).await;
        assert_eq!(response.status(), 404, "{path}");
    }
}

/// People copy the files from the page, so the page must show the tested files.
#[test]
fn the_documentation_shows_the_tested_files() {
    let page = include_str!("../../docs/logins/oauth2-proxy.md");
    for file in ["oauth2-proxy.cfg", "curfew.yaml", "nginx.conf"] {
        let text = deployed(&format!("oauth2-proxy/{file}"));
        assert!(page.contains(&format!("\n{text}```\n")), "{file}");
    }
}
