use serde_json::Value;

use crate::harness::Harness;
use crate::support::curfew::CreatedSession;

/// Asserts that requests for `/.curfew/` reach the browser listener without a check.
pub async fn assert_endpoints_work(harness: &Harness, session: &CreatedSession) {
    let before = check_count(harness).await;
    let answer = harness.get(session, "/.curfew/session").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let status: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(status["subject"], "alice");
    let answer = harness.send("GET", "/.curfew/session", &[]).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    assert_eq!(check_count(harness).await, before);
    harness.assert_application_not_reached();
}

/// Returns the number of checks that Curfew has answered.
pub async fn check_count(harness: &Harness) -> u64 {
    let (_, text) = harness.curfew.get_ops("/metrics").await;
    let lines = text.lines();
    let counts = lines.filter(|line| line.starts_with("curfew_checks_total{"));
    counts
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

/// Asserts that clients reach the sign-in service without a check, except for the endpoints that only Curfew calls.
pub async fn assert_sign_in_service_is_reachable(harness: &Harness) {
    let Some((host, path)) = harness.snippet.login else {
        return;
    };
    let answer = harness.send("GET", path, &[("host", host)]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(harness.login.take_one().uri.to_string(), path);
    if path.starts_with("/oauth2/") {
        for path in ["/oauth2/auth", "/oauth2/userinfo"] {
            let answer = harness.send("GET", path, &[]).await;
            assert!([401, 404].contains(&answer.status), "{path}: {answer:?}");
        }
    }
    assert!(harness.login.take().is_empty());
    harness.assert_application_not_reached();
}
