use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{HeaderMap, Method};

use super::*;
use crate::actor::Actor;
use crate::policy::{Contract, MaxSessions, OnSessionLimit, Rules};
use crate::session::End;
use crate::session::{EndReason, State, Timestamp};
use crate::testing::{HOUR, MINUTE, SECOND, START, TestService};

/// A checker, and one new session of `alice`.
struct Fixture {
    bench: TestService,
    checker: Checker,
    id: SessionId,
    token: String,
}

impl Fixture {
    async fn new() -> Self {
        Self::with_policy("default").await
    }

    async fn with_policy(policy: &str) -> Self {
        Self::with_rules(TestService::new(), policy, Rules::default()).await
    }

    async fn with_rules(bench: TestService, policy: &str, rules: Rules) -> Self {
        let started = bench.sign_in(policy).await;
        let checker = bench.checker(rules, "session");
        Self {
            bench,
            checker,
            id: started.id,
            token: started.token.expose(),
        }
    }

    /// Checks a request with the session when the time `after` has passed since its start. Returns the verdict.
    async fn verdict_after(&self, after: Duration) -> Verdict {
        self.bench.set_time_after_start(after);
        self.check(None, &Method::GET, &self.headers())
            .await
            .verdict
    }

    fn headers(&self) -> HeaderMap {
        headers(&[("cookie", &format!("session={}", self.token))])
    }

    async fn check(&self, policy: Option<&str>, method: &Method, headers: &HeaderMap) -> Outcome {
        let url = OriginalUrl::parse(b"https://app.example.com/").unwrap();
        self.check_original(policy, Ok(Original::new(method, url)), headers)
            .await
    }

    async fn check_original(
        &self,
        policy: Option<&str>,
        original: Result<Original<'_>, MalformedOriginal>,
        headers: &HeaderMap,
    ) -> Outcome {
        let request = CheckRequest {
            contract: Contract::AuthRequest,
            policy,
            original,
            headers,
            address: ClientAddress::InHeader,
            peer: None,
        };
        self.checker.check(&request).await
    }
}

fn headers(header_lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in header_lines {
        let name: http::HeaderName = name.parse().unwrap();
        map.append(name, value.parse().unwrap());
    }
    map
}

const fn deny(reason: DenyReason) -> Verdict {
    Verdict::Deny(reason)
}

#[tokio::test]
async fn activity_extends_a_session_and_idleness_ends_it() {
    let fixture = Fixture::new().await;
    for minutes in [0, 14, 28, 42] {
        assert_eq!(
            fixture.verdict_after(minutes * MINUTE).await,
            Verdict::Allow
        );
    }
    let idle_end = 57 * MINUTE;
    assert_eq!(
        fixture.verdict_after(idle_end - SECOND / 1000).await,
        Verdict::Allow
    );
    assert_eq!(
        fixture
            .verdict_after(idle_end - SECOND / 1000 + 15 * MINUTE)
            .await,
        deny(DenyReason::IdleTimeout)
    );
    let state = fixture.bench.load_record(fixture.id).await.state;
    assert!(matches!(
        state,
        State::Ended(End {
            reason: EndReason::IdleTimeout,
            ..
        })
    ));
    fixture.bench.set_time_after_start(idle_end);
    assert_eq!(
        fixture.verdict_after(idle_end).await,
        deny(DenyReason::IdleTimeout),
        "a clock that goes back must not make the session live"
    );
}

#[tokio::test]
async fn activity_does_not_extend_the_absolute_limit() {
    let fixture = Fixture::new().await;
    for step in 0..48 {
        assert_eq!(
            fixture.verdict_after(step * 10 * MINUTE).await,
            Verdict::Allow
        );
    }
    assert_eq!(
        fixture.verdict_after(8 * HOUR - SECOND / 1000).await,
        Verdict::Allow
    );
    assert_eq!(
        fixture.verdict_after(8 * HOUR).await,
        deny(DenyReason::AbsoluteTimeout)
    );
}

#[tokio::test]
async fn a_revoked_session_is_denied_at_the_next_request() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.verdict_after(SECOND).await, Verdict::Allow);
    fixture
        .bench
        .lifecycle
        .revoke(fixture.id, &Actor::CURFEW)
        .await
        .unwrap();
    assert_eq!(
        fixture.verdict_after(SECOND).await,
        deny(DenyReason::Revoked)
    );
    fixture.bench.set_time_after_start(9 * HOUR);
    fixture.bench.store.memory.reclaim();
    let unknown = deny(DenyReason::UnknownSession);
    assert_eq!(fixture.verdict_after(9 * HOUR).await, unknown);
}

#[tokio::test]
async fn invalid_credentials_are_denied_without_the_store() {
    let fixture = Fixture::new().await;
    let other = Fixture::new().await;
    fixture.bench.store.all_fail.store(true, Ordering::SeqCst);
    let token = &fixture.token;
    let other_last_character = if token.ends_with('A') { 'B' } else { 'A' };
    let tampered = format!("{}{other_last_character}", &token[..token.len() - 1]);
    for (header_lines, expected) in [
        (&[][..], DenyReason::NoCredential),
        (&[("cookie", "other=1")], DenyReason::NoCredential),
        (&[("cookie", "session=")], DenyReason::InvalidCredential),
        (
            &[("cookie", &format!("session={tampered}"))],
            DenyReason::InvalidCredential,
        ),
        (
            &[("cookie", &format!("session={}", other.token))],
            DenyReason::InvalidCredential,
        ),
        (
            &[("authorization", "Bearer cfw1_x")],
            DenyReason::InvalidCredential,
        ),
        (
            &[("cookie", &format!("session={token}; session=x"))],
            DenyReason::MalformedRequest,
        ),
        (
            &[
                ("cookie", &format!("session={token}")),
                ("cookie", "session="),
            ],
            DenyReason::MalformedRequest,
        ),
        (
            &[("cookie", &format!("session={token}"))],
            DenyReason::StoreUnavailable,
        ),
    ] {
        let outcome = fixture
            .check(None, &Method::GET, &headers(header_lines))
            .await;
        assert_eq!(outcome.verdict, deny(expected), "{header_lines:?}");
    }
}

#[tokio::test]
async fn a_session_without_a_record_is_unknown() {
    let fixture = Fixture::new().await;
    let token = fixture.checker.sources.key_ring.issue().unwrap().expose();
    let headers = headers(&[("authorization", &format!("Bearer {token}"))]);
    let outcome = fixture.check(None, &Method::GET, &headers).await;
    assert_eq!(outcome.verdict, deny(DenyReason::UnknownSession));
}

#[tokio::test]
async fn a_malformed_request_is_denied() {
    let fixture = Fixture::new().await;
    let headers = fixture.headers();
    let missing = MalformedOriginal::missing("X-Original-URL");
    let outcome = fixture.check_original(None, Err(missing), &headers).await;
    let detail = outcome.detail.unwrap().to_string();
    assert_eq!(detail, "X-Original-URL is missing");
    assert_eq!(outcome.verdict, deny(DenyReason::MalformedRequest));
    let outcome = fixture
        .check(Some("nonesuch"), &Method::GET, &headers)
        .await;
    assert_eq!(outcome.verdict, deny(DenyReason::MalformedRequest));
    assert_eq!(fixture.bench.store.touch_count(), 0);
}

#[tokio::test]
async fn passive_and_denied_requests_do_not_count_as_activity() {
    let fixture = Fixture::new().await;
    let mut prefetch = fixture.headers();
    prefetch.insert("sec-purpose", "prefetch;prerender".parse().unwrap());
    let mut background = fixture.headers();
    background.insert("x-session-passive", "1".parse().unwrap());
    let plain = fixture.headers();
    fixture.bench.set_time_after_start(MINUTE);
    for (policy, method, headers, touches) in [
        (None, Method::HEAD, &plain, 0),
        (None, Method::GET, &prefetch, 0),
        (None, Method::GET, &background, 0),
        // `strict` counts a `GET` only if it is a navigation, and a request is activity only if both policies count
        // it.
        (Some("strict"), Method::GET, &plain, 0),
        (Some("strict"), Method::POST, &plain, 1),
        (None, Method::GET, &plain, 2),
        (None, Method::from_bytes(b"PROPFIND").unwrap(), &plain, 3),
    ] {
        let outcome = fixture.check(policy, &method, headers).await;
        assert_eq!(outcome.verdict, Verdict::Allow);
        assert_eq!(
            fixture.bench.store.touch_count(),
            touches,
            "{policy:?} {method}"
        );
    }
    fixture.bench.set_time_after_start(9 * HOUR);
    fixture.check(None, &Method::GET, &plain).await;
    assert_eq!(
        fixture.bench.store.touch_count(),
        3,
        "a denied request must not count as activity"
    );
}

#[tokio::test]
async fn a_stricter_policy_denies_the_request_and_keeps_the_session() {
    let fixture = Fixture::new().await;
    let check_strict = async |after| {
        fixture.bench.set_time_after_start(after);
        fixture
            .check(Some("strict"), &Method::GET, &fixture.headers())
            .await
    };
    assert_eq!(check_strict(4 * MINUTE).await.verdict, Verdict::Allow);
    let outcome = check_strict(5 * MINUTE).await;
    assert_eq!(outcome.verdict, deny(DenyReason::ReauthenticationRequired));
    assert_eq!(outcome.max_auth_age, Some(1800));
    assert_eq!(
        fixture.verdict_after(5 * MINUTE).await,
        Verdict::Allow,
        "the session itself must be live"
    );
    assert_eq!(
        check_strict(6 * MINUTE).await.verdict,
        Verdict::Allow,
        "the request at 5 min must count as activity for the stricter policy, too"
    );
    assert_eq!(fixture.verdict_after(16 * MINUTE).await, Verdict::Allow);
    assert_eq!(fixture.verdict_after(29 * MINUTE).await, Verdict::Allow);
    assert_eq!(
        check_strict(30 * MINUTE).await.verdict,
        deny(DenyReason::ReauthenticationRequired),
        "a sign-in that is too old for the stricter policy must not be enough"
    );
    assert_eq!(fixture.verdict_after(30 * MINUTE).await, Verdict::Allow);
}

#[tokio::test]
async fn a_less_strict_policy_of_the_proxy_extends_no_limit() {
    let fixture = Fixture::with_policy("strict").await;
    fixture.bench.set_time_after_start(5 * MINUTE);
    let outcome = fixture
        .check(Some("default"), &Method::GET, &fixture.headers())
        .await;
    assert_eq!(outcome.verdict, deny(DenyReason::IdleTimeout));
}

#[tokio::test]
async fn a_session_that_another_replica_uses_does_not_end() {
    let fixture = Fixture::new().await;
    let outdated = fixture.bench.load_record(fixture.id).await;
    assert_eq!(fixture.verdict_after(10 * MINUTE).await, Verdict::Allow);
    *fixture.bench.store.stale_record.lock() = Some(outdated);
    assert_eq!(
        fixture.verdict_after(16 * MINUTE).await,
        Verdict::Allow,
        "the check must decide again"
    );
    assert_eq!(
        fixture.bench.load_record(fixture.id).await.last_seen,
        START.plus(16 * MINUTE)
    );
}

#[tokio::test]
async fn the_first_end_reason_is_kept() {
    let fixture = Fixture::new().await;
    let outdated = fixture.bench.load_record(fixture.id).await;
    fixture
        .bench
        .lifecycle
        .revoke(fixture.id, &Actor::CURFEW)
        .await
        .unwrap();
    *fixture.bench.store.stale_record.lock() = Some(outdated);
    assert_eq!(
        fixture.verdict_after(16 * MINUTE).await,
        deny(DenyReason::Revoked)
    );
}

#[tokio::test]
async fn a_cut_off_denies_a_session_that_is_in_no_index() {
    let fixture = Fixture::new().await;
    let session = fixture.bench.load_record(fixture.id).await;
    let cut_offs = &fixture.bench.parts.stores.cut_offs;
    fixture.bench.set_time_after_start(MINUTE);
    let cut_off = START.plus(SECOND);
    let expires = Timestamp::default();
    cut_offs
        .set_cut_off(&session.subject, cut_off, expires)
        .await
        .unwrap();
    assert_eq!(
        fixture.verdict_after(MINUTE).await,
        deny(DenyReason::Revoked)
    );
    let state = fixture.bench.load_record(fixture.id).await.state;
    assert!(
        matches!(state, State::Ended(_)),
        "the session must have ended: {state:?}"
    );
    let later = fixture.bench.sign_in("default").await;
    assert!(
        !fixture.bench.lifecycle.is_revoked(&later.session),
        "a later sign-in must be valid"
    );
}

#[tokio::test]
async fn every_check_is_counted_by_its_verdict() {
    let fixture = Fixture::new().await;
    fixture.verdict_after(MINUTE).await;
    fixture
        .check(Some("strict"), &Method::GET, &fixture.headers())
        .await;
    fixture
        .check(Some("nonesuch"), &Method::GET, &fixture.headers())
        .await;
    fixture.verdict_after(HOUR).await;
    let text = fixture.bench.parts.metrics.render().unwrap();
    for line in [
        r#"curfew_checks_total{contract="auth-request",policy="default",verdict="allow"} 1"#,
        r#"curfew_checks_total{contract="auth-request",policy="strict",verdict="allow"} 1"#,
        r#"curfew_checks_total{contract="auth-request",policy="none",verdict="malformed_request"} 1"#,
        r#"curfew_checks_total{contract="auth-request",policy="default",verdict="idle_timeout"} 1"#,
        r#"curfew_sessions_ended_total{policy="default",reason="idle_timeout",redelivered="false"} 1"#,
        r#"curfew_check_duration_seconds_count{contract="auth-request"} 4"#,
    ] {
        assert!(text.contains(line), "{line}\nis not in\n{text}");
    }
    assert!(!text.contains(&fixture.token));
}

mod adoption;
mod auth_time;
mod delegated;
mod jwt;
mod model;
mod routes;
mod rules;
mod sources;
mod store_failure;
