//! People sign in through oauth2-proxy with the files of `deploy/oauth2-proxy`. After a timeout, they must
//! authenticate again.

mod cases;
mod stack;

use std::process::Command;
use std::time::Duration;

use stack::OauthProxyStack;

use super::*;
use crate::support::deployment::read_deploy_file;
use crate::support::front_proxy::FrontProxyKind;

/// The name of the session cookie of oauth2-proxy.
const SESSION_COOKIE: &str = "_oauth2_proxy";
/// The idle limit of the tests in this file.
const IDLE_LIMIT: Duration = Duration::from_secs(4);

/// Starts a stack with NGINX and with `IDLE_LIMIT`. Applies `replacements` to oauth2-proxy's file.
async fn start(replacements: &[(&str, &str)]) -> OauthProxyStack {
    let limit = [("POLICIES__DEFAULT__IDLE", "4s")];
    OauthProxyStack::start(FrontProxyKind::Nginx, replacements, &limit).await
}

/// Replacements in the file of oauth2-proxy, after which oauth2-proxy asks the provider for no new authentication.
const REPLACEMENTS_WITHOUT_PROMPT: [(&str, &str); 2] = [
    ("prompt = \"login\"", "prompt = \"\""),
    (
        "client_id = \"oauth2-proxy\"",
        "client_id = \"oauth2-proxy-timed\"",
    ),
];

/// Without `prompt=login`, the provider answers from its own session. But Curfew detects that nobody
/// authenticated.
#[tokio::test]
async fn a_return_without_a_new_authentication_is_refused() {
    let stack = start(&REPLACEMENTS_WITHOUT_PROMPT).await;
    let mut browser = Browser::new();
    stack.sign_in(&mut browser, "alice").await;
    tokio::time::sleep(IDLE_LIMIT + Duration::from_millis(1300)).await;
    stack.backend.take();
    let (status, reason, target) = stack.open_page(&mut browser).await;
    assert_eq!((status, &*reason), (302, "idle_timeout"));
    let last_address = browser
        .follow(&target.unwrap(), "nobody", &stack.front.url("/page"))
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
            .starts_with(&stack.front.url("/oauth2/start?rd="))
    );
    assert!(stack.backend.take().is_empty());
    assert_eq!(stack.live_sessions("alice").await, 0);
    // A client that follows no redirects gets a challenge (RFC 9470) instead. The challenge names the required
    // authentication.
    let cookie = format!("{SESSION_COOKIE}={}", browser.cookies[SESSION_COOKIE]);
    let original = stack.front.url("/page");
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
    let stack = start(&REPLACEMENTS_WITHOUT_PROMPT).await;
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
    let page = stack.front.url("/page");
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
    let stack = start(&[]).await;
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
        .follow(&without_prompt, "nobody", &stack.front.url("/page"))
        .await;
    assert!(browser.cookies.contains_key(SESSION_COOKIE));
    let (status, reason, _) = stack.open_page(&mut browser).await;
    // NGINX answers 500 if the answer to a check has a status other than 2xx, 401 or 403.
    assert_eq!((status, &*reason), (500, "source_unavailable"));
    assert!(stack.backend.take().is_empty());
    assert_eq!(stack.live_sessions("alice").await, 0);
    // A regular sign-in still works.
    browser.get(&stack.front.url("/oauth2/sign_out")).await;
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
        &stack.front.url("/page"),
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
    let stack = start(&[]).await;
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
    let stack = OauthProxyStack::start(
        FrontProxyKind::Nginx,
        &[("prompt = \"login\"", "prompt = \"\"")],
        &[
            ("POLICIES__DEFAULT__IDLE", "4s"),
            ("DELEGATED__SERVICES__OAUTH2-PROXY__MAX_AGE", "off"),
        ],
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

/// People copy the files from the documentation page, so it must show the tested files.
#[test]
fn the_documentation_shows_the_tested_files() {
    let page = include_str!("../../docs/logins/oauth2-proxy.md");
    for file in [
        "oauth2-proxy.cfg",
        "curfew.yaml",
        "nginx.conf",
        "traefik.yaml",
        "envoy-routes.yaml",
        "envoy-cluster.yaml",
    ] {
        let text = read_deploy_file(&format!("oauth2-proxy/{file}"));
        assert!(page.contains(&format!("\n{text}```\n")), "{file}");
    }
}
