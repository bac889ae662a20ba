//! Authelia's file for Envoy.

use std::process::Command;

use super::*;
use crate::proxies::PORT;
use crate::snippet::{AUTHELIA_ENVOY, replaced};
use crate::support::deployed::installed;

/// The second list of headers. Current versions of Envoy reject it.
const SECOND_LIST: &str = "                          allowed_headers:
                            patterns:
                              - exact: 'authorization'
                              - exact: 'proxy-authorization'
                              - exact: 'accept'
                              - exact: 'cookie'
                              - exact: 'location'
";

/// Without the second list, and with `curfew_path` as the path prefix.
fn with_check(curfew_path: &str) -> String {
    let cluster = |name: &str, port: u16| format!("address: '{name}'{PORT}{port}\n");
    replaced(
        &AUTHELIA_ENVOY.unchanged(),
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
    let documented = AUTHELIA_ENVOY.unchanged();
    let loads = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new(installed("envoy"));
        let output = command
            .args(["--mode", "validate", "--config-path"])
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    };
    let (loaded, said) = loads(&documented);
    assert!(!loaded, "{said}");
    let error = "Invalid duplicate configuration for allowed_headers.";
    assert!(said.contains(error), "{said}");
    let (loaded, said) = loads(&replaced(&documented, &[(SECOND_LIST, "")]));
    assert!(loaded, "{said}");
}

#[tokio::test]
async fn with_only_the_address() {
    let text = with_check("/api/authz/ext-authz/");
    let (bench, session) = start(&AUTHELIA_ENVOY, &text, is_the_list).await;
    let hint = "/ext-authz for /api/authz/ext-authz/.";
    all_get_the_list(&bench, &session, hint).await;
    warned(&bench, "authelia", hint).await;
}

/// Without rules for paths, people are admitted, and the return address is `//path`.
#[tokio::test]
async fn with_a_slash_at_the_end_of_the_path() {
    let text = with_check("/ext-authz/");
    let bench = Bench::without_rules(&AUTHELIA_ENVOY, &text).await;
    let session = bench.curfew.sign_in("alice").await;
    bench.ready(&session, is_admitted).await;
    bench.admitted(&bench.get(&session, "/p").await);
    let answer = bench.send("GET", TARGET, NAVIGATION).await;
    redirected(&bench, &answer, &format!("%2F{ESCAPED}"), "no_credential");

    let (bench, session) = start(&AUTHELIA_ENVOY, &text, |it| it.status == 401).await;
    for answer in all_clients(&bench, &session).await {
        assert_eq!(answer.status, 401, "{answer:?}");
        let detail = "a rule depends on the path, and the path begins with two slashes: a path prefix of the \
                      proxy must not end in /";
        assert_eq!(answer.header("www-authenticate"), challenge(detail));
    }
}

#[tokio::test]
async fn with_the_path() {
    let text = with_check("/ext-authz");
    let (bench, session) = start(&AUTHELIA_ENVOY, &text, is_admitted).await;
    assert_usable(&bench, &session).await;
    browser_endpoints_are_the_applications(&bench, &session).await;
    // `allowed_client_headers` removes both of these from the answer to clients.
    let answer = scripts_get_401(&bench, SCRIPT).await;
    assert_eq!(answer.header("content-type"), "text/plain");
    assert_eq!(answer.one("x-session-reason"), None);
    // `allowed_headers` removes this one from the check, so polling counts as activity.
    let cookie = session.cookie();
    let poll = [("cookie", &*cookie), ("x-session-passive", "1")];
    for _ in 0..3 {
        bench.curfew.age(&session, "8m").await;
        bench.admitted(&bench.send("GET", "/poll", &poll).await);
    }
}

/// Envoy takes the address from the cluster, not from the URI.
#[tokio::test]
async fn with_the_uri_but_not_the_cluster() {
    let pairs = [
        (SECOND_LIST, ""),
        ("uri: 'authelia:9091'", "uri: 'curfew:9180'"),
        ("'/api/authz/ext-authz/'", "'/ext-authz'"),
    ];
    let text = replaced(&AUTHELIA_ENVOY.unchanged(), &pairs);
    let (bench, session) = start(&AUTHELIA_ENVOY, &text, is_admitted).await;
    bench.get(&session, "/p").await;
    let asked = bench.login.take_one();
    assert_eq!(asked.uri.path(), "/ext-authz/p", "Authelia is asked");
}
