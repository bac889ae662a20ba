//! A recording shows the operator the requests that the proxy really sends.

use std::process::Command;

use reqwest::StatusCode;
use serde_json::json;

use crate::support::backend::Backend;
use crate::support::curfew::{Setup, client};
use crate::support::nginx::Nginx;

#[tokio::test]
async fn a_recording_shows_what_a_proxy_sends_without_secrets() {
    let setup = Setup::memory();
    let curfew = setup.start();
    let backend = Backend::start().await;
    let nginx = Nginx::start(curfew.listeners(), backend.address);
    let session = curfew.sign_in("alice").await;
    let (status, _) = curfew.call("GET", "/api/v1/recording", None).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "no recording was started");
    for duration in ["0s", "11m", "x", ""] {
        let body = json!({ "duration": duration });
        let (status, problem) = curfew.call("POST", "/api/v1/recording", Some(body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{duration}");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("between 1s and 10m")
        );
    }
    let body = Some(json!({ "duration": "10m" }));
    let (status, _) = curfew.call("POST", "/api/v1/recording", body).await;
    assert_eq!(status, StatusCode::CREATED);
    let answer = client()
        .get(nginx.url("/orders?page=2&token=geheim"))
        .header("host", "app.example.com")
        .header("cookie", format!("{}; other=geheim", session.cookie()))
        .header("authorization", "Basic geheim")
        .header("x-api-key", "geheim")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    // Sends a check as a proxy with a wrong configuration does.
    let answer = client()
        .get(format!("http://{}/auth-request", curfew.check))
        .send()
        .await;
    assert_eq!(answer.unwrap().status(), 401);
    let (status, recording) = curfew.call("GET", "/api/v1/recording", None).await;
    assert_eq!(status, StatusCode::OK);
    let text = recording.to_string();
    for secret in ["geheim", &session.token] {
        assert!(!text.contains(secret), "{text}");
    }
    let checks = recording["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 2);
    assert_eq!(checks[0]["verdict"], "allow");
    assert_eq!(checks[0]["method"], "GET");
    let url = "http://app.example.com/orders?page=(1 bytes)&token=(6 bytes)";
    assert_eq!(checks[0]["url"], url);
    let headers = checks[0]["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["x-original-method", "GET"])));
    assert!(headers.contains(&json!(["x-original-url", url])), "{text}");
    assert_eq!(checks[1]["detail"], "X-Original-URL is missing");

    // `curfew explain` reads the recording.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_curfew"))
        .args(["explain", "--recording", file.path().to_str().unwrap()])
        .output()
        .unwrap();
    let explanation = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{explanation}");
    for line in [
        "2 checks since ",
        &*format!("request    GET {url}"),
        "header     x-original-method: GET",
        "answer     allow",
        "rule       none",
        "answer     malformed_request: X-Original-URL is missing",
    ] {
        assert!(
            explanation.contains(line),
            "{line} is not in\n{explanation}"
        );
    }
    let (status, _) = stop_recording(&curfew).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(stop_recording(&curfew).await.0, StatusCode::NOT_FOUND);
    assert_eq!(curfew.audit_events("recording.started").len(), 1);
    let use_events = curfew.audit_events("recording.used");
    let uses: Vec<_> = use_events
        .iter()
        .map(|event| event["curfew.recording.used"].as_str().unwrap())
        .collect();
    assert_eq!(uses, ["read", "stopped"]);
    assert_eq!(use_events[0]["curfew.actor.kind"], "admin_token");
    assert_eq!(use_events[0]["source.ip"], "127.0.0.1");
}

async fn stop_recording(curfew: &crate::support::curfew::Curfew) -> (StatusCode, String) {
    let answer = client()
        .delete(format!("http://{}/api/v1/recording", curfew.admin))
        .bearer_auth(&curfew.admin_token)
        .send()
        .await
        .unwrap();
    (answer.status(), answer.text().await.unwrap())
}
