//! Checks while the store fails or is slow.

use super::*;

#[tokio::test]
async fn store_errors_end_no_session() {
    let fixture = Fixture::new().await;
    fixture.bench.store.all_fail.store(true, Ordering::SeqCst);
    assert_eq!(
        fixture.verdict_after(MINUTE).await,
        deny(DenyReason::StoreUnavailable)
    );
    fixture.bench.store.all_fail.store(false, Ordering::SeqCst);
    fixture
        .bench
        .store
        .touches_fail
        .store(true, Ordering::SeqCst);
    assert_eq!(
        fixture.verdict_after(MINUTE).await,
        Verdict::Allow,
        "a failed touch must not deny the request"
    );
}

#[tokio::test]
async fn a_last_known_session_is_allowed_within_its_limits_and_the_grace() {
    let fixture = Fixture::with_policy("lenient").await;
    let store = &fixture.bench.store;
    let unavailable = deny(DenyReason::StoreUnavailable);
    store.all_fail.store(true, Ordering::SeqCst);
    assert_eq!(
        fixture.verdict_after(SECOND).await,
        unavailable,
        "a session that this process has not seen yet must not be allowed"
    );
    store.all_fail.store(false, Ordering::SeqCst);
    assert_eq!(fixture.verdict_after(MINUTE).await, Verdict::Allow);
    store.all_fail.store(true, Ordering::SeqCst);
    let grace_ends = 3 * MINUTE;
    assert_eq!(
        fixture.verdict_after(grace_ends - SECOND / 1000).await,
        Verdict::Allow
    );
    assert_eq!(fixture.verdict_after(grace_ends).await, unavailable);
    // A request under a stricter policy, or under a policy with `on_store_failure: deny`, is still denied.
    fixture.bench.set_time_after_start(2 * MINUTE);
    for policy in ["strict", "default"] {
        let outcome = fixture
            .check(Some(policy), &Method::GET, &fixture.headers())
            .await;
        assert_eq!(outcome.verdict, unavailable, "{policy}");
    }
    let text = fixture.bench.parts.metrics.render().unwrap();
    let counted = r#"curfew_degraded_checks_total{policy="lenient"} 1"#;
    assert!(text.contains(counted), "{text}");
}

#[tokio::test]
async fn a_last_known_session_is_denied_past_its_limits() {
    let fixture = Fixture::with_policy("lenient").await;
    for step in 0..48 {
        assert_eq!(
            fixture.verdict_after(step * 10 * MINUTE).await,
            Verdict::Allow
        );
    }
    assert_eq!(
        fixture.verdict_after(8 * HOUR - MINUTE).await,
        Verdict::Allow
    );
    fixture.bench.store.all_fail.store(true, Ordering::SeqCst);
    assert_eq!(
        fixture.verdict_after(8 * HOUR - SECOND).await,
        Verdict::Allow
    );
    let unavailable = deny(DenyReason::StoreUnavailable);
    assert_eq!(fixture.verdict_after(8 * HOUR).await, unavailable);
}

#[tokio::test]
async fn an_ended_session_is_not_a_last_known_session() {
    let fixture = Fixture::with_policy("lenient").await;
    assert_eq!(fixture.verdict_after(SECOND).await, Verdict::Allow);
    fixture.bench.store.all_fail.store(true, Ordering::SeqCst);
    assert_eq!(fixture.verdict_after(SECOND).await, Verdict::Allow);
    let revoked = fixture
        .bench
        .lifecycle
        .revoke(fixture.id, &Actor::CURFEW)
        .await;
    assert!(
        revoked.is_err(),
        "the caller must get the error, because the session end may not be stored"
    );
    assert_eq!(
        fixture.verdict_after(SECOND).await,
        deny(DenyReason::StoreUnavailable)
    );
}

/// The store may contain a later activity that this replica has not seen. So the check must not end the session.
#[tokio::test]
async fn an_idle_timeout_that_cannot_be_stored_ends_no_session() {
    let fixture = Fixture::new().await;
    fixture.bench.store.ends_fail.store(true, Ordering::SeqCst);
    assert_eq!(
        fixture.verdict_after(15 * MINUTE).await,
        deny(DenyReason::StoreUnavailable)
    );
    assert_eq!(
        fixture.verdict_after(8 * HOUR).await,
        deny(DenyReason::AbsoluteTimeout)
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_does_not_delay_the_check() {
    let fixture = Fixture::new().await;
    fixture.bench.store.loads_hang.store(true, Ordering::SeqCst);
    let verdict = tokio::time::timeout(2 * SECOND, fixture.verdict_after(MINUTE)).await;
    assert_eq!(verdict.unwrap(), deny(DenyReason::StoreUnavailable));
}
