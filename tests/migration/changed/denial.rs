use super::{ESCAPED, FRAME, NAVIGATION, SCRIPT, TARGET};
use crate::bench::{Answer, Bench, SIGN_IN};
use crate::support::curfew::SignedIn;

/// A denial with 401 and no redirect, unless the proxy itself redirects every denied client.
pub fn denied(bench: &Bench, method: &str, answer: &Answer, escaped: &str) {
    bench.unreached();
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

/// The browser is redirected to the sign-in page, with the requested page as the return address.
pub fn redirected(bench: &Bench, answer: &Answer, escaped: &str, reason: &str) {
    bench.unreached();
    assert_eq!(answer.status, 302, "{answer:?}");
    let host = bench.snippet.host;
    let location = match bench.snippet.sign_in {
        Some(page) => format!("{page}{escaped}"),
        None => format!("{SIGN_IN}?rd=https%3A%2F%2F{host}{escaped}&reason={reason}"),
    };
    assert_eq!(answer.header("location"), location);
}

/// Scripts and frames get 401, people without the group get 403, and a public path needs no session.
pub async fn denials(bench: &Bench, session: &SignedIn) {
    let answer = bench.send("GET", TARGET, SCRIPT).await;
    denied(bench, "GET", &answer, ESCAPED);
    let answer = bench.send("GET", TARGET, NAVIGATION).await;
    redirected(bench, &answer, ESCAPED, "no_credential");

    let answer = bench.send("GET", TARGET, FRAME).await;
    denied(bench, "GET", &answer, ESCAPED);
    if bench.snippet.sign_in.is_none() {
        assert!(answer.body.contains("target=\"_top\""), "{answer:?}");
    }

    assert_eq!(bench.get(session, "/admin").await.status, 403);
    bench.unreached();
    let seen = bench.admitted(&bench.send("GET", "/public", &[]).await);
    bench.snippet.names.assert_no_identity(&seen);
}

/// Curfew decides by the host that the proxy routes by, whatever other hosts the request names.
pub async fn hosts(bench: &Bench) {
    let host = bench.snippet.host;
    for request in [for_two_hosts(host), with_another_host(host)] {
        bench.raw(&request).await;
        bench.unreached();
    }
}

/// A request that names both a protected and a public host.
pub fn for_two_hosts(host: &str) -> String {
    format!("GET /private HTTP/1.1\r\nHost: {host},public.example.com\r\nConnection: close\r\n\r\n")
}

/// A request in absolute form, with a public host in `Host`.
pub fn with_another_host(host: &str) -> String {
    format!(
        "GET http://{host}/private HTTP/1.1\r\nHost: public.example.com\r\nConnection: close\r\n\r\n"
    )
}
