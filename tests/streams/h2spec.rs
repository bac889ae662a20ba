//! The conformance tests of HTTP/2 (h2spec) on the proxy listener.

use std::process::Command;

use crate::application::{Application, TargetKind};
use crate::cells::start_proxy;
use crate::support::curfew::Setup;
use crate::support::deployment::installed_path;
use crate::support::tls::{Certificates, install_provider};

/// The cases that fail, and why.
const KNOWN_FAILURES: [(&str, &str); 2] = [
    (
        "Sends invalid connection preface",
        "the listener also serves HTTP/1.1, so it answers with 400 over HTTP/1.1, and closes the connection",
    ),
    (
        "closed: Sends a HEADERS frame after sending RST_STREAM frame",
        "the crate h2 ignores frames of a stream that the client has reset, as RFC 9113, section 5.1 allows",
    ),
];

/// h2spec cannot send a cookie, so a rule makes all requests public.
#[tokio::test]
async fn the_proxy_listener_conforms_to_http_2() {
    install_provider();
    let application = Application::start(TargetKind::Http, &Certificates::generate()).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("curfew.yaml");
    let upstream = format!("{{host: 127.0.0.1, target: '{}'}}", application.target);
    let yaml = format!("rules: [{{access: public}}]\nproxy: {{upstreams: [{upstream}]}}\n");
    std::fs::write(&file, yaml).unwrap();
    let (_curfew, proxy) = start_proxy(Setup::memory(), &file);
    let report = directory.path().join("report.xml");
    let mut command = Command::new(installed_path("h2spec"));
    command
        .args(["--host", "127.0.0.1", "--path", "/upload", "--timeout", "5"])
        .args(["--port", &proxy.port().to_string()])
        .arg("--junit-report")
        .arg(&report);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report = std::fs::read_to_string(&report).unwrap();
    let (mut passed, mut failed) = (0, Vec::new());
    for case in report.split("<testcase ").skip(1) {
        let case = case.split("</testcase>").next().unwrap();
        if case.contains("<failure") || case.contains("<error") {
            failed.push(case.lines().next().unwrap().to_owned());
        } else if !case.contains("<skipped") {
            passed += 1;
        }
    }
    let is_known = |case: &&String| KNOWN_FAILURES.iter().any(|(name, _)| case.contains(name));
    let unknown: Vec<_> = failed.iter().filter(|case| !is_known(case)).collect();
    assert!(unknown.is_empty(), "{unknown:#?}\n{text}");
    assert!(passed > 100, "{passed} cases passed\n{text}");
}
