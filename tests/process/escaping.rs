//! A subject's name contains a bidirectional override, invisible characters and text that looks like a log field.
//! Curfew escapes these characters in all output, except in values that programs compare.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::support::backend::Backend;
use crate::support::curfew::Curfew;

const MISLEADING_NAME: &str =
    "eve\u{202e}\u{200b}\u{2028}\u{feff}\u{2066}\" user.id=\"root\" <b>x</b>";
const HIDDEN_CHARACTERS: [char; 5] = ['\u{202e}', '\u{200b}', '\u{2028}', '\u{feff}', '\u{2066}'];

/// Asserts that the text contains the name without hidden characters. `output` describes the origin of the text.
fn assert_escaped(output: &str, text: &str) {
    assert!(text.contains("eve"), "no name in {output}:\n{text}");
    assert!(!text.contains(HIDDEN_CHARACTERS), "{output}: {text:?}");
}

/// Returns the settings of a shell that runs commands against this Curfew.
fn operator_shell(setup: &Setup, curfew: &Curfew) -> Setup {
    Setup::memory()
        .set_variable("CURFEW_ADMIN_URL", &format!("http://{}", curfew.admin))
        .set_variable("CURFEW_ADMIN_TOKEN", &setup.admin_token)
}

/// Sends a request with the header `name: value`, and returns the body of the answer.
async fn get_body(url: String, name: &str, value: &str) -> String {
    let response = client().get(url).header(name, value).send().await;
    response.unwrap().text().await.unwrap()
}

async fn console_cookie(setup: &Setup, curfew: &Curfew) -> String {
    let response = client()
        .post(format!("http://{}/console/sign-in", curfew.admin))
        .header("sec-fetch-site", "same-origin")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("token={}", setup.admin_token))
        .send()
        .await
        .unwrap();
    let line = response.headers()["set-cookie"].to_str().unwrap();
    line.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_name_with_hidden_characters_is_escaped_wherever_it_is_shown() {
    let webhook = Backend::start().await;
    let setup = Setup::memory()
        .set("LOG__FORMAT", "human")
        .set(
            "EVENTS__WEBHOOK_URL",
            &format!("http://{}/hook", webhook.address),
        )
        .set(
            "EVENTS__WEBHOOK_SECRET",
            &format!("whsec_{}", STANDARD.encode([7; 32])),
        );
    let curfew = setup.start();
    let attributes = json!({ "groups": [MISLEADING_NAME], "email": MISLEADING_NAME });
    let session = curfew.sign_in_with(MISLEADING_NAME, attributes).await;

    // The application compares the name, so it receives the name unchanged.
    let answer = client()
        .get(format!("http://{}/auth-request", curfew.check))
        .header("x-original-url", "https://app.example.com/")
        .header("x-original-method", "GET")
        .header("cookie", session.cookie())
        .send()
        .await
        .unwrap();
    assert_eq!(
        answer.headers()["x-session-user"].as_bytes(),
        MISLEADING_NAME.as_bytes()
    );

    let shell = operator_shell(&setup, &curfew);
    for arguments in [
        &["sessions", "list"][..],
        &["sessions", "list", "--json"],
        &["sessions", "show", &session.id],
        &["sessions", "show", &session.id, "--json"],
    ] {
        let output = run_command(&shell, arguments);
        assert!(output.status.success(), "{}", to_text(&output.stderr));
        assert_escaped(&arguments.join(" "), &to_text(&output.stdout));
    }
    let json = to_text(&run_command(&shell, &["sessions", "show", &session.id, "--json"]).stdout);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["subject"], MISLEADING_NAME);

    let bearer = format!("Bearer {}", setup.admin_token);
    let session_list = get_body(
        format!("http://{}/api/v1/sessions", curfew.admin),
        "authorization",
        &bearer,
    );
    assert_escaped("the admin API", &session_list.await);
    let url = format!("http://{}/.curfew/session", curfew.browser);
    let status = get_body(url, "cookie", &session.cookie()).await;
    assert_escaped("the status", &status);
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["subject"], MISLEADING_NAME);

    let cookie = console_cookie(&setup, &curfew).await;
    for path in [
        "/console/".to_owned(),
        format!("/console/sessions/{}", session.id),
        "/console/health".to_owned(),
        "/console/?subject=eve%E2%80%AE%3Cb%3E".to_owned(),
    ] {
        let page = get_body(format!("http://{}{path}", curfew.admin), "cookie", &cookie).await;
        assert_escaped(&path, &page);
        assert!(!page.contains("<b>"), "{page}");
    }

    curfew.age(&session, "1h").await;
    assert_eq!(curfew.check(&session).await, denied("idle_timeout"));
    let mut webhook_requests = Vec::new();
    eventually("the webhook is called", async || {
        webhook_requests.extend(webhook.take());
        !webhook_requests.is_empty()
    })
    .await;
    let message = to_text(&webhook_requests[0].body);
    assert_escaped("the webhook", &message);
    let message: Value = serde_json::from_str(&message).unwrap();
    assert_eq!(message["data"]["subject"], MISLEADING_NAME);
    assert!(
        !curfew
            .get_ops("/metrics")
            .await
            .1
            .contains(HIDDEN_CHARACTERS)
    );

    eventually("the log contains the denial", async || {
        curfew.log().contains("request denied")
    })
    .await;
    let log = curfew.log();
    assert_escaped("the log", &log);
    assert!(!log.contains(" user.id=\"root\""), "{log}");
    let denied: Vec<_> = log
        .lines()
        .filter(|it| it.contains("request denied"))
        .collect();
    assert_eq!(denied.len(), 1, "{log}");
    assert!(
        denied[0].contains(
            r#" user.id="eve\u{202e}\u{200b}\u{2028}\u{feff}\u{2066}\" user.id=\"root\" <b>x</b>""#
        ),
        "{}",
        denied[0]
    );
}

/// Commands escape the content of a file, and arguments that they repeat in their output.
#[test]
fn commands_escape_text_from_files_and_arguments() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("curfew.yaml");
    std::fs::write(&path, "eve\u{202e}\u{1b}[2J: 1\n").ok();
    let path = path.to_str().unwrap();
    for arguments in [
        &["check-config", "--config", path][..],
        &["lint", "/no/eve\u{202e}\u{1b}[2J.conf"],
        &["migrate-annotations", "/no/eve\u{202e}\u{1b}[2J.yaml"],
        &["explain", "--recording", "/no/eve\u{202e}\u{1b}[2J.json"],
        &["sessions", "show", "eve\u{202e}\u{1b}[2J"],
    ] {
        let output = run_command(&Setup::memory(), arguments);
        let output_text = to_text(&output.stdout) + &to_text(&output.stderr);
        assert!(!output.status.success(), "{output_text}");
        assert!(
            !output_text.contains(['\u{202e}', '\u{1b}']),
            "{arguments:?}: {output_text:?}"
        );
    }
}

/// The audit event of the aging names the admin token as the actor, and its address. The audit event of the session end
/// has the address of the client whose check ended the session.
#[tokio::test]
async fn aging_a_session_and_the_client_of_its_last_check_are_audited() {
    let curfew = Setup::memory().start();
    let session = curfew.sign_in("alice").await;
    curfew.age(&session, "1h").await;
    let request = client().get(format!("http://{}/auth-request", curfew.check));
    let request = request
        .header("x-original-url", "https://app.example.com/")
        .header("x-original-method", "GET")
        .header("x-forwarded-for", "203.0.113.9")
        .header("cookie", session.cookie());
    assert_eq!(request.send().await.unwrap().status(), 401);
    eventually("the audit event is logged", async || {
        !curfew.audit_events("session.ended").is_empty()
    })
    .await;
    let aged = &curfew.audit_events("session.aged")[0];
    assert_eq!(aged["user.id"], "alice");
    assert_eq!(aged["curfew.session.aged_by"], "1h");
    assert_eq!(aged["curfew.actor.kind"], "admin_token");
    assert_eq!(aged["source.ip"], "127.0.0.1");
    let ended = &curfew.audit_events("session.ended")[0];
    assert_eq!(ended["curfew.actor.kind"], "policy");
    assert_eq!(ended["source.ip"], "203.0.113.9");
}
