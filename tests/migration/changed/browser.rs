use serde_json::Value;

use crate::bench::Bench;
use crate::support::curfew::CreatedSession;

/// Asserts that requests for `/.curfew/` reach the browser listener without a check.
pub async fn endpoints(bench: &Bench, session: &CreatedSession) {
    let before = checks(bench).await;
    let answer = bench.get(session, "/.curfew/session").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let left: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(left["subject"], "alice");
    let answer = bench.send("GET", "/.curfew/session", &[]).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    assert_eq!(checks(bench).await, before);
    bench.assert_application_not_reached();
}

/// Returns the number of checks that Curfew has answered.
pub async fn checks(bench: &Bench) -> u64 {
    let (_, text) = bench.curfew.get_ops("/metrics").await;
    let lines = text.lines();
    let counts = lines.filter(|line| line.starts_with("curfew_checks_total{"));
    counts
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

/// Asserts that clients reach the sign-in service without a check, except for the endpoints that only Curfew calls.
pub async fn sign_in_service(bench: &Bench) {
    let Some((host, path)) = bench.snippet.login else {
        return;
    };
    let answer = bench.send("GET", path, &[("host", host)]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(bench.login.take_one().uri.to_string(), path);
    if path.starts_with("/oauth2/") {
        for path in ["/oauth2/auth", "/oauth2/userinfo"] {
            let answer = bench.send("GET", path, &[]).await;
            assert!([401, 404].contains(&answer.status), "{path}: {answer:?}");
        }
    }
    assert!(bench.login.take().is_empty());
    bench.assert_application_not_reached();
}
