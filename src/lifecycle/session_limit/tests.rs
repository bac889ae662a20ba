use std::sync::Arc;

use crate::lifecycle::{SignIn, StartError};
use crate::policy::{
    Conditions, HostPattern, MaxSessions, OnSessionLimit, RouteEntry, RouteIndex, RouteScope,
    RouteTerms, Routes, Sourced,
};
use crate::session::State;
use crate::testing::{MINUTE, TestService, policy_name};

/// A ceiling for the hosts of a pattern, or for all hosts.
fn ceiling(host: Option<&str>, count: usize) -> RouteEntry {
    RouteEntry {
        conditions: Conditions {
            hosts: host
                .map(|host| HostPattern::parse(host).unwrap())
                .into_iter()
                .collect(),
            ..Conditions::default()
        },
        is_single_label: false,
        terms: Arc::new(RouteTerms {
            max_sessions: Some(Sourced {
                value: count,
                from: "ClusterSessionPolicy corporate".into(),
            }),
            ..RouteTerms::default()
        }),
        scope: RouteScope::Always,
        name: None,
        checks: None,
    }
}

fn service(ceilings: Vec<RouteEntry>) -> TestService {
    let service = TestService::new();
    let routes = RouteIndex::new(ceilings).unwrap();
    let routes = Routes::Known(Box::new(routes));
    service.parts.routes.replace(routes);
    service
}

fn sign_in(host: Option<&str>) -> SignIn {
    SignIn {
        subject: crate::session::Subject::new("alice").unwrap(),
        attributes: crate::session::Attributes::default(),
        policy: policy_name("default"),
        remember: false,
        client: crate::policy::Client::default(),
        authenticated: None,
        host: None,
        usable_at: host.map(|host| vec![host.into()]),
        refresh: None,
        actor: crate::actor::Actor::CURFEW,
    }
}

#[test]
fn the_lesser_of_policy_and_ceiling_applies() {
    use OnSessionLimit::{Deny, EndOldest};
    let max = |count, on_limit| Some(MaxSessions { count, on_limit });
    let ceilings = vec![
        ceiling(Some("*.pay.example.com"), 2),
        ceiling(Some("crm.example.com"), 5),
    ];
    let service = service(ceilings);
    let (_, default) = service.parts.policies.get("default").unwrap();
    let with = |limit| {
        let mut policy = default.clone();
        policy.max_sessions = limit;
        policy
    };
    let cases = [
        (None, Some("a.pay.example.com"), max(2, EndOldest)),
        (None, Some("crm.example.com"), max(5, EndOldest)),
        (None, Some("wiki.example.com"), None),
        // The session is for all hosts, so each ceiling applies.
        (None, None, max(2, EndOldest)),
        (max(3, Deny), Some("a.pay.example.com"), max(2, Deny)),
        (max(3, Deny), Some("crm.example.com"), max(3, Deny)),
        (
            max(1, EndOldest),
            Some("A.PAY.example.com:443"),
            max(1, EndOldest),
        ),
        (max(3, Deny), Some("wiki.example.com"), max(3, Deny)),
    ];
    for (own, host, expected) in cases {
        let hosts = host.map(|host| vec![Arc::from(host)]);
        let limit = service
            .lifecycle
            .session_limit(Some(&with(own)), hosts.as_deref());
        assert_eq!(limit.unwrap(), expected, "{own:?} at {host:?}");
    }
}

#[test]
fn the_least_ceiling_of_all_hosts_of_a_session_applies() {
    let ceilings = vec![
        ceiling(Some("a.example.com"), 3),
        ceiling(Some("b.example.com"), 2),
    ];
    let service = service(ceilings);
    let hosts: Vec<Arc<str>> = vec!["a.example.com".into(), "b.example.com".into()];
    let limit = service.lifecycle.session_limit(None, Some(&hosts));
    assert_eq!(limit.unwrap().unwrap().count, 2);
    let limit = service.lifecycle.session_limit(None, Some(&hosts[..1]));
    assert_eq!(limit.unwrap().unwrap().count, 3);
}

#[tokio::test]
async fn a_sign_in_above_the_ceiling_ends_the_oldest_session() {
    let service = service(vec![ceiling(None, 1)]);
    let first = service.lifecycle.start(sign_in(None)).await.unwrap();
    service.set_time_after_start(MINUTE);
    let second = service
        .lifecycle
        .start(sign_in(Some("crm.example.com")))
        .await
        .unwrap();
    assert_ne!(service.load_record(first.id).await.state, State::Live);
    assert_eq!(service.load_record(second.id).await.state, State::Live);
}

#[tokio::test]
async fn nobody_signs_in_while_the_ceilings_are_unknown() {
    let service = TestService::new();
    service.parts.routes.replace(Routes::Unknown);
    let result = service.lifecycle.start(sign_in(None)).await;
    assert!(
        matches!(result, Err(StartError::UnknownRoutes)),
        "{result:?}"
    );
}
