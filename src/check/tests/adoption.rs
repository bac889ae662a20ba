//! Tests that the end of a session is final, even if another issuer's credential is still valid.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::jwt::{JwtFixture, seconds, with_session_limit};
use super::*;
use crate::actor::{Actor, ActorKind};
use crate::lifecycle::{SignIn, StartError};
use crate::session::{Attributes, Subject};
use crate::store::{EndOutcome, EndRequest, HistoryStore};
use crate::testing::jwt::{AUDIENCE, ISSUER};
use crate::testing::policy_name;
use crate::testing::remote::{DelayedStore, RandomDelays};

const IDLE_TIMEOUT: Verdict = deny(DenyReason::IdleTimeout);
const ABSOLUTE_TIMEOUT: Verdict = deny(DenyReason::AbsoluteTimeout);
const REVOKED: Verdict = deny(DenyReason::Revoked);
const REAUTHENTICATION_REQUIRED: Verdict = deny(DenyReason::ReauthenticationRequired);

fn administrator() -> Actor {
    Actor::new(ActorKind::AdminToken, "ci", None)
}

#[tokio::test]
async fn after_a_loss_of_data_only_later_sign_ins_start_sessions() {
    let service = JwtFixture::new("default");
    let ended = service.token("ended", Duration::ZERO, Duration::ZERO);
    let (id, _) = service.check(&ended, MINUTE).await.session.unwrap();
    let revoked = service.bench.lifecycle.revoke(id, &administrator()).await;
    assert!(revoked.is_ok());
    assert_eq!(service.verdict(&ended, 2 * MINUTE).await, REVOKED);
    service.bench.store.memory.lose_all(START.plus(3 * MINUTE));
    let unseen = service.token("unseen", 2 * MINUTE, 2 * MINUTE);
    for token in [&ended, &unseen] {
        let refused = service.check(token, 4 * MINUTE).await;
        assert_eq!(refused.verdict, REAUTHENTICATION_REQUIRED);
        assert_eq!(refused.detail, Some(Detail::DataLoss));
        assert_eq!(
            refused.max_auth_age,
            Some(0),
            "a refreshed token must not start a session"
        );
    }
    let fresh = service.token("ended", 4 * MINUTE, 4 * MINUTE);
    assert_eq!(service.verdict(&fresh, 4 * MINUTE).await, Verdict::Allow);
}

/// A token without the time of the sign-in can be refreshed any number of times. So the tombstone (the record of the
/// session end) must not expire while a client presents the token.
#[tokio::test]
async fn a_tombstone_is_kept_while_its_credential_is_presented() {
    let mut service = JwtFixture::new("default");
    service.checker.sources.jwt[0].issuer.accepts_iat = true;
    let token = |now| {
        service.key.token(&json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "sid": "s",
            "iat": seconds(now), "exp": seconds(now + HOUR),
        }))
    };
    let first = token(Duration::ZERO);
    assert_eq!(
        service.verdict(&first, Duration::ZERO).await,
        Verdict::Allow
    );
    // If the credential were not presented, the tombstone would expire after the absolute limit of 8 h.
    for hours in (1..200).step_by(7) {
        let now = hours * HOUR;
        let found = service.verdict(&token(now), now).await;
        assert_eq!(found, IDLE_TIMEOUT, "after {hours} h");
        service.bench.run_background_tasks().await;
    }
    // The client has sent no request for 100 hours, so the tombstone has expired and the token starts a new session, as
    // the documentation says.
    let now = 300 * HOUR;
    service.bench.set_time_after_start(now);
    service.bench.run_background_tasks().await;
    assert_eq!(service.verdict(&token(now), now).await, Verdict::Allow);
}

#[tokio::test]
async fn a_longer_limit_does_not_restart_an_ended_session() {
    for longer_limit_is_recorded in [false, true] {
        let mut service = JwtFixture::new("default");
        let record_limits = async |service: &JwtFixture| {
            let limits = service
                .checker
                .sources
                .absolute_limits(&service.checker.rulebook.policies);
            let (history, now) = (&service.bench.store.memory, service.bench.parts.clock.now());
            history.record_limits(&limits, now).await.unwrap();
        };
        record_limits(&service).await;
        let token = |service: &JwtFixture, signed_in, now: Duration| {
            service.key.token(&json!({
                "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "sid": "s",
                "auth_time": seconds(signed_in), "iat": seconds(now), "exp": seconds(now + MINUTE),
            }))
        };
        let first = token(&service, Duration::ZERO, Duration::ZERO);
        assert_eq!(
            service.verdict(&first, Duration::ZERO).await,
            Verdict::Allow
        );
        let again = token(&service, Duration::ZERO, 20 * MINUTE);
        assert_eq!(service.verdict(&again, 20 * MINUTE).await, IDLE_TIMEOUT);
        // The tombstone (the record of the session end) has expired by now.
        service.bench.set_time_after_start(9 * HOUR);
        service.bench.run_background_tasks().await;
        assert!(service.bench.store.memory.is_empty());
        let (_, default) = service.checker.rulebook.policies.get("default").unwrap();
        let mut longer = default.clone();
        longer.limits.absolute = 100 * HOUR;
        service
            .bench
            .set_policies(BTreeMap::from([(policy_name("default"), longer)]));
        service.bench.update(&mut service.checker, Rules::default());
        if longer_limit_is_recorded {
            record_limits(&service).await;
        }
        let refreshed = token(&service, Duration::ZERO, 9 * HOUR);
        assert_eq!(
            service.verdict(&refreshed, 9 * HOUR).await,
            ABSOLUTE_TIMEOUT
        );
        // This sign-in is from before the change, and not too old under the former limit. So its session starts with
        // the former limit.
        let known = service.token("known", 8 * HOUR, 8 * HOUR);
        let (_, session) = service.check(&known, 9 * HOUR).await.session.unwrap();
        assert_eq!(session.deadline, START.plus(16 * HOUR));
        record_limits(&service).await;
        let fresh = service.token("fresh", 10 * HOUR, 10 * HOUR);
        let (_, session) = service.check(&fresh, 10 * HOUR).await.session.unwrap();
        assert_eq!(session.deadline, START.plus(110 * HOUR));
    }
}

/// A later token can leave out the group with the shorter limit. The longer limit of the policy then applies to this
/// token, so the tombstone (the record of the session end) must be kept for the longer limit.
#[tokio::test]
async fn a_tombstone_is_kept_for_the_longest_limit_of_later_tokens() {
    let mut bench = TestService::new();
    let (_, default) = bench.parts.policies.get("default").unwrap();
    let mut short_limits = default.limits;
    short_limits.absolute = HOUR;
    let with_variant = crate::policy::Policy {
        variants: vec![crate::policy::Variant {
            groups: vec!["staff".to_owned()],
            limits: short_limits,
        }],
        ..default.clone()
    };
    bench.set_policies(BTreeMap::from([(policy_name("default"), with_variant)]));
    bench.change_parts(|parts| parts.end_retention = MINUTE);
    let service = JwtFixture::with_bench(bench, "default");
    let token = |groups: &[&str], now: Duration| {
        service.key.token(&json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "sid": "s", "groups": groups,
            "auth_time": seconds(Duration::ZERO), "iat": seconds(now), "exp": seconds(now + MINUTE),
        }))
    };
    let first = token(&["staff"], Duration::ZERO);
    assert_eq!(
        service.verdict(&first, Duration::ZERO).await,
        Verdict::Allow
    );
    let again = token(&["staff"], HOUR);
    assert_eq!(service.verdict(&again, HOUR).await, ABSOLUTE_TIMEOUT);
    service.bench.set_time_after_start(7 * HOUR);
    service.bench.run_background_tasks().await;
    let later = token(&[], 7 * HOUR);
    assert_eq!(service.verdict(&later, 7 * HOUR).await, ABSOLUTE_TIMEOUT);
}

/// After a revocation, a provider with its own session can still issue tokens without asking for a password. Such a
/// silent sign-in is not a new authentication.
#[tokio::test]
async fn after_a_revocation_only_a_later_authentication_starts_a_session() {
    let service = JwtFixture::new("default");
    let [revoked, other, unseen] = ["a", "b", "c"].map(|sid| service.token(sid, MINUTE, MINUTE));
    let (id, session) = service.check(&revoked, 2 * MINUTE).await.session.unwrap();
    assert_eq!(service.verdict(&other, 2 * MINUTE).await, Verdict::Allow);
    service.bench.set_time_after_start(3 * MINUTE);
    let lifecycle = &service.bench.lifecycle;
    lifecycle.revoke(id, &administrator()).await.unwrap();
    let after = 4 * MINUTE;
    assert_eq!(service.verdict(&revoked, after).await, REVOKED);
    assert_eq!(service.verdict(&unseen, after).await, REVOKED);
    assert_eq!(
        service.verdict(&other, after).await,
        Verdict::Allow,
        "the other session must be live"
    );
    let sign_in = |subject: &str, authenticated| SignIn {
        usable_at: None,
        subject: Subject::new(subject).unwrap(),
        attributes: session.attributes.clone(),
        policy: policy_name("default"),
        remember: false,
        client: crate::policy::Client::default(),
        authenticated: Some(START.plus(authenticated)),
        host: None,
        refresh: None,
        actor: Actor::CURFEW,
    };
    // A silent sign-in through Curfew starts no session. The person has two names: test both.
    for subject in ["alice", "alice@example.com"] {
        let silent_sign_in = lifecycle.start(sign_in(subject, MINUTE)).await;
        assert!(
            matches!(silent_sign_in, Err(StartError::TooOld)),
            "{silent_sign_in:?}"
        );
        assert!(lifecycle.start(sign_in(subject, after)).await.is_ok());
    }
    let other_person = SignIn {
        usable_at: None,
        attributes: Attributes::default(),
        ..sign_in("bob", MINUTE)
    };
    assert!(
        lifecycle.start(other_person).await.is_ok(),
        "another person must be able to sign in"
    );
    let fresh = service.token("d", after, after);
    assert_eq!(service.verdict(&fresh, after).await, Verdict::Allow);
}

#[tokio::test]
async fn a_sign_out_or_a_timeout_affects_no_other_session() {
    let service = JwtFixture::new("default");
    let [first, second] = ["a", "b"].map(|sid| service.token(sid, MINUTE, MINUTE));
    let (id, session) = service.check(&first, 2 * MINUTE).await.session.unwrap();
    let ending = EndRequest::signed_out(START.plus(2 * MINUTE));
    let actor = Actor::owner(&session, None);
    let ended = service.bench.lifecycle.end(id, ending, &actor).await;
    assert!(matches!(ended, Ok(EndOutcome::Ended(_))));
    assert_eq!(service.verdict(&second, 3 * MINUTE).await, Verdict::Allow);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Two sessions start concurrently, in any order, and the limit is one session. At least one session starts. The
    /// other request is denied, but without a session end: its credential is accepted as soon as the first session
    /// has ended.
    #[test]
    fn two_concurrent_sessions_do_not_end_each_other(turns in proptest::collection::vec(0_u8..5, 60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut service = JwtFixture::with_bench(with_session_limit(1, OnSessionLimit::Deny), "default");
            let store = Arc::new(DelayedStore {
                memory: Arc::clone(&service.bench.store.memory),
                delay: RandomDelays::new(turns),
            });
            service.bench.change_parts(|parts| {
                parts.stores.sessions = Arc::clone(&store) as _;
                parts.stores.deadlines = store;
            });
            service.bench.update(&mut service.checker, Rules::default());
            let tokens = [service.token("a", SECOND, SECOND), service.token("b", 2 * SECOND, 2 * SECOND)];
            let verdicts = tokio::join!(
                service.verdict(&tokens[0], MINUTE),
                service.verdict(&tokens[1], MINUTE),
            );
            let too_many = deny(DenyReason::TooManySessions);
            let mut live_ids = Vec::new();
            for token in &tokens {
                match service.check(token, MINUTE).await {
                    Outcome { verdict: Verdict::Allow, session: Some((id, _)), .. } => live_ids.push(id),
                    outcome => prop_assert_eq!(outcome.verdict, too_many, "{:?}", verdicts),
                }
            }
            prop_assert_eq!(live_ids.len(), 1, "{:?}", verdicts);
            let ending = EndRequest::signed_out(START.plus(MINUTE));
            let ended = service.bench.lifecycle.end(live_ids[0], ending, &Actor::CURFEW).await;
            prop_assert!(matches!(ended, Ok(EndOutcome::Ended(_))));
            let mut again = Vec::new();
            for token in &tokens {
                again.push(service.verdict(token, MINUTE).await);
            }
            let signed_out = deny(DenyReason::SignedOut);
            prop_assert!(again.contains(&Verdict::Allow) && again.contains(&signed_out), "{:?}", again);
            Ok(())
        })?;
    }
}
