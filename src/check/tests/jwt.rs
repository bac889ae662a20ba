//! Tests sessions that start with a token of an identity provider.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::actor::Actor;
use crate::credential::JwtLocations;
use crate::store::{EndOutcome, EndRequest};
use crate::testing::jwt::{AUDIENCE, ISSUER, SigningKey, jwt_source, keys_that_cannot_be_fetched};
use crate::testing::policy_name;

/// A checker that accepts the JSON Web Tokens of one issuer.
pub(super) struct JwtFixture {
    pub(super) bench: TestService,
    pub(super) checker: Checker,
    pub(super) key: SigningKey,
}

/// Returns the Unix time, in seconds, when the time `after` has passed since the start of the test.
pub(super) fn seconds(after: Duration) -> u64 {
    START.plus(after).as_millis() / 1000
}

impl JwtFixture {
    pub(super) fn new(policy: &str) -> Self {
        Self::with_bench(TestService::new(), policy)
    }

    pub(super) fn with_bench(bench: TestService, policy: &str) -> Self {
        let key = SigningKey::ed25519("a");
        let mut checker = bench.checker(Rules::default(), "session");
        checker.sources.extractor.jwt = Some(JwtLocations {
            cookie: Some("id".to_owned()),
            bearer: true,
        });
        let policy = Some(policy_name(policy));
        checker.sources.jwt.push(jwt_source(&[&key], policy));
        Self {
            bench,
            checker,
            key,
        }
    }

    /// Returns a token of the provider's session `sid` with these times of sign-in and issue. It is valid for a day.
    pub(super) fn token(&self, sid: &str, signed_in: Duration, issued: Duration) -> String {
        self.key.token(&json!({
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "alice",
            "sid": sid,
            "groups": ["staff"],
            "auth_time": seconds(signed_in),
            "iat": seconds(issued),
            "exp": seconds(issued + 24 * HOUR),
        }))
    }

    pub(super) async fn check(&self, token: &str, after: Duration) -> Outcome {
        self.bench.set_time_after_start(after);
        let bearer = format!("Bearer {token}");
        let headers = headers(&[("authorization", &*bearer)]);
        let request = CheckRequest {
            contract: Contract::AuthRequest,
            policy: None,
            original: Ok(Original::new(
                &Method::GET,
                OriginalUrl::parse(b"https://app.example.com/").unwrap(),
            )),
            headers: &headers,
            address: ClientAddress::InHeader,
            peer: None,
        };
        self.checker.check(&request).await
    }

    pub(super) async fn verdict(&self, token: &str, after: Duration) -> Verdict {
        self.check(token, after).await.verdict
    }
}

/// Returns a service whose default policy allows `count` sessions for each subject.
pub(super) fn with_session_limit(count: usize, on_limit: OnSessionLimit) -> TestService {
    let mut bench = TestService::new();
    let (_, default) = bench.parts.policies.get("default").unwrap();
    let mut default = default.clone();
    default.max_sessions = Some(MaxSessions { count, on_limit });
    bench.set_policies(BTreeMap::from([(policy_name("default"), default)]));
    bench
}

const IDLE_TIMEOUT: Verdict = deny(DenyReason::IdleTimeout);
const ABSOLUTE_TIMEOUT: Verdict = deny(DenyReason::AbsoluteTimeout);

#[tokio::test]
async fn the_first_credential_starts_the_session() {
    let service = JwtFixture::new("default");
    let token = service.token("s", Duration::ZERO, Duration::ZERO);
    let outcome = service.check(&token, 5 * MINUTE).await;
    assert_eq!(outcome.verdict, Verdict::Allow);
    let (id, session) = outcome.session.unwrap();
    assert_eq!(session.subject.as_str(), "alice");
    assert_eq!(session.attributes.get("groups"), ["staff"]);
    assert_eq!(
        session.started, START,
        "the session must start at the sign-in"
    );
    assert_eq!(session.deadline, START.plus(8 * HOUR));
    assert_eq!(service.bench.load_record(id).await.started, START);
    let again = service.check(&token, 6 * MINUTE).await;
    assert_eq!(again.session.unwrap().0, id);
}

#[tokio::test]
async fn after_a_timeout_only_a_new_sign_in_starts_a_session() {
    let service = JwtFixture::new("default");
    let first = service.token("s", Duration::ZERO, Duration::ZERO);
    assert_eq!(service.verdict(&first, MINUTE).await, Verdict::Allow);
    let ended = service.check(&first, 16 * MINUTE).await;
    assert_eq!(ended.verdict, IDLE_TIMEOUT);
    assert_eq!(
        ended.max_auth_age,
        Some(0),
        "a refreshed token must not start a session"
    );
    // A refreshed token starts no session either, because the tombstone (the record of the session end) is still in the
    // store.
    for minutes in [17, 60, 120, 400, 479] {
        let now = minutes * MINUTE;
        service.bench.store.memory.reclaim();
        let refreshed = service.token("s", Duration::ZERO, now);
        assert_eq!(
            service.verdict(&first, now).await,
            IDLE_TIMEOUT,
            "{minutes}"
        );
        assert_eq!(
            service.verdict(&refreshed, now).await,
            IDLE_TIMEOUT,
            "{minutes}"
        );
    }
    // Later, the sign-in itself is too old, so no tombstone is needed.
    for hours in [9, 17, 23] {
        let now = hours * HOUR;
        service.bench.set_time_after_start(now);
        service.bench.store.memory.reclaim();
        let refreshed = service.token("s", Duration::ZERO, now);
        let found = service.verdict(&refreshed, now).await;
        assert!(
            found == ABSOLUTE_TIMEOUT || found == IDLE_TIMEOUT,
            "{hours}: {found:?}"
        );
    }
    let fresh = service.token("s", 23 * HOUR, 23 * HOUR);
    assert_eq!(service.verdict(&fresh, 23 * HOUR).await, Verdict::Allow);
}

/// The limit counts sign-ins of all sources.
#[tokio::test]
async fn no_subject_has_more_sessions_than_its_policy_allows() {
    let too_many = deny(DenyReason::TooManySessions);
    for on_limit in [OnSessionLimit::Deny, OnSessionLimit::EndOldest] {
        let service = JwtFixture::with_bench(with_session_limit(2, on_limit), "default");
        let tokens = ["a", "b", "c"].map(|sid| {
            let minute = u32::from(sid.as_bytes()[0] - b'a');
            service.token(sid, minute * SECOND, minute * SECOND)
        });
        for token in &tokens[..2] {
            assert_eq!(service.verdict(token, MINUTE).await, Verdict::Allow);
        }
        // A refreshed token belongs to the same session.
        let refreshed = service.token("a", Duration::ZERO, MINUTE);
        assert_eq!(service.verdict(&refreshed, MINUTE).await, Verdict::Allow);
        let third = service.check(&tokens[2], MINUTE).await;
        let first = service.verdict(&tokens[0], MINUTE).await;
        if on_limit == OnSessionLimit::Deny {
            assert_eq!((third.verdict, first), (too_many, Verdict::Allow));
            // The denial has not ended the third session: after another session has ended, the credential of the third
            // session is accepted.
            let (id, _) = service.check(&tokens[0], MINUTE).await.session.unwrap();
            let ending = EndRequest::signed_out(START.plus(MINUTE));
            let ended = service.bench.lifecycle.end(id, ending, &Actor::CURFEW);
            assert!(matches!(ended.await, Ok(EndOutcome::Ended(_))));
            assert_eq!(service.verdict(&tokens[2], MINUTE).await, Verdict::Allow);
        } else {
            let revoked = deny(DenyReason::Revoked);
            assert_eq!((third.verdict, first), (Verdict::Allow, revoked));
            // If the credential of an older sign-in arrives late, its session is the oldest.
            let late = service.token("z", Duration::ZERO, MINUTE);
            assert_eq!(service.verdict(&late, MINUTE).await, revoked);
            assert_eq!(service.verdict(&tokens[1], MINUTE).await, Verdict::Allow);
        }
    }
}

#[tokio::test]
async fn a_revoked_session_cannot_start_again() {
    let service = JwtFixture::new("default");
    let token = service.token("s", Duration::ZERO, Duration::ZERO);
    let (id, session) = service.check(&token, MINUTE).await.session.unwrap();
    service
        .bench
        .lifecycle
        .revoke(id, &Actor::CURFEW)
        .await
        .unwrap();
    let revoked = deny(DenyReason::Revoked);
    assert_eq!(service.verdict(&token, 2 * MINUTE).await, revoked);
    // Ending all sessions of a subject includes sessions that Curfew has not seen yet.
    let lifecycle = &service.bench.lifecycle;
    lifecycle
        .revoke_all(&session.subject, None, &Actor::CURFEW)
        .await
        .unwrap();
    let unseen = service.token("t", MINUTE, MINUTE);
    assert_eq!(service.verdict(&unseen, 3 * MINUTE).await, revoked);
    let fresh = service.token("u", 3 * MINUTE, 3 * MINUTE);
    assert_eq!(service.verdict(&fresh, 3 * MINUTE).await, Verdict::Allow);
}

#[tokio::test]
async fn a_sign_in_that_is_too_old_starts_no_session() {
    let service = JwtFixture::new("default");
    let token = service.token("s", Duration::ZERO, 8 * HOUR);
    assert_eq!(service.verdict(&token, 8 * HOUR).await, ABSOLUTE_TIMEOUT);
    assert!(service.bench.store.memory.is_empty());
}

#[tokio::test]
async fn an_invalid_credential_reads_no_store_and_starts_no_session() {
    let service = JwtFixture::new("default");
    service.bench.store.all_fail.store(true, Ordering::SeqCst);
    let valid = service.token("s", Duration::ZERO, Duration::ZERO);
    let other = SigningKey::ed25519("a").token(&json!({ "iss": ISSUER }));
    let foreign = service.key.token(&json!({ "iss": "https://evil.example" }));
    let expired = service.token("s", Duration::ZERO, Duration::ZERO);
    for (token, after) in [
        (&*other, MINUTE),
        (&*foreign, MINUTE),
        (&*expired, 25 * HOUR),
        ("eyJh.eyJi.c", MINUTE),
    ] {
        let found = service.verdict(token, after).await;
        assert_eq!(found, deny(DenyReason::InvalidCredential), "{token}");
    }
    let unavailable = deny(DenyReason::StoreUnavailable);
    assert_eq!(
        service.verdict(&valid, MINUTE).await,
        unavailable,
        "a valid credential must read the store"
    );
    service.bench.store.all_fail.store(false, Ordering::SeqCst);
    assert_eq!(service.verdict(&valid, 2 * MINUTE).await, Verdict::Allow);
}

#[tokio::test]
async fn a_token_of_another_subject_for_the_same_session_is_denied() {
    let service = JwtFixture::new("default");
    let claims = |subject: &str| -> Value {
        json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "sid": "s",
            "auth_time": seconds(Duration::ZERO), "iat": seconds(Duration::ZERO), "exp": seconds(HOUR),
        })
    };
    let alice = service.key.token(&claims("alice"));
    assert_eq!(service.verdict(&alice, MINUTE).await, Verdict::Allow);
    let bob = service.key.token(&claims("bob"));
    let refused = deny(DenyReason::InvalidCredential);
    assert_eq!(service.verdict(&bob, MINUTE).await, refused);
}

/// A page sends many requests at once with a new credential. With a limit of one session, all of them must be allowed.
#[tokio::test]
async fn many_first_requests_count_as_one_session() {
    let service = JwtFixture::with_bench(with_session_limit(1, OnSessionLimit::Deny), "default");
    let token = service.token("s", Duration::ZERO, Duration::ZERO);
    let checks = (0..8).map(|_| service.verdict(&token, MINUTE));
    for verdict in futures_util::future::join_all(checks).await {
        assert_eq!(verdict, Verdict::Allow);
    }
}

/// With `end_oldest`, the second sign-in ends the first session. If the store fails while the first session ends,
/// Curfew denies the second request, but the second session can start later.
#[tokio::test]
async fn a_session_starts_after_a_store_error_during_its_start() {
    let service =
        JwtFixture::with_bench(with_session_limit(1, OnSessionLimit::EndOldest), "default");
    let first = service.token("a", Duration::ZERO, Duration::ZERO);
    assert_eq!(service.verdict(&first, MINUTE).await, Verdict::Allow);
    let second = service.token("b", SECOND, SECOND);
    let ends_fail = &service.bench.store.ends_fail;
    ends_fail.store(true, Ordering::SeqCst);
    let unavailable = deny(DenyReason::StoreUnavailable);
    assert_eq!(service.verdict(&second, MINUTE).await, unavailable);
    ends_fail.store(false, Ordering::SeqCst);
    assert_eq!(service.verdict(&second, MINUTE).await, Verdict::Allow);
}

/// A refreshed token has a newer `iat`. If sessions counted from `iat`, an ended session would start again.
#[tokio::test]
async fn a_token_without_auth_time_starts_no_session() {
    let service = JwtFixture::new("default");
    let token = service.key.token(&json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "sid": "s",
        "iat": seconds(Duration::ZERO), "exp": seconds(HOUR),
    }));
    let outcome = service.check(&token, MINUTE).await;
    assert_eq!(outcome.verdict, deny(DenyReason::InvalidCredential));
    assert_eq!(outcome.detail, Some(Detail::NoAuthTime));
}

#[tokio::test]
async fn many_requests_at_once_start_one_session() {
    let service = JwtFixture::new("default");
    let token = service.token("s", Duration::ZERO, Duration::ZERO);
    let checks = futures_util::future::join_all((0..50).map(|_| service.check(&token, MINUTE)));
    for outcome in checks.await {
        assert_eq!(outcome.verdict, Verdict::Allow);
    }
    let subject = crate::session::Subject::new("alice").unwrap();
    let count = service.bench.lifecycle.count(&subject).await.unwrap();
    assert_eq!(count.live, 1);
}

#[tokio::test]
async fn without_keys_the_source_is_unavailable() {
    let mut service = JwtFixture::new("default");
    let token = service.token("s", Duration::ZERO, Duration::ZERO);
    service.checker.sources.jwt[0].keys =
        keys_that_cannot_be_fetched(&service.checker.clock, &service.checker.metrics);
    let found = service.verdict(&token, MINUTE).await;
    assert_eq!(found, deny(DenyReason::SourceUnavailable));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Refreshed credentials do not move the absolute limit. Before that limit, the session ends only if a gap
    /// between requests reaches the idle limit.
    #[test]
    fn a_refreshed_credential_never_extends_the_absolute_limit(
        gaps in proptest::collection::vec((1_u32..14, any::<bool>()), 1..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let service = JwtFixture::new("default");
            let mut token = service.token("s", Duration::ZERO, Duration::ZERO);
            let mut now = Duration::ZERO;
            for (minutes, refreshed) in gaps {
                now += minutes * MINUTE;
                if refreshed {
                    token = service.token("s", Duration::ZERO, now);
                }
                let expected = if now >= 8 * HOUR { ABSOLUTE_TIMEOUT } else { Verdict::Allow };
                prop_assert_eq!(service.verdict(&token, now).await, expected, "after {:?}", now);
            }
            Ok(())
        })?;
    }
}
