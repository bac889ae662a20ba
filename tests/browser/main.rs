//! Black box: a real Chromium, NGINX with the file of `deploy/nginx`, and Curfew. The scripts beside
//! this file say what a person does and sees. `scripts/screenshots.sh` keeps the pictures.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Command;

use serde_json::json;
use support::curfew::Setup;
use support::deployed::installed;
use support::nginx::Nginx;
use support::{free_port, local};

#[tokio::test]
async fn the_warning() {
    let application = local(free_port());
    let setup = Setup::memory()
        .limits("6s", "1m")
        .set("POLICIES__BRIEF__IDLE", "6s")
        .set("POLICIES__BRIEF__ABSOLUTE", "6s")
        // Chromium keeps secure cookies of plain HTTP for nobody.
        .set("COOKIE__NAME", "session")
        .set("COOKIE__SECURE", "false");
    let curfew = setup.start();
    let nginx = Nginx::start(curfew.check, application);
    let packages = installed("package.json");
    let given = json!({
        "url": nginx.url(""),
        "application": application.port(),
        "admin": format!("http://{}", curfew.admin),
        "admin_token": setup.admin_token,
        "packages": packages.parent().unwrap(),
        "chromium": "/usr/bin/chromium",
        "pictures": std::env::var("CURFEW_PICTURES").ok(),
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/warning.mjs");
    let mut command = Command::new(installed("bin/node"));
    command.arg(script).env("BROWSER", given.to_string());
    let run = tokio::task::spawn_blocking(move || command.output().expect("Node.js"));
    let output = run.await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    println!("{said}");
    assert!(output.status.success(), "{said}\n{}", curfew.log());
}
