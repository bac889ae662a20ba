use super::{ESCAPED_TARGET, FRAME_HEADERS, NAVIGATION_HEADERS, SCRIPT_HEADERS, TARGET};
use crate::harness::{Answer, Harness, SIGN_IN};
use crate::support::curfew::CreatedSession;

/// Asserts that the answer is 401 without a redirect, or a redirect if the proxy itself redirects every denied
/// client.
pub fn assert_denied(harness: &Harness, method: &str, answer: &Answer, escaped: &str) {
    harness.assert_application_not_reached();
    if let Some(page) = harness.snippet.sign_in {
        let page = page.replace("rm=GET", &format!("rm={method}"));
        assert_eq!(answer.status, 302, "{answer:?}");
        assert_eq!(
            answer.header_or_empty("location"),
            format!("{page}{escaped}")
        );
        return;
    }
    assert_eq!(answer.status, 401, "{answer:?}");
    assert_eq!(answer.header("location"), None);
    assert_eq!(answer.header_or_empty("x-session-reason"), "no_credential");
    assert_eq!(answer.header_or_empty("www-authenticate"), "Bearer");
}

/// Asserts that the answer redirects to the sign-in page, with the requested page as the return address.
pub fn assert_redirected(harness: &Harness, answer: &Answer, escaped: &str, reason: &str) {
    harness.assert_application_not_reached();
    assert_eq!(answer.status, 302, "{answer:?}");
    let host = harness.snippet.host;
    let location = match harness.snippet.sign_in {
        Some(page) => format!("{page}{escaped}"),
        None => format!("{SIGN_IN}?rd=https%3A%2F%2F{host}{escaped}&reason={reason}"),
    };
    assert_eq!(answer.header_or_empty("location"), location);
}

/// Asserts that scripts and frames get 401, people without the group get 403, and a public path needs no session.
pub async fn assert_denials(harness: &Harness, session: &CreatedSession) {
    let answer = harness.send("GET", TARGET, SCRIPT_HEADERS).await;
    assert_denied(harness, "GET", &answer, ESCAPED_TARGET);
    let answer = harness.send("GET", TARGET, NAVIGATION_HEADERS).await;
    assert_redirected(harness, &answer, ESCAPED_TARGET, "no_credential");

    let answer = harness.send("GET", TARGET, FRAME_HEADERS).await;
    assert_denied(harness, "GET", &answer, ESCAPED_TARGET);
    if harness.snippet.sign_in.is_none() {
        assert!(answer.body.contains("target=\"_top\""), "{answer:?}");
    }

    assert_eq!(harness.get(session, "/admin").await.status, 403);
    harness.assert_application_not_reached();
    let backend_request = harness.assert_allowed(&harness.send("GET", "/public", &[]).await);
    harness
        .snippet
        .identity_headers
        .assert_no_identity(&backend_request);
}

/// Asserts that a request with two hosts does not reach the protected application without a session.
pub async fn assert_ambiguous_hosts_are_denied(harness: &Harness) {
    let host = harness.snippet.host;
    for request in [request_for_two_hosts(host), request_with_another_host(host)] {
        harness.send_raw(&request).await;
        harness.assert_application_not_reached();
    }
}

/// Returns a request whose `Host` contains a protected host and a public host.
pub fn request_for_two_hosts(host: &str) -> String {
    format!("GET /private HTTP/1.1\r\nHost: {host},public.example.com\r\nConnection: close\r\n\r\n")
}

/// Returns a request with the protected host in its target, in absolute form, and a public host in `Host`.
pub fn request_with_another_host(host: &str) -> String {
    format!(
        "GET http://{host}/private HTTP/1.1\r\nHost: public.example.com\r\nConnection: close\r\n\r\n"
    )
}
