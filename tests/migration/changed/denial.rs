use super::{ESCAPED, FRAME, NAVIGATION, SCRIPT, TARGET};
use crate::bench::{Answer, Bench, SIGN_IN};
use crate::support::curfew::CreatedSession;

/// Asserts that the answer is 401 without a redirect, or a redirect if the proxy itself redirects every denied
/// client.
pub fn assert_denied(bench: &Bench, method: &str, answer: &Answer, escaped: &str) {
    bench.assert_application_not_reached();
    if let Some(page) = bench.snippet.sign_in {
        let page = page.replace("rm=GET", &format!("rm={method}"));
        assert_eq!(answer.status, 302, "{answer:?}");
        assert_eq!(answer.header("location"), format!("{page}{escaped}"));
        return;
    }
    assert_eq!(answer.status, 401, "{answer:?}");
    assert_eq!(answer.one("location"), None);
    assert_eq!(answer.header("x-session-reason"), "no_credential");
    assert_eq!(answer.header("www-authenticate"), "Bearer");
}

/// Asserts that the answer redirects to the sign-in page, with the requested page as the return address.
pub fn assert_redirected(bench: &Bench, answer: &Answer, escaped: &str, reason: &str) {
    bench.assert_application_not_reached();
    assert_eq!(answer.status, 302, "{answer:?}");
    let host = bench.snippet.host;
    let location = match bench.snippet.sign_in {
        Some(page) => format!("{page}{escaped}"),
        None => format!("{SIGN_IN}?rd=https%3A%2F%2F{host}{escaped}&reason={reason}"),
    };
    assert_eq!(answer.header("location"), location);
}

/// Asserts that scripts and frames get 401, people without the group get 403, and a public path needs no session.
pub async fn denials(bench: &Bench, session: &CreatedSession) {
    let answer = bench.send("GET", TARGET, SCRIPT).await;
    assert_denied(bench, "GET", &answer, ESCAPED);
    let answer = bench.send("GET", TARGET, NAVIGATION).await;
    assert_redirected(bench, &answer, ESCAPED, "no_credential");

    let answer = bench.send("GET", TARGET, FRAME).await;
    assert_denied(bench, "GET", &answer, ESCAPED);
    if bench.snippet.sign_in.is_none() {
        assert!(answer.body.contains("target=\"_top\""), "{answer:?}");
    }

    assert_eq!(bench.get(session, "/admin").await.status, 403);
    bench.assert_application_not_reached();
    let seen = bench.assert_allowed(&bench.send("GET", "/public", &[]).await);
    bench.snippet.names.assert_no_identity(&seen);
}

/// Asserts that a request with two hosts does not reach the protected application without a session.
pub async fn hosts(bench: &Bench) {
    let host = bench.snippet.host;
    for request in [for_two_hosts(host), with_another_host(host)] {
        bench.raw(&request).await;
        bench.assert_application_not_reached();
    }
}

/// Returns a request whose `Host` contains a protected host and a public host.
pub fn for_two_hosts(host: &str) -> String {
    format!("GET /private HTTP/1.1\r\nHost: {host},public.example.com\r\nConnection: close\r\n\r\n")
}

/// Returns a request with the protected host in its target, in absolute form, and a public host in `Host`.
pub fn with_another_host(host: &str) -> String {
    format!(
        "GET http://{host}/private HTTP/1.1\r\nHost: public.example.com\r\nConnection: close\r\n\r\n"
    )
}
