//! People sign in through oauth2-proxy with the files of `deploy/oauth2-proxy`. After a timeout, they must
//! authenticate again.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use super::*;
use crate::support::deployment::{Server, installed_path, read_deploy_file, replace_once};
use crate::support::{free_port, loopback};

/// The name of the session cookie of oauth2-proxy.
const SESSION_COOKIE: &str = "_oauth2_proxy";
const IDLE_LIMIT: Duration = Duration::from_secs(4);

struct OauthProxyStack {
    nginx: Nginx,
    curfew: Curfew,
    backend: Backend,
    provider: Provider,
    proxy: Server,
    _redis: RedisServer,
    _directory: tempfile::TempDir,
}

impl OauthProxyStack {
    /// Starts the stack with the documented files. Changes addresses and times in these files, and applies
    /// `replacements` to oauth2-proxy's file.
    async fn start(replacements: &[(&str, &str)]) -> Self {
        Self::start_with_max_age(replacements, None).await
    }

    /// Does the same as `start`, and sets `max_age` in Curfew's file.
    async fn start_with_max_age(replacements: &[(&str, &str)], max_age: Option<&str>) -> Self {
        let (listeners, proxy_address) = (Listeners::free(), loopback(free_port()));
        let backend = Backend::start().await;
        let pages = read_deploy_file("oauth2-proxy/nginx.conf");
        let pages = replace_once(
            &pages,
            &[(
                "http://oauth2-proxy:4180",
                format!("http://{proxy_address}"),
            )],
        );
        let pages = format!("{pages}    location / {{");
        let nginx = Nginx::start_with_replacements(
            listeners,
            backend.address,
            &[("    location / {", pages)],
        );
        let provider = Provider::start(&nginx.url(""), &nginx.url("/auth/callback"));
        let redis = RedisServer::start();
        let proxy = start_oauth2_proxy(proxy_address, &nginx, &provider, &redis, replacements);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("curfew.yaml");
        std::fs::write(&file, curfew_configuration(proxy_address, &nginx)).unwrap();
        let mut setup = Setup::redis(&redis.url())
            .config_file(&file)
            .limits(&format!("{}s", IDLE_LIMIT.as_secs()), "1h")
            .listen_on(listeners)
            .set("COOKIE__SECURE", "false")
            .set("COOKIE__NAME", "session");
        if let Some(max_age) = max_age {
            setup = setup.set("DELEGATED__SERVICES__OAUTH2-PROXY__MAX_AGE", max_age);
        }
        setup.declare_redis_new();
        let curfew = setup.start();
        eventually("Curfew is ready", async || {
            curfew.get_ops("/readyz").await.0 == 200
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

    /// Navigates to the page, and returns the status, the reason and the redirect target.
    async fn open_page(&self, browser: &mut Browser) -> (u16, String, Option<String>) {
        let response = browser.get(&self.nginx.url("/page")).await;
        let target = Browser::redirect_target(&response);
        let status = response.status().as_u16();
        (status, reason_of(&response).to_owned(), target)
    }

    /// Follows the redirects of the page to the provider's sign-in page.
    async fn follow_to_provider(&self, browser: &mut Browser) -> String {
        let (status, reason, target) = self.open_page(browser).await;
        let target = target.unwrap_or_else(|| panic!("{status} {reason}: {}", self.curfew.log()));
        assert!(
            target.starts_with(&self.nginx.url("/oauth2/start?rd=")),
            "{target}"
        );
        let sign_in_page = format!("{}/interaction/", self.provider.issuer);
        let last_address = browser.follow(&target, "nobody", &sign_in_page).await;
        last_address.to_string()
    }

    /// Authenticates with the provider, and returns to the page.
    async fn sign_in(&self, browser: &mut Browser, user: &str) {
        let sign_in_page = self.follow_to_provider(browser).await;
        let page = self.nginx.url("/page");
        browser.follow(&sign_in_page, user, &page).await;
        let (status, reason, _) = self.open_page(browser).await;
        assert_eq!(
            status,
            200,
            "{reason}: {}\n{}",
            self.proxy.read("log"),
            self.curfew.log()
        );
        let seen = self.backend.take();
        assert_eq!(seen.last().unwrap().header_values("x-session-user"), [user]);
        assert_eq!(
            seen.last().unwrap().header_values("x-session-groups"),
            ["staff"]
        );
    }

    /// Returns the number of live sessions of `user`.
    async fn live_sessions(&self, user: &str) -> u64 {
        let path = format!("/api/v1/sessions/count?subject={user}");
        let count = self.curfew.call("GET", &path, None).await.1;
        count["live"].as_u64().unwrap()
    }
}

/// Starts oauth2-proxy with the documented file, after some changes.
fn start_oauth2_proxy(
    proxy_address: SocketAddr,
    nginx: &Nginx,
    provider: &Provider,
    redis: &RedisServer,
    replacements: &[(&str, &str)],
) -> Server {
    let addresses = [
        ("0.0.0.0:4180", proxy_address.to_string()),
        ("https://id.example.com", provider.issuer.clone()),
        ("https://app.example.com", nginx.url("")),
        ("\"app.example.com\"", format!("\"{}\"", nginx.address)),
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
    Server::start(
        &mut command,
        &[("oauth2-proxy.cfg", &text)],
        &[proxy_address],
    )
}

/// Returns the text of Curfew's configuration file.
fn curfew_configuration(proxy_address: SocketAddr, nginx: &Nginx) -> String {
    let text = read_deploy_file("oauth2-proxy/curfew.yaml");
    let addresses = [
        (
            "http://oauth2-proxy:4180",
            format!("http://{proxy_address}"),
        ),
        ("https://app.example.com", nginx.url("")),
        (
            "allowed_hosts: app.example.com",
            format!("allowed_hosts: {}", nginx.address),
        ),
    ];
    replace_once(&text, &addresses)
}

/// Replacements in the file of oauth2-proxy, after which oauth2-proxy asks the provider for no new authentication.
const REPLACEMENTS_WITHOUT_PROMPT: [(&str, &str); 2] = [
    ("prompt = \"login\"", "prompt = \"\""),
    (
        "client_id = \"oauth2-proxy\"",
        "client_id = \"oauth2-proxy-timed\"",
    ),
];

#[tokio::test]
async fn after_a_timeout_people_authenticate_again() {
    let stack = OauthProxyStack::start(&[]).await;
    let mut browser = Browser::new();
    stack.sign_in(&mut browser, "alice").await;
    let first = browser.cookies[SESSION_COOKIE].clone();
    let ticket_of = |cookie: &str| cookie.split('|').next().unwrap().to_owned();
    // Uses the session for longer than the idle limit. Meanwhile oauth2-proxy refreshes its tokens and its cookie.
    for _ in 0..8 {
        tokio::time::sleep(IDLE_LIMIT / 6).await;
        assert_eq!(
            stack.open_page(&mut browser).await.0,
            200,
            "{}",
            stack.curfew.log()
        );
    }
    let refreshed = browser.cookies[SESSION_COOKIE].clone();
    assert_ne!(first, refreshed, "{}", stack.proxy.read("log"));
    assert_eq!(ticket_of(&first), ticket_of(&refreshed));
    assert_eq!(stack.live_sessions("alice").await, 1);
    tokio::time::sleep(IDLE_LIMIT + Duration::from_millis(300)).await;
    stack.backend.take();
    let (status, reason, _) = stack.open_page(&mut browser).await;
    assert_eq!((status, &*reason), (302, "idle_timeout"));
    assert!(
        !browser.cookies.contains_key(SESSION_COOKIE),
        "the denial should clear the cookie of oauth2-proxy"
    );
    // The browser still has a session at the provider, but the provider asks for a new authentication.
    stack.follow_to_provider(&mut browser).await;
    assert!(stack.backend.take().is_empty());
    stack.sign_in(&mut browser, "alice").await;
    assert_ne!(
        ticket_of(&browser.cookies[SESSION_COOKIE]),
        ticket_of(&first)
    );
    // The old cookie gives no access, although oauth2-proxy accepts it.
    browser.cookies.insert(SESSION_COOKIE.to_owned(), refreshed);
    let (status, reason, _) = stack.open_page(&mut browser).await;
    assert_eq!((status, &*reason), (302, "idle_timeout"));
}

/// Without `prompt=login`, the provider answers from its own session. But Curfew detects that nobody
/// authenticated.
#[tokio::test]
async fn a_return_without_a_new_authentication_is_refused() {
    let stack = OauthProxyStack::start(&REPLACEMENTS_WITHOUT_PROMPT).await;
    let mut browser = Browser::new();
    stack.sign_in(&mut browser, "alice").await;
    tokio::time::sleep(IDLE_LIMIT + Duration::from_millis(1300)).await;
    stack.backend.take();
    let (status, reason, target) = stack.open_page(&mut browser).await;
    assert_eq!((status, &*reason), (302, "idle_timeout"));
    let last_address = browser
        .follow(&target.unwrap(), "nobody", &stack.nginx.url("/page"))
        .await;
    assert_eq!(last_address.path(), "/page");
    assert!(
        browser.cookies.contains_key(SESSION_COOKIE),
        "oauth2-proxy should have signed the browser in again"
    );
    let (status, reason, target) = stack.open_page(&mut browser).await;
    assert_eq!((status, &*reason), (302, "reauthentication_required"));
    assert!(
        target
            .unwrap()
            .starts_with(&stack.nginx.url("/oauth2/start?rd="))
    );
    assert!(stack.backend.take().is_empty());
    assert_eq!(stack.live_sessions("alice").await, 0);
    // A client that follows no redirects gets a challenge (RFC 9470) instead. The challenge names the required
    // authentication.
    let cookie = format!("{SESSION_COOKIE}={}", browser.cookies[SESSION_COOKIE]);
    let original = stack.nginx.url("/page");
    let url = format!("http://{}/auth-request", stack.curfew.listeners().check);
    let script_request = support::curfew::client()
        .get(url)
        .header("cookie", cookie)
        .header("x-original-url", original)
        .header("x-original-method", "POST");
    let response = script_request.send().await.unwrap();
    let challenge = response.headers()["www-authenticate"].to_str().unwrap();
    assert_eq!(response.status(), 401);
    assert!(
        challenge.contains("insufficient_user_authentication"),
        "{challenge}"
    );
    assert!(
        challenge.contains("max_age=4") || challenge.contains("max_age=\"4\""),
        "{challenge}"
    );
    let detail = response.headers()["x-session-detail"].to_str().unwrap();
    assert!(detail.contains("prompt=login"), "{detail}");
}

/// Without `prompt=login`, oauth2-proxy signs the browser in again at once. Curfew denies the request, because the
/// authentication is older than the revocation.
#[tokio::test]
async fn after_a_revocation_an_earlier_authentication_starts_no_session() {
    let stack = OauthProxyStack::start(&REPLACEMENTS_WITHOUT_PROMPT).await;
    let mut browser = Browser::new();
    stack.sign_in(&mut browser, "alice").await;
    let path = "/api/v1/sessions?subject=alice";
    let sessions = stack.curfew.call("GET", path, None).await.1;
    let id = sessions["sessions"][0]["id"].as_str().unwrap();
    let path = format!("/api/v1/sessions/{id}");
    let (status, answer) = stack.curfew.call("DELETE", &path, None).await;
    assert_eq!(status, 200, "{answer}");
    stack.backend.take();
    let (status, reason, target) = stack.open_page(&mut browser).await;
    assert_eq!((status, &*reason), (302, "revoked"));
    let page = stack.nginx.url("/page");
    browser.follow(&target.unwrap(), "nobody", &page).await;
    assert!(
        browser.cookies.contains_key(SESSION_COOKIE),
        "oauth2-proxy should have signed the browser in again"
    );
    let (status, reason, _) = stack.open_page(&mut browser).await;
    assert!(
        status == 302 && ["revoked", "reauthentication_required"].contains(&&*reason),
        "{status} {reason}"
    );
    assert!(stack.backend.take().is_empty());
    assert_eq!(stack.live_sessions("alice").await, 0);
}

/// A user can remove `prompt=login` from the request to the provider. Then the token has no authentication time,
/// so Curfew denies the request.
#[tokio::test]
async fn removing_prompt_login_from_the_request_gives_no_access() {
    let stack = OauthProxyStack::start(&[]).await;
    let mut browser = Browser::new();
    stack.sign_in(&mut browser, "alice").await;
    tokio::time::sleep(IDLE_LIMIT + Duration::from_millis(1300)).await;
    let (_, _, target) = stack.open_page(&mut browser).await;
    stack.backend.take();
    let start = browser.get(&target.unwrap()).await;
    let authorize = Browser::redirect_target(&start).unwrap();
    assert!(authorize.contains("prompt=login"), "{authorize}");
    let without_prompt = authorize.replace("prompt=login", "x=y");
    browser
        .follow(&without_prompt, "nobody", &stack.nginx.url("/page"))
        .await;
    assert!(browser.cookies.contains_key(SESSION_COOKIE));
    let (status, reason, _) = stack.open_page(&mut browser).await;
    // NGINX answers 500 if the answer to a check has a status other than 2xx, 401 or 403.
    assert_eq!((status, &*reason), (500, "source_unavailable"));
    assert!(stack.backend.take().is_empty());
    assert_eq!(stack.live_sessions("alice").await, 0);
    // A regular sign-in still works.
    browser.get(&stack.nginx.url("/oauth2/sign_out")).await;
    stack.sign_in(&mut browser, "alice").await;
}

/// Runs `curfew probe` with a signed-in session. Returns whether it passed, and its output. The probe gets the
/// provider's cookies only if `with_provider` is true.
async fn run_probe(stack: &OauthProxyStack, with_provider: bool) -> (bool, String) {
    let mut browser = Browser::new();
    stack.sign_in(&mut browser, "alice").await;
    let cookie = browser.cookies.remove(SESSION_COOKIE).unwrap();
    let pairs = browser
        .cookies
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let provider_cookie = pairs.collect::<Vec<_>>().join("; ");
    let mut command = Command::new(env!("CARGO_BIN_EXE_curfew"));
    command.args([
        "probe",
        &stack.nginx.url("/page"),
        "--idle",
        &format!("{}s", IDLE_LIMIT.as_secs()),
    ]);
    command.env("CURFEW_PROBE_COOKIE", format!("{SESSION_COOKIE}={cookie}"));
    if with_provider {
        command.args(["--provider", &stack.provider.issuer]);
        command.env("CURFEW_PROBE_PROVIDER_COOKIE", provider_cookie);
    }
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let report = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(report).unwrap())
}

const PROMPT_STEP: &str =
    "after the idle limit, the identity provider is asked to authenticate the person again";
const RETURN_STEP: &str = "after the idle limit, the identity provider's session gives no access";

#[tokio::test]
async fn the_probe_follows_the_redirects_to_the_provider() {
    let stack = OauthProxyStack::start(&[]).await;
    let (passed, report) = run_probe(&stack, true).await;
    assert!(passed, "{report}");
    assert!(
        report.contains(&format!(
            "ok    {PROMPT_STEP}: prompt=login, for {}",
            stack.provider.issuer
        )),
        "{report}"
    );
    assert!(
        report.contains(&format!(
            "ok    {RETURN_STEP}: refused, the redirects end at another page, 200"
        )),
        "{report}"
    );
    assert!(
        report.contains("\nsessions end on time here; steps marked ? were not checked\n"),
        "{report}"
    );
    // Without the provider's cookies, the probe cannot use the provider's session, so it reports the step as not
    // checked.
    let (passed, report) = run_probe(&stack, false).await;
    assert!(passed, "{report}");
    assert!(
        report.contains(&format!("?     {RETURN_STEP}: not checked")),
        "{report}"
    );
    assert!(
        report.contains("sessions end on time here; steps marked ? were not checked\n"),
        "{report}"
    );
}

/// oauth2-proxy asks for no new authentication, and Curfew has `max_age: off`, so a person can return without one.
#[tokio::test]
async fn the_probe_detects_a_return_without_authentication() {
    let stack = OauthProxyStack::start_with_max_age(
        &[("prompt = \"login\"", "prompt = \"\"")],
        Some("off"),
    )
    .await;
    let (passed, report) = run_probe(&stack, true).await;
    assert!(!passed, "{report}");
    assert!(
        report.contains(&format!("?     {PROMPT_STEP}: the request to ")),
        "{report}"
    );
    assert!(
        report.contains(&format!("FAIL  {RETURN_STEP}: served, 200")),
        "{report}"
    );
}

#[tokio::test]
async fn a_sign_out_ends_both_sessions() {
    let stack = OauthProxyStack::start(&[]).await;
    let mut browser = Browser::new();
    stack.sign_in(&mut browser, "alice").await;
    let cookie = browser.cookies[SESSION_COOKIE].clone();
    let url = stack.nginx.url("/.curfew/sign-out");
    let sign_out = support::curfew::client()
        .post(url)
        .header("cookie", format!("{SESSION_COOKIE}={cookie}"))
        .header("sec-fetch-site", "same-origin");
    let sign_out_response = sign_out.send().await.unwrap();
    assert_eq!(sign_out_response.status(), 204);
    let cleared_cookie = sign_out_response.headers()["set-cookie"].to_str().unwrap();
    assert!(
        cleared_cookie.starts_with(&format!("{SESSION_COOKIE}=;")),
        "{cleared_cookie}"
    );
    assert_eq!(stack.open_page(&mut browser).await.1, "signed_out");
    assert!(!browser.cookies.contains_key(SESSION_COOKIE));
    stack.follow_to_provider(&mut browser).await;
    // Only Curfew can reach the paths of oauth2-proxy that refresh a session.
    for path in ["/oauth2/auth", "/oauth2/userinfo"] {
        let response = browser.get(&stack.nginx.url(path)).await;
        assert_eq!(response.status(), 404, "{path}");
    }
}

/// People copy the files from the documentation page, so it must show the tested files.
#[test]
fn the_documentation_shows_the_tested_files() {
    let page = include_str!("../../docs/logins/oauth2-proxy.md");
    for file in ["oauth2-proxy.cfg", "curfew.yaml", "nginx.conf"] {
        let text = read_deploy_file(&format!("oauth2-proxy/{file}"));
        assert!(page.contains(&format!("\n{text}```\n")), "{file}");
    }
}
