//! Tests Authelia's file for Envoy.

use std::process::Command;

use super::*;
use crate::proxies::PORT_KEY;
use crate::snippet::{AUTHELIA_ENVOY, replace_all};
use crate::support::deployment::installed_path;

/// The second list of headers in the file. Current versions of Envoy reject a file with both lists.
const SECOND_LIST: &str = "                          allowed_headers:
                            patterns:
                              - exact: 'authorization'
                              - exact: 'proxy-authorization'
                              - exact: 'accept'
                              - exact: 'cookie'
                              - exact: 'location'
";

/// Returns the file without the second list of headers, and with `curfew_path` as the path prefix.
fn replace_check_url(curfew_path: &str) -> String {
    let cluster = |name: &str, port: u16| format!("address: '{name}'{PORT_KEY}{port}\n");
    replace_all(
        &AUTHELIA_ENVOY.read_unchanged(),
        &[
            (SECOND_LIST, ""),
            ("uri: 'authelia:9091'", "uri: 'curfew:9180'"),
            (&cluster("authelia", 9091), &cluster("curfew", 9180)),
            (
                "path_prefix: '/api/authz/ext-authz/'",
                &format!("path_prefix: '{curfew_path}'"),
            ),
        ],
    )
}

#[test]
fn the_documented_file_does_not_load() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("envoy.yaml");
    let documented = AUTHELIA_ENVOY.read_unchanged();
    let loads = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new(installed_path("envoy"));
        let output = command
            .args(["--mode", "validate", "--config-path"])
            .arg(&path)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), errors)
    };
    let (loaded, errors) = loads(&documented);
    assert!(!loaded, "{errors}");
    let error = "Invalid duplicate configuration for allowed_headers.";
    assert!(errors.contains(error), "{errors}");
    let (loaded, errors) = loads(&replace_all(&documented, &[(SECOND_LIST, "")]));
    assert!(loaded, "{errors}");
}

#[tokio::test]
async fn with_only_the_address_changed_envoy_passes_a_404() {
    let text = replace_check_url("/api/authz/ext-authz/");
    let (harness, session) = start(&AUTHELIA_ENVOY, &text, is_path_list).await;
    let hint = "/ext-authz for /api/authz/ext-authz/.";
    assert_all_get_path_list(&harness, &session, hint).await;
    wait_for_warning(&harness, "authelia", hint).await;
}

/// The path prefix ends in a slash, so the path in each check begins with two slashes. If Curfew has no rules for
/// paths, only the return address is wrong. With such rules, Curfew denies every request.
#[tokio::test]
async fn a_slash_at_the_end_of_the_path_is_denied_if_a_rule_depends_on_paths() {
    let text = replace_check_url("/ext-authz/");
    let harness = Harness::start_without_rules(&AUTHELIA_ENVOY, &text).await;
    let session = harness.curfew.sign_in("alice").await;
    harness.wait_until_ready(&session, is_allowed).await;
    harness.assert_allowed(&harness.get(&session, "/p").await);
    let answer = harness.send("GET", TARGET, NAVIGATION_HEADERS).await;
    assert_redirected(
        &harness,
        &answer,
        &format!("%2F{ESCAPED_TARGET}"),
        "no_credential",
    );

    let (harness, session) = start(&AUTHELIA_ENVOY, &text, |it| it.status == 401).await;
    for answer in send_as_all_clients(&harness, &session).await {
        assert_eq!(answer.status, 401, "{answer:?}");
        let detail = "a rule depends on the path, and the path begins with two slashes: a path prefix of the \
                      proxy must not end in /";
        assert_eq!(
            answer.header_or_empty("www-authenticate"),
            challenge(detail)
        );
    }
}

#[tokio::test]
async fn with_address_and_path_changed_envoy_hides_the_reason_and_polling_counts() {
    let text = replace_check_url("/ext-authz");
    let (harness, session) = start(&AUTHELIA_ENVOY, &text, is_allowed).await;
    assert_access_is_enforced(&harness, &session).await;
    assert_browser_endpoints_reach_application(&harness, &session).await;
    // Envoy removes `X-Session-Reason` from the answer to clients, because `allowed_client_headers` does not list it.
    let answer = assert_scripts_get_401(&harness, SCRIPT_HEADERS).await;
    assert_eq!(answer.header_or_empty("content-type"), "text/plain");
    assert_eq!(answer.header("x-session-reason"), None);
    // Envoy removes `X-Session-Passive` from the check, because `allowed_headers` does not list it. So polling counts
    // as activity.
    let cookie = session.cookie();
    let poll = [("cookie", &*cookie), ("x-session-passive", "1")];
    for _ in 0..3 {
        harness.curfew.age(&session, "8m").await;
        harness.assert_allowed(&harness.send("GET", "/poll", &poll).await);
    }
}

/// Envoy sends the checks to the address of the cluster, not to the address in the URI.
#[tokio::test]
async fn with_only_the_uri_changed_envoy_asks_authelia() {
    let pairs = [
        (SECOND_LIST, ""),
        ("uri: 'authelia:9091'", "uri: 'curfew:9180'"),
        ("'/api/authz/ext-authz/'", "'/ext-authz'"),
    ];
    let text = replace_all(&AUTHELIA_ENVOY.read_unchanged(), &pairs);
    let (harness, session) = start(&AUTHELIA_ENVOY, &text, is_allowed).await;
    harness.get(&session, "/p").await;
    let check = harness.login.take_one();
    assert_eq!(
        check.uri.path(),
        "/ext-authz/p",
        "Envoy should send the check to Authelia"
    );
}
