//! `curfew probe` detects whether sessions end, with the file of `deploy/` and with broken variants of this file.

use std::process::Output;

use super::*;
use crate::support::Listeners;

impl Stack {
    /// Starts the servers with these replacements in NGINX's file.
    async fn with_nginx(replacements: &[(&str, String)]) -> Self {
        let mut stack = Self::start().await;
        stack.nginx = Nginx::start_with_replacements(
            stack.curfew.listeners(),
            stack.backend.address,
            replacements,
        );
        stack
    }

    async fn probe(&self, extra_arguments: &[&str]) -> Output {
        let url = self.nginx.url("/");
        let arguments = [&["probe", &url][..], extra_arguments].concat();
        let mut command = self.setup.command(&arguments);
        command
            .env("CURFEW_ADMIN_URL", format!("http://{}", self.curfew.admin))
            .env("CURFEW_ADMIN_TOKEN", &self.setup.admin_token);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        output.await.unwrap()
    }

    /// Runs the probe. Asserts that it fails, and that its output contains this line.
    async fn assert_probe_fails(&self, line: &str) {
        let output = self.probe(&["--subject", "probe", "--age"]).await;
        let report = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{report}");
        assert!(report.contains(line), "{report}");
    }
}

const CHECK_DIRECTIVE: &str = "proxy_pass http://curfew/auth-request;";

#[tokio::test]
async fn the_probe_passes_with_the_delivered_file() {
    let stack = Stack::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (junit_report, json_report) = (path("junit.xml"), path("report.json"));
    let api = stack.nginx.url("/api/orders");
    let arguments = [
        "--subject",
        "probe",
        "--age",
        "--api",
        &api,
        "--junit",
        &junit_report,
        "--json",
        &json_report,
    ];
    let output = stack.probe(&arguments).await;
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{report}");
    assert!(
        report.contains(
            "ok    after the idle limit, the API is refused: refused, 401 (idle_timeout)\n"
        ),
        "{report}"
    );
    // The stack has no sign-in page, and the arguments name no stream, so the probe cannot check these.
    let last_line = "sessions end on time here; steps marked ? were not checked\n";
    assert!(report.ends_with(last_line), "{report}");
    assert!(
        report.contains("not checked: the denial (401) does not redirect to a sign-in page"),
        "{report}"
    );
    assert!(
        report.contains("?     streams end with their session: not checked: --stream names none\n"),
        "{report}"
    );
    let junit_report = std::fs::read_to_string(junit_report).unwrap();
    assert!(
        junit_report.contains("failures=\"0\" skipped=\"2\"")
            && junit_report.matches("<testcase").count() >= 14,
        "{junit_report}"
    );
    let json_report = std::fs::read_to_string(json_report).unwrap();
    let json_report: serde_json::Value = serde_json::from_str(&json_report).unwrap();
    assert_eq!(json_report["checks"][0]["passed"], true);
    // Without `--age`, the probe waits until the session ends.
    let stack = Stack::with_limits("2s", "1h").await;
    let session = stack.curfew.sign_in("alice").await;
    let cookie = session.cookie();
    let output = stack.probe(&["--cookie", &cookie, "--idle", "2s"]).await;
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{report}");
    assert!(!report.contains(&session.token), "{report}");
}

#[tokio::test]
async fn the_probe_fails_without_a_check() {
    let without_check = ("auth_request /_curfew/check;", String::new());
    let stack = Stack::with_nginx(&[without_check]).await;
    stack
        .assert_probe_fails("FAIL  without a session, the page is refused: served, 200")
        .await;
}

#[tokio::test]
async fn the_probe_fails_with_cached_answers() {
    let cache = format!(
        "proxy_cache answers;\n        proxy_cache_key $cookie___Host_session$http_cookie;\n        \
         proxy_ignore_headers Cache-Control Set-Cookie;\n        proxy_cache_valid 200 10m;\n        {CHECK_DIRECTIVE}"
    );
    let path = (
        "upstream curfew {",
        "proxy_cache_path cache keys_zone=answers:1m;\nupstream curfew {".to_owned(),
    );
    let stack = Stack::with_nginx(&[(CHECK_DIRECTIVE, cache), path]).await;
    stack
        .assert_probe_fails("FAIL  after the idle limit, the page is refused: served, 200")
        .await;
    stack
        .assert_probe_fails("FAIL  a revoked session is refused within 3 s: served, 200")
        .await;
}

#[tokio::test]
async fn the_probe_fails_if_errors_of_the_check_admit_requests() {
    let without_check = (
        "error_page 401 = @refused;",
        "error_page 401 = @refused;\n        error_page 500 502 503 504 = @application;".to_owned(),
    );
    let location = (
        "location @refused {",
        "location @application {\n        proxy_pass http://application;\n    }\n\n    location @refused {"
            .to_owned(),
    );
    let stack = Stack::with_nginx(&[without_check, location]).await;
    stack
        .assert_probe_fails(
            "FAIL  a request that cannot be checked is refused (fail closed): served, 200",
        )
        .await;
}

#[tokio::test]
async fn the_probe_fails_if_denials_are_pages() {
    let page = (
        "error_page 401 = @refused;",
        "error_page 401 =200 @welcome;".to_owned(),
    );
    let location = (
        "location @refused {",
        "location @welcome {\n        return 200 welcome;\n    }\n\n    location @refused {"
            .to_owned(),
    );
    let stack = Stack::with_nginx(&[page, location]).await;
    stack
        .assert_probe_fails("FAIL  without a session, the page is refused: served, 200")
        .await;
}

#[tokio::test]
async fn the_probe_fails_if_clients_choose_the_url_of_the_check() {
    // In this file, NGINX takes the URL from the client's own `X-Original-URL`, and one path is public.
    let stack = Stack::start().await;
    let client_chosen_url = (
        "proxy_set_header X-Original-URL $scheme://$host$request_port$request_uri;",
        "set $original $scheme://$host$request_port$request_uri;\n        if ($http_x_original_url) { set $original \
         $http_x_original_url; }\n        proxy_set_header X-Original-URL $original;"
            .to_owned(),
    );
    let rules = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    let text = "rules:\n  - path: /.curfew/signed-out\n    access: public\n";
    std::fs::write(rules.path(), text).unwrap();
    let setup = stack.setup.clone().config_file(rules.path());
    let curfew = setup.start();
    let nginx = Nginx::start_with_replacements(
        curfew.listeners(),
        stack.backend.address,
        &[client_chosen_url],
    );
    let stack = Stack {
        setup,
        curfew,
        nginx,
        ..stack
    };
    stack
        .assert_probe_fails("FAIL  forged request headers give no access: served, 200")
        .await;
}

/// NGINX loads the output of `curfew render` unchanged, and streams end at the idle limit.
#[tokio::test]
async fn the_probe_passes_with_the_rendered_file() {
    let mut stack = Stack::start().await;
    let Listeners { check, browser } = stack.curfew.listeners();
    let application = stack.backend.address;
    let output = stack
        .setup
        .command(&["render", "nginx", "--check", &check.to_string()])
        .args(["--browser", &browser.to_string()])
        .args(["--application", &application.to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("proxy_read_timeout 900s;"), "{text}");
    stack.nginx = Nginx::start_with_configuration(&text, "");
    let output = stack.probe(&["--subject", "probe", "--age"]).await;
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{report}");
}
