//! Tests the documented proxy files with too few changes: only the address to which the proxy sends checks, or its
//! address and path. The tests assert the answers that people get, and the log lines that name the cause. The
//! documentation pages list these answers and log lines in tables.

mod authelia;
mod authelia_envoy;
mod authelia_haproxy;
mod ingress_nginx;
mod oauth2_proxy;
mod oauth2_proxy_traefik;

use crate::changed::{
    ESCAPED_TARGET, NAVIGATION_HEADERS, SCRIPT_HEADERS, TARGET, assert_redirected,
};
use crate::harness::{Answer, Harness, HeaderPairs};
use crate::snippet::Snippet;
use crate::support::curfew::CreatedSession;
use crate::support::eventually;

/// The start of Curfew's answer with the status 404.
const NOT_FOUND_START: &str =
    "This is the check listener of Curfew. It serves:\n\n  /auth-request ";

/// Returns the detail of a denial when a check on `/auth-request` has a header of `/forward-auth`.
fn foreign_input_detail(header: &str) -> String {
    format!(
        "{header} is not an input of /auth-request: use /forward-auth, or clear the header in the proxy"
    )
}

/// Returns the `WWW-Authenticate` challenge with this detail.
fn challenge(detail: &str) -> String {
    format!("Bearer error=\"invalid_request\", error_description=\"{detail}\"")
}

/// Starts a session, and a proxy with this text. Waits until a request with the session gets an answer that satisfies
/// `fits`.
async fn start(
    snippet: &Snippet,
    text: &str,
    fits: impl Fn(&Answer) -> bool,
) -> (Harness, CreatedSession) {
    let harness = Harness::start(snippet, text).await;
    let session = harness.curfew.sign_in("alice").await;
    harness.wait_until_ready(&session, fits).await;
    (harness, session)
}

fn is_allowed(answer: &Answer) -> bool {
    answer.status == 200
}

fn is_path_list(answer: &Answer) -> bool {
    answer.body.starts_with(NOT_FOUND_START)
}

/// Sends a request with a session, a navigation without a session, and a request of a script. Returns the answers. No
/// request may reach the application.
async fn send_as_all_clients(harness: &Harness, session: &CreatedSession) -> [Answer; 3] {
    let answers = [
        harness.get(session, "/p").await,
        harness.send("GET", "/p", NAVIGATION_HEADERS).await,
        harness.send("GET", "/p", SCRIPT_HEADERS).await,
    ];
    harness.assert_application_not_reached();
    answers
}

/// Asserts that every client gets Curfew's 404, which lists the paths and contains `hint`.
async fn assert_all_get_path_list(harness: &Harness, session: &CreatedSession, hint: &str) {
    for answer in send_as_all_clients(harness, session).await {
        assert_eq!(answer.status, 404, "{answer:?}");
        assert!(is_path_list(&answer), "{answer:?}");
        assert!(answer.body.contains(hint), "{answer:?}");
        assert!(
            answer
                .header_or_empty("content-type")
                .starts_with("text/plain")
        );
    }
}

/// Asserts that every client gets NGINX's 500, and that NGINX's log names the cause.
async fn assert_all_get_500(harness: &Harness, session: &CreatedSession) {
    for answer in send_as_all_clients(harness, session).await {
        assert_eq!(answer.status, 500, "{answer:?}");
        assert!(!answer.body.contains("Curfew"), "{answer:?}");
    }
    let log = harness.proxy.log();
    assert!(log.contains("auth request unexpected status: 404"), "{log}");
}

/// Waits until Curfew's log contains a warning with this class of paths and this hint.
async fn wait_for_warning(harness: &Harness, class: &str, hint: &str) {
    let class = format!("\"class\":\"{class}\"");
    let is_warning = |line: &str| {
        let message =
            line.contains("\"request for a path that the check listener does not serve\"");
        message && line.contains(&class) && line.contains(hint) && line.contains("\"WARN\"")
    };
    eventually("Curfew warns", async || {
        harness.curfew.log().lines().any(is_warning)
    })
    .await;
}

/// Asserts that live sessions are allowed, navigations are redirected, and people without the group are denied.
async fn assert_access_is_enforced(harness: &Harness, session: &CreatedSession) {
    let backend_request = harness.assert_allowed(&harness.get(session, TARGET).await);
    assert_eq!(backend_request.uri.to_string(), TARGET);
    let answer = harness.send("GET", TARGET, NAVIGATION_HEADERS).await;
    assert_redirected(harness, &answer, ESCAPED_TARGET, "no_credential");
    assert_eq!(harness.get(session, "/admin").await.status, 403);
    harness.assert_application_not_reached();
}

/// Asserts that requests for `/.curfew/` reach the application instead of the browser listener.
async fn assert_browser_endpoints_reach_application(harness: &Harness, session: &CreatedSession) {
    let backend_request = harness.assert_allowed(&harness.get(session, "/.curfew/session").await);
    assert_eq!(backend_request.uri.path(), "/.curfew/session");
}

/// Asserts that the answer is a redirect without a target.
fn assert_redirect_without_target(answer: &Answer) {
    assert_eq!(answer.status, 302, "{answer:?}");
    assert_eq!(answer.header("location"), Some(""), "{answer:?}");
}

/// Asserts that a script gets Curfew's 401, and returns the answer.
async fn assert_scripts_get_401(harness: &Harness, header_pairs: &HeaderPairs<'_>) -> Answer {
    let answer = harness.send("GET", "/p", header_pairs).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    assert_eq!(answer.header("location"), None);
    harness.assert_application_not_reached();
    answer
}
