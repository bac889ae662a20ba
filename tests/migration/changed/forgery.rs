use super::denial::{assert_denied, assert_redirected};
use super::{ESCAPED_TARGET, NAVIGATION_HEADERS, TARGET};
use crate::harness::{Harness, HeaderPairs};
use crate::support::curfew::CreatedSession;

/// Headers with which a client claims a public path, a public host, or a method that does not count as
/// activity.
const FORGED_INPUTS: &HeaderPairs<'static> = &[
    ("x-forwarded-uri", "/public"),
    ("x-forwarded-method", "OPTIONS"),
    ("x-forwarded-host", "public.example.com"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x_forwarded_uri", "/public"),
    ("x_forwarded_host", "public.example.com"),
    ("x-original-url", "https://public.example.com/public"),
    ("x-original-uri", "/public"),
    ("x-original-method", "OPTIONS"),
    ("x-rewrite-url", "/public"),
    ("x-auth-request-redirect", "/public"),
];

/// Asserts that the proxy replaces identity headers of the client in every spelling, and that the client cannot
/// remove Curfew's headers with `Connection`.
pub async fn assert_forged_identity_is_replaced(harness: &Harness, session: &CreatedSession) {
    let identity_headers = &harness.snippet.identity_headers;
    let cookie = session.cookie();
    let spellings = identity_headers.spellings();
    let forged = spellings.iter().map(|name| (&**name, "root"));
    let header_pairs: Vec<_> = forged.chain([("cookie", &*cookie)]).collect();
    let backend_request = harness.assert_allowed(&harness.send("GET", "/", &header_pairs).await);
    identity_headers.assert_only_alice(&backend_request);

    let connection = format!("close, cookie, {}", identity_headers.known[0].0);
    let header_pairs = [("cookie", &*cookie), ("connection", &*connection)];
    let answer = harness.send("GET", "/", &header_pairs).await;
    match answer.status {
        400 | 401 => harness.assert_application_not_reached(),
        _ => identity_headers.assert_only_alice(&harness.assert_allowed(&answer)),
    }
}

/// Asserts that a client cannot change the host, path and method that the check names.
pub async fn assert_forged_inputs_are_ignored(harness: &Harness, session: &CreatedSession) {
    let answer = harness.send("GET", "/private", FORGED_INPUTS).await;
    assert_denied(harness, "GET", &answer, "%2Fprivate");
    let header_pairs = [NAVIGATION_HEADERS, FORGED_INPUTS].concat();
    let answer = harness.send("GET", TARGET, &header_pairs).await;
    assert_redirected(harness, &answer, ESCAPED_TARGET, "no_credential");
    let cookie = session.cookie();
    let header_pairs = [FORGED_INPUTS, &[("cookie", &*cookie)][..]].concat();
    let backend_request =
        harness.assert_allowed(&harness.send("GET", "/private", &header_pairs).await);
    harness
        .snippet
        .identity_headers
        .assert_only_alice(&backend_request);
    let answer = harness.send("GET", "/admin", &header_pairs).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    harness.assert_application_not_reached();
}
