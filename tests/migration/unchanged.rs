//! Only the address of the check is changed, or the address and the path. The tests assert the answers that people
//! get, and the log lines that name the cause. Each page has a table of both.

mod authelia;
mod authelia_envoy;
mod authelia_haproxy;
mod ingress_nginx;
mod oauth2_proxy;
mod oauth2_proxy_traefik;

use crate::bench::{Answer, Bench, Lines};
use crate::changed::{ESCAPED, NAVIGATION, SCRIPT, TARGET, redirected};
use crate::snippet::Snippet;
use crate::support::curfew::SignedIn;
use crate::support::eventually;

/// The start of Curfew's 404 page.
const NOT_FOUND_START: &str =
    "This is the check listener of Curfew. It serves:\n\n  /auth-request ";

/// The detail for an input of `/forward-auth` that arrives on `/auth-request`.
fn foreign_input_detail(header: &str) -> String {
    format!(
        "{header} is not an input of /auth-request: use /forward-auth, or clear the header in the proxy"
    )
}

/// The `WWW-Authenticate` challenge with this detail.
fn challenge(detail: &str) -> String {
    format!("Bearer error=\"invalid_request\", error_description=\"{detail}\"")
}

/// Starts a proxy with this text, and a session. Waits until a request with the session gets an answer that satisfies
/// `fits`.
async fn start(snippet: &Snippet, text: &str, fits: impl Fn(&Answer) -> bool) -> (Bench, SignedIn) {
    let bench = Bench::start(snippet, text).await;
    let session = bench.curfew.sign_in("alice").await;
    bench.ready(&session, fits).await;
    (bench, session)
}

fn is_admitted(answer: &Answer) -> bool {
    answer.status == 200
}

fn is_the_list(answer: &Answer) -> bool {
    answer.body.starts_with(NOT_FOUND_START)
}

/// The answers to a client with a session, a navigation without one, and a script. None reaches the application.
async fn all_clients(bench: &Bench, session: &SignedIn) -> [Answer; 3] {
    let answers = [
        bench.get(session, "/p").await,
        bench.send("GET", "/p", NAVIGATION).await,
        bench.send("GET", "/p", SCRIPT).await,
    ];
    bench.unreached();
    answers
}

/// Every client gets Curfew's 404. It lists the paths and names the right one.
async fn all_get_the_list(bench: &Bench, session: &SignedIn, hint: &str) {
    for answer in all_clients(bench, session).await {
        assert_eq!(answer.status, 404, "{answer:?}");
        assert!(is_the_list(&answer), "{answer:?}");
        assert!(answer.body.contains(hint), "{answer:?}");
        assert!(answer.header("content-type").starts_with("text/plain"));
    }
}

/// Every client gets NGINX's 500, and both logs name the cause.
async fn all_get_500(bench: &Bench, session: &SignedIn) {
    for answer in all_clients(bench, session).await {
        assert_eq!(answer.status, 500, "{answer:?}");
        assert!(!answer.body.contains("Curfew"), "{answer:?}");
    }
    let log = bench.proxy.log();
    assert!(log.contains("auth request unexpected status: 404"), "{log}");
}

/// Waits until Curfew's log contains the warning with this class of paths and this hint.
async fn warned(bench: &Bench, class: &str, hint: &str) {
    let class = format!("\"class\":\"{class}\"");
    let is_it = |line: &str| {
        let message = line.contains("\"a request for a path that is not served\"");
        message && line.contains(&class) && line.contains(hint) && line.contains("\"WARN\"")
    };
    eventually("Curfew warns", async || {
        bench.curfew.log().lines().any(is_it)
    })
    .await;
}

/// Live sessions are admitted, page navigations are redirected, and people without the group are denied.
async fn assert_usable(bench: &Bench, session: &SignedIn) {
    let seen = bench.admitted(&bench.get(session, TARGET).await);
    assert_eq!(seen.uri.to_string(), TARGET);
    let answer = bench.send("GET", TARGET, NAVIGATION).await;
    redirected(bench, &answer, ESCAPED, "no_credential");
    assert_eq!(bench.get(session, "/admin").await.status, 403);
    bench.unreached();
}

/// Requests for `/.curfew/` are checked, and reach the application instead of the browser listener.
async fn browser_endpoints_are_the_applications(bench: &Bench, session: &SignedIn) {
    let seen = bench.admitted(&bench.get(session, "/.curfew/session").await);
    assert_eq!(seen.uri.path(), "/.curfew/session");
}

/// A redirect without a target.
fn assert_redirect_without_target(answer: &Answer) {
    assert_eq!(answer.status, 302, "{answer:?}");
    assert_eq!(answer.one("location"), Some(""), "{answer:?}");
}

/// A script gets Curfew's 401.
async fn scripts_get_401(bench: &Bench, lines: &Lines<'_>) -> Answer {
    let answer = bench.send("GET", "/p", lines).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    assert_eq!(answer.one("location"), None);
    bench.unreached();
    answer
}
