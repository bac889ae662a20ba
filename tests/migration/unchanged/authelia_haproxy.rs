//! Tests Authelia's file for HAProxy.

use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::changed::request_for_two_hosts;
use crate::snippet::{AUTHELIA_HAPROXY_2_6, AUTHELIA_HAPROXY_2_8, Snippet, replace_all};

/// Returns the file with Curfew's address and this path.
fn replace_check_url(curfew_path: &str) -> String {
    replace_all(
        &AUTHELIA_HAPROXY_2_6.read_unchanged(),
        &[
            ("authelia:9091", "curfew:9180"),
            ("/api/authz/forward-auth", curfew_path),
        ],
    )
}

#[tokio::test]
async fn with_only_the_address_changed_every_redirect_has_no_target() {
    for snippet in [AUTHELIA_HAPROXY_2_6, AUTHELIA_HAPROXY_2_8] {
        let text = replace_check_url("/api/authz/forward-auth");
        let (harness, session) = start(&snippet, &text, |it| it.status == 302).await;
        for answer in send_as_all_clients(&harness, &session).await {
            assert_redirect_without_target(&answer);
        }
        let hint = "/forward-auth for /api/authz/forward-auth";
        wait_for_warning(&harness, "authelia", hint).await;
    }
}

/// Starts HAProxy with Curfew's address and path, and asserts that it is usable.
async fn start_with_changed_path(snippet: &Snippet) -> Harness {
    let (harness, session) = start(snippet, &replace_check_url("/forward-auth"), is_allowed).await;
    assert_access_is_enforced(&harness, &session).await;
    let backend_request = harness.assert_allowed(&harness.get(&session, "/p").await);
    harness
        .snippet
        .identity_headers
        .assert_only_alice(&backend_request);
    assert_redirect_without_target(&harness.send("GET", "/p", SCRIPT_HEADERS).await);
    harness.assert_application_not_reached();
    assert_browser_endpoints_reach_application(&harness, &session).await;
    // The check has the header `Transfer-Encoding`, but no chunks, so Curfew waits for 3 s.
    let upload = format!(
        "POST /post HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        snippet.host,
        session.cookie()
    );
    let begun = Instant::now();
    let answer = harness.send_raw(&upload).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(2), "{took:?}");
    harness.application.take_one();
    harness
}

/// If `Host` contains several hosts, HAProxy 2.6 may route with any of them, but Curfew gets only the last host
/// (`req.hdr`).
#[tokio::test]
async fn haproxy_2_6_serves_a_request_for_two_hosts() {
    let harness = start_with_changed_path(&AUTHELIA_HAPROXY_2_6).await;
    let answer = harness
        .send_raw(&request_for_two_hosts(harness.snippet.host))
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    harness.application.take_one();
}

#[tokio::test]
async fn haproxy_2_8_rejects_a_request_for_two_hosts() {
    let harness = start_with_changed_path(&AUTHELIA_HAPROXY_2_8).await;
    let answer = harness
        .send_raw(&request_for_two_hosts(harness.snippet.host))
        .await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    harness.assert_application_not_reached();
}
