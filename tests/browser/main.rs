//! Black-box tests with a real Chromium, NGINX with the file of `deploy/nginx`, and Curfew. The scripts next to this
//! file control the browser and inspect its pages. `scripts/screenshots.sh` runs these tests to store pictures.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use curfew_testkit as support;

mod sign_in;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::curfew::Setup;
use support::deployment::installed_path;
use support::nginx::Nginx;
use support::{Listeners, free_port, loopback};

#[tokio::test]
async fn warning_dialog_works() {
    let application = loopback(free_port());
    let setup = Setup::memory()
        .limits("6s", "1m")
        .set("POLICIES__BRIEF__IDLE", "6s")
        .set("POLICIES__BRIEF__ABSOLUTE", "6s")
        // Without TLS, Chromium does not store `Secure` cookies.
        .set("COOKIE__NAME", "session")
        .set("COOKIE__SECURE", "false");
    let curfew = setup.start();
    let nginx = Nginx::start(curfew.listeners(), application);
    run_script(
        "warning.mjs",
        json!({
            "url": nginx.url(""),
            "application": application.port(),
            "admin": format!("http://{}", curfew.admin),
            "admin_token": setup.admin_token,
        }),
    )
    .await;
}

#[tokio::test]
async fn browser_recovers_from_two_session_cookies() {
    let application = loopback(free_port());
    let curfew = Listeners::free();
    let nginx = Nginx::start(curfew, application);
    // This host name has a parent domain, for which the script can set a second cookie. Chromium resolves the name
    // to this machine.
    let url = format!("http://a.app.localhost:{}", nginx.address.port());
    let setup = Setup::memory()
        .listen_on(curfew)
        .set("COOKIE__NAME", "session")
        .set("COOKIE__SECURE", "false")
        .set("SIGN_IN__URL", &format!("{url}/sign-in"))
        .set("SIGN_IN__ALLOWED_HOSTS", url.trim_start_matches("http://"));
    let curfew = setup.start();
    let token = curfew.sign_in("alice").await.token;
    let settings = json!({ "url": url, "application": application.port(), "token": token });
    run_script("cookies.mjs", settings).await;
}

#[tokio::test]
async fn console_works_in_chromium() {
    let rules = tempfile::Builder::new().suffix(".yaml").tempfile();
    let rules = rules.unwrap();
    let text = "rules:\n  - path: /health\n    access: public\n";
    std::fs::write(rules.path(), text).unwrap();
    let setup = Setup::memory().config_file(rules.path());
    let curfew = setup.start();
    let settings = json!({
        "admin": format!("http://{}", curfew.admin),
        "admin_token": setup.admin_token,
    });
    run_script("console.mjs", settings).await;
    assert!(!curfew.log().contains(&setup.admin_token));
}

#[tokio::test]
async fn demo_works_in_chromium() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_curfew"))
        .args(["demo", "--port", "0", "--idle", "8s", "--absolute", "1m"])
        .args(["--before", "4"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(demo.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let url = line
        .split_whitespace()
        .find(|word| word.starts_with("http://"));
    let url = url
        .unwrap_or_else(|| panic!("no address in the first line: {line}"))
        .trim_end_matches('/');
    let mut lines = stdout.lines().map_while(Result::ok);
    let console = lines.find(|line| line.contains("the console")).unwrap();
    let console = console.split_whitespace().next().unwrap();
    let token = lines.next().unwrap();
    let settings = json!({ "url": url, "console": console, "token": token.trim() });
    let result = tokio::spawn(run_script("demo.mjs", settings));
    let result = result.await;
    // SIGINT starts a graceful stop, like Ctrl-C.
    support::signal(&demo, "INT");
    let ended = tokio::task::spawn_blocking(move || demo.wait().unwrap());
    assert!(ended.await.unwrap().success());
    result.unwrap();
}

/// Runs a browser script with the values `settings`, and asserts that it succeeds.
async fn run_script(script: &str, mut settings: Value) {
    let packages = installed_path("package.json");
    settings["packages"] = json!(packages.parent().unwrap());
    settings["chromium"] = json!("/usr/bin/chromium");
    settings["pictures"] = json!(std::env::var("CURFEW_PICTURES").ok());
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    let mut command = Command::new(installed_path("bin/node"));
    command
        .arg(scripts.join(script))
        .env("BROWSER", settings.to_string());
    let run =
        tokio::task::spawn_blocking(move || command.output().expect("Node.js should be installed"));
    let output = run.await.unwrap();
    let script_output = [output.stdout, output.stderr].concat();
    let script_output = String::from_utf8_lossy(&script_output);
    println!("{script_output}");
    assert!(output.status.success(), "{script_output}");
}
