//! Tests Authelia's file for HAProxy.

use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::changed::for_two_hosts;
use crate::snippet::{AUTHELIA_HAPROXY_2_6, AUTHELIA_HAPROXY_2_8, Snippet, replaced};

/// Returns the file with Curfew's address and this path.
fn with_check(curfew_path: &str) -> String {
    replaced(
        &AUTHELIA_HAPROXY_2_6.unchanged(),
        &[
            ("authelia:9091", "curfew:9180"),
            ("/api/authz/forward-auth", curfew_path),
        ],
    )
}

#[tokio::test]
async fn with_only_the_address() {
    for snippet in [AUTHELIA_HAPROXY_2_6, AUTHELIA_HAPROXY_2_8] {
        let text = with_check("/api/authz/forward-auth");
        let (bench, session) = start(&snippet, &text, |it| it.status == 302).await;
        for answer in send_as_all_clients(&bench, &session).await {
            assert_redirect_without_target(&answer);
        }
        let hint = "/forward-auth for /api/authz/forward-auth";
        wait_for_warning(&bench, "authelia", hint).await;
    }
}

async fn with_the_path(snippet: &Snippet) -> Bench {
    let (bench, session) = start(snippet, &with_check("/forward-auth"), is_allowed).await;
    assert_usable(&bench, &session).await;
    let seen = bench.assert_allowed(&bench.get(&session, "/p").await);
    bench.snippet.names.assert_only_alice(&seen);
    assert_redirect_without_target(&bench.send("GET", "/p", SCRIPT).await);
    bench.assert_application_not_reached();
    assert_browser_endpoints_reach_application(&bench, &session).await;
    // The check has the header `Transfer-Encoding`, but no chunks, so Curfew waits for 3 s.
    let upload = format!(
        "POST /post HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        snippet.host,
        session.cookie()
    );
    let begun = Instant::now();
    let answer = bench.raw(&upload).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(2), "{took:?}");
    bench.application.take_one();
    bench
}

/// If `Host` contains several hosts, HAProxy 2.6 routes with any of them. With `req.hdr`, Curfew gets the last host.
#[tokio::test]
async fn haproxy_2_6_with_the_path() {
    let bench = with_the_path(&AUTHELIA_HAPROXY_2_6).await;
    let answer = bench.raw(&for_two_hosts(bench.snippet.host)).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    bench.application.take_one();
}

#[tokio::test]
async fn haproxy_2_8_with_the_path() {
    let bench = with_the_path(&AUTHELIA_HAPROXY_2_8).await;
    let answer = bench.raw(&for_two_hosts(bench.snippet.host)).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    bench.assert_application_not_reached();
}
