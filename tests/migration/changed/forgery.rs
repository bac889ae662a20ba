use super::denial::{assert_denied, assert_redirected};
use super::{ESCAPED, NAVIGATION, TARGET};
use crate::bench::{Bench, Lines};
use crate::support::curfew::CreatedSession;

/// Headers with which a client claims the public path, a public host or a passive method.
const FORGED_INPUTS: &Lines<'static> = &[
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
pub async fn identity(bench: &Bench, session: &CreatedSession) {
    let names = &bench.snippet.names;
    let cookie = session.cookie();
    let spelled = names.spellings();
    let forged = spelled.iter().map(|name| (&**name, "root"));
    let lines: Vec<_> = forged.chain([("cookie", &*cookie)]).collect();
    let seen = bench.assert_allowed(&bench.send("GET", "/", &lines).await);
    names.assert_only_alice(&seen);

    let listed = format!("close, cookie, {}", names.known[0].0);
    let lines = [("cookie", &*cookie), ("connection", &*listed)];
    let answer = bench.send("GET", "/", &lines).await;
    match answer.status {
        400 | 401 => bench.assert_application_not_reached(),
        _ => names.assert_only_alice(&bench.assert_allowed(&answer)),
    }
}

/// Asserts that a client cannot change the router input of the check.
pub async fn originals(bench: &Bench, session: &CreatedSession) {
    let answer = bench.send("GET", "/private", FORGED_INPUTS).await;
    assert_denied(bench, "GET", &answer, "%2Fprivate");
    let lines = [NAVIGATION, FORGED_INPUTS].concat();
    let answer = bench.send("GET", TARGET, &lines).await;
    assert_redirected(bench, &answer, ESCAPED, "no_credential");
    let cookie = session.cookie();
    let lines = [FORGED_INPUTS, &[("cookie", &*cookie)][..]].concat();
    let seen = bench.assert_allowed(&bench.send("GET", "/private", &lines).await);
    bench.snippet.names.assert_only_alice(&seen);
    let answer = bench.send("GET", "/admin", &lines).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    bench.assert_application_not_reached();
}
