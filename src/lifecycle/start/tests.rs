use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::*;
use crate::policy::{BindSettings, NetworkBits, Policies};
use crate::session::{Limits, State};
use crate::testing::{HOUR, MINUTE, TestService, policy_name};

/// Returns a service whose default policy allows two sessions per subject.
fn bench_limited_to_two_sessions(on_limit: OnSessionLimit) -> TestService {
    let mut bench = TestService::new();
    let (_, default) = bench.parts.policies.get("default").unwrap();
    let mut default = default.clone();
    default.max_sessions = Some(MaxSessions { count: 2, on_limit });
    bench.set_policies(BTreeMap::from([(policy_name("default"), default)]));
    bench
}

fn sign_in() -> SignIn {
    SignIn {
        subject: Subject::new("alice").unwrap(),
        attributes: Attributes::default(),
        policy: policy_name("default"),
        remember: false,
        client: Client::default(),
        authenticated: None,
        host: None,
        usable_at: None,
        refresh: None,
        actor: Actor::CURFEW,
    }
}

#[tokio::test]
async fn the_session_limit_is_enforced() {
    let bench = bench_limited_to_two_sessions(OnSessionLimit::Deny);
    let lifecycle = &bench.lifecycle;
    let first = lifecycle.start(sign_in()).await.unwrap();
    lifecycle.start(sign_in()).await.unwrap();
    for _ in 0..2 {
        let result = lifecycle.start(sign_in()).await;
        assert!(
            matches!(result, Err(StartError::SessionLimitReached(2))),
            "{result:?}"
        );
    }
    let mut other = sign_in();
    other.subject = Subject::new("bob").unwrap();
    lifecycle.start(other).await.unwrap();
    // A session that has ended, or has reached a limit, does not count.
    lifecycle.revoke(first.id, &Actor::CURFEW).await.unwrap();
    lifecycle.start(sign_in()).await.unwrap();
    assert!(lifecycle.start(sign_in()).await.is_err());
    bench.set_time_after_start(16 * MINUTE);
    lifecycle.start(sign_in()).await.unwrap();
}

#[tokio::test]
async fn the_oldest_session_is_evicted() {
    let bench = bench_limited_to_two_sessions(OnSessionLimit::EndOldest);
    let mut started = Vec::new();
    for minute in 0..4 {
        bench.set_time_after_start(minute * MINUTE);
        started.push(bench.lifecycle.start(sign_in()).await.unwrap().id);
    }
    let mut live = Vec::new();
    for id in &started {
        live.push(bench.load_record(*id).await.state == State::Live);
    }
    assert_eq!(live, [false, false, true, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_sign_ins_respect_the_session_limit() {
    for on_limit in [OnSessionLimit::Deny, OnSessionLimit::EndOldest] {
        for _ in 0..20 {
            let bench = bench_limited_to_two_sessions(on_limit);
            let sign_ins = (0..8).map(|_| {
                let lifecycle = bench.lifecycle.clone();
                tokio::spawn(async move { lifecycle.start(sign_in()).await })
            });
            let outcomes = join_all(sign_ins).await.into_iter().map(Result::unwrap);
            let started = outcomes.filter(Result::is_ok).count();
            let live = bench
                .lifecycle
                .live_sessions(&sign_in().subject)
                .await
                .unwrap();
            match on_limit {
                OnSessionLimit::Deny => {
                    assert!(live.len() <= 2, "{live:?}");
                    assert_eq!(
                        started,
                        live.len(),
                        "a denied sign-in must not leave a session"
                    );
                }
                OnSessionLimit::EndOldest => assert_eq!((started, live.len()), (8, 2)),
            }
        }
    }
}

#[tokio::test]
async fn remember_me_needs_a_policy_with_remember() {
    let mut bench = TestService::new();
    let sign_in_with_remember = SignIn {
        remember: true,
        ..sign_in()
    };
    let result = bench.lifecycle.start(sign_in_with_remember.clone()).await;
    assert!(matches!(result, Err(StartError::NoRememberLimits)));
    let (_, default) = bench.parts.policies.get("default").unwrap();
    let mut default = default.clone();
    default.remember = Some(Limits {
        idle: Some(48 * HOUR),
        absolute: 240 * HOUR,
        max_auth_age: None,
    });
    bench.set_policies(BTreeMap::from([(policy_name("default"), default)]));
    let remembered = bench
        .lifecycle
        .start(sign_in_with_remember)
        .await
        .unwrap()
        .session;
    assert_eq!(remembered.deadline, remembered.started.plus(240 * HOUR));
    let policies: &Policies = &bench.parts.policies;
    assert_eq!(
        policies.deadline(&remembered),
        remembered.started.plus(48 * HOUR)
    );
    let not_remembered = bench.lifecycle.start(sign_in()).await.unwrap().session;
    assert_eq!(
        policies.deadline(&not_remembered),
        not_remembered.started.plus(15 * MINUTE)
    );
}

#[tokio::test]
async fn a_session_cannot_be_bound_to_a_missing_client_property() {
    let mut bench = TestService::new();
    let (_, default) = bench.parts.policies.get("default").unwrap();
    let mut default = default.clone();
    default.bind = BindSettings {
        network: Some(NetworkBits { ipv4: 24, ipv6: 64 }),
        user_agent: true,
    };
    bench.set_policies(BTreeMap::from([(policy_name("default"), default)]));
    let result = bench.lifecycle.start(sign_in()).await.unwrap_err();
    assert_eq!(
        result.to_string(),
        "the policy binds sessions to the client's address, which is missing"
    );
    let client = Client {
        address: Some("203.0.113.7".parse().unwrap()),
        user_agent: Some(Client::hash_user_agent(b"Firefox")),
    };
    let bound = bench
        .lifecycle
        .start(SignIn {
            client,
            ..sign_in()
        })
        .await
        .unwrap();
    let network = bound.session.binding.network.unwrap();
    assert_eq!(network.to_string(), "203.0.113.0/24");
}

#[tokio::test]
async fn the_limits_of_a_session_count_from_its_authentication() {
    let bench = TestService::new();
    let lifecycle = &bench.lifecycle;
    bench.set_time_after_start(24 * HOUR);
    let start_with_auth_age = |age| {
        let mut sign_in = sign_in();
        sign_in.authenticated = Some(bench.parts.clock.now().minus(age));
        lifecycle.start(sign_in)
    };
    let started = start_with_auth_age(HOUR).await.unwrap().session;
    assert_eq!(started.last_seen.since(started.started), HOUR);
    let absolute = started.deadline.since(started.started);
    let result = start_with_auth_age(absolute).await;
    assert!(matches!(result, Err(StartError::TooOld)), "{result:?}");
    // Revoke all sessions that started more than a minute ago. Then an older authentication starts no session.
    let before = bench.parts.clock.now().minus(MINUTE);
    let revoked = lifecycle
        .revoke_all(&started.subject, Some(before), &Actor::CURFEW)
        .await;
    revoked.unwrap();
    let result = start_with_auth_age(HOUR).await;
    assert!(matches!(result, Err(StartError::TooOld)), "{result:?}");
    assert!(start_with_auth_age(MINUTE).await.is_ok());
}
