//! How the routes of a cluster change the answer to a check.

use std::sync::Arc;

use super::*;
use crate::policy::{
    Access, Activity, Conditions, PassivePaths, PassiveReason, PathPattern, RouteChecks,
    RouteEntry, RouteIndex, RouteScope, RouteTerms, Routes, Rule, Sourced, Terms,
};
use crate::testing::policy_name;

fn sourced<T>(value: T) -> Option<Sourced<T>> {
    let from = "SessionPolicy team/app".into();
    Some(Sourced { value, from })
}

impl Fixture {
    /// Puts these terms in force for all requests below `/app`.
    fn set_route(&self, terms: RouteTerms) {
        self.set_route_below("/app", terms);
    }

    fn set_route_below(&self, path: &str, terms: RouteTerms) {
        let entry = RouteEntry {
            conditions: Conditions {
                paths: vec![PathPattern::prefix(path).unwrap()],
                ..Conditions::default()
            },
            terms: Arc::new(terms),
            is_single_label: false,
            scope: RouteScope::Always,
            name: None,
            checks: None,
        };
        let routes = RouteIndex::new(vec![entry]).unwrap();
        self.checker
            .rulebook
            .routes
            .replace(Routes::Known(Box::new(routes)));
    }

    async fn verdict_in(&self, path: &str, after: Duration) -> Verdict {
        self.bench.set_time_after_start(after);
        let url = format!("https://app.example.com{path}");
        let original = Original::new(&Method::GET, OriginalUrl::parse(url.as_bytes()).unwrap());
        let headers = self.headers();
        let outcome = self.check_original(None, Ok(original), &headers).await;
        outcome.verdict
    }
}

#[tokio::test]
async fn a_route_tightens_the_limits_of_its_requests_only() {
    let fixture = Fixture::new().await;
    fixture.set_route(RouteTerms {
        idle: sourced(5 * MINUTE),
        max_auth_age: sourced(HOUR),
        ..RouteTerms::default()
    });
    assert_eq!(fixture.verdict_in("/app", MINUTE).await, Verdict::Allow);
    // A limit that is not of the home policy asks for a new sign-in, and does not end the session.
    let too_old = deny(DenyReason::ReauthenticationRequired);
    assert_eq!(fixture.verdict_in("/app/x", 7 * MINUTE).await, too_old);
    // The session goes on for other requests, and their activity counts for the route too.
    assert_eq!(fixture.verdict_in("/x", 8 * MINUTE).await, Verdict::Allow);
    assert_eq!(fixture.verdict_in("/app", 9 * MINUTE).await, Verdict::Allow);
    for minutes in 10..=60 {
        let verdict = fixture.verdict_in("/x", minutes * MINUTE).await;
        assert_eq!(verdict, Verdict::Allow);
    }
    assert_eq!(fixture.verdict_in("/app", 61 * MINUTE).await, too_old);
    // A path with several readings gets the tightest terms.
    assert_eq!(fixture.verdict_in("/x/../app", 61 * MINUTE).await, too_old);
    fixture.set_route(RouteTerms {
        absolute: sourced(HOUR),
        ..RouteTerms::default()
    });
    assert_eq!(fixture.verdict_in("/x", 62 * MINUTE).await, Verdict::Allow);
    assert_eq!(fixture.verdict_in("/app", 62 * MINUTE).await, too_old);
    // A route cannot loosen.
    fixture.set_route(RouteTerms {
        idle: sourced(5 * HOUR),
        absolute: sourced(500 * HOUR),
        ..RouteTerms::default()
    });
    let idle = deny(DenyReason::IdleTimeout);
    assert_eq!(fixture.verdict_in("/app", 77 * MINUTE).await, idle);
}

#[tokio::test]
async fn a_route_requires_one_group_of_each_list() {
    let fixture = Fixture::new().await;
    for (lists, expected) in [
        (&[&["staff", "x"][..]][..], Verdict::Allow),
        (&[&["staff"], &["x", "y"]], deny(DenyReason::Forbidden)),
        (&[&["x"]], deny(DenyReason::Forbidden)),
    ] {
        let lists = lists.iter().map(|list| {
            let list = list.iter().map(|group| (*group).to_owned());
            sourced(list.collect::<Vec<_>>()).unwrap()
        });
        fixture.set_route(RouteTerms {
            groups: lists.collect(),
            ..RouteTerms::default()
        });
        assert_eq!(fixture.verdict_in("/app", MINUTE).await, expected);
        assert_eq!(fixture.verdict_in("/x", MINUTE).await, Verdict::Allow);
    }
}

#[tokio::test]
async fn a_route_can_forbid_public_requests() {
    let rules = Rules::new(
        vec![Rule {
            index: 0,
            conditions: Conditions::default(),
            terms: Terms {
                access: Access::Public,
                ..Terms::default()
            },
        }],
        Terms::default(),
    );
    let fixture = Fixture::with_rules(TestService::new(), "default", rules.unwrap()).await;
    fixture.set_route(RouteTerms {
        forbids_public: Some("ClusterSessionPolicy corporate".into()),
        ..RouteTerms::default()
    });
    for (path, expected) in [
        ("/x", Verdict::Allow),
        ("/app", deny(DenyReason::NoCredential)),
    ] {
        let url = format!("https://app.example.com{path}");
        let original = Original::new(&Method::GET, OriginalUrl::parse(url.as_bytes()).unwrap());
        let headers = HeaderMap::new();
        let outcome = fixture.check_original(None, Ok(original), &headers).await;
        assert_eq!(outcome.verdict, expected, "{path}");
    }
    // Curfew's own pages stay open, because people sign in there.
    fixture.set_route_below(
        "/",
        RouteTerms {
            forbids_public: Some("ClusterSessionPolicy corporate".into()),
            ..RouteTerms::default()
        },
    );
    for (path, is_open) in [
        ("/.curfew/login", true),
        ("/%2ecurfew/login", true),
        ("/.curfew", false),
        ("/.curfewish/login", false),
        ("/x/.curfew/login", false),
        ("/.curfew/../x", false),
        ("/.curfew/%2e%2e/x", false),
        ("/.curfew//x", false),
    ] {
        let url = format!("https://app.example.com{path}");
        let original = Original::new(&Method::GET, OriginalUrl::parse(url.as_bytes()).unwrap());
        let headers = HeaderMap::new();
        let outcome = fixture.check_original(None, Ok(original), &headers).await;
        assert_eq!(outcome.verdict == Verdict::Allow, is_open, "{path}");
    }
}

#[tokio::test]
async fn requests_for_a_passive_path_are_no_activity() {
    let fixture = Fixture::new().await;
    fixture.set_route(RouteTerms {
        passive_paths: PassivePaths::new(["/app/poll"]).unwrap(),
        ..RouteTerms::default()
    });
    for minutes in [5, 10, 14] {
        let verdict = fixture.verdict_in("/app/poll", minutes * MINUTE).await;
        assert_eq!(verdict, Verdict::Allow);
    }
    let idle = deny(DenyReason::IdleTimeout);
    assert_eq!(fixture.verdict_in("/app/x", 15 * MINUTE).await, idle);
}

#[tokio::test]
async fn a_route_can_name_a_policy_of_the_configuration() {
    let fixture = Fixture::new().await;
    for name in ["strict", "renamed"] {
        fixture.set_route(RouteTerms {
            policies: sourced(policy_name(name)).into_iter().collect(),
            ..RouteTerms::default()
        });
        let home = fixture.checker.rulebook.policies.get("strict");
        assert!(home.is_some(), "the fixture has a policy `strict`");
        let limit = home.unwrap().1.limits.idle.unwrap();
        let verdict = fixture.verdict_in("/app", limit).await;
        assert_eq!(
            verdict,
            deny(DenyReason::ReauthenticationRequired),
            "{name}"
        );
    }
}

#[tokio::test]
async fn nothing_is_allowed_before_required_routes_are_known() {
    let fixture = Fixture::new().await;
    fixture.checker.rulebook.routes.replace(Routes::Unknown);
    for path in ["/app", "/x"] {
        let verdict = fixture.verdict_in(path, MINUTE).await;
        assert_eq!(verdict, deny(DenyReason::SourceUnavailable));
    }
    fixture.checker.rulebook.routes.replace(Routes::default());
    assert_eq!(fixture.verdict_in("/x", MINUTE).await, Verdict::Allow);
}

/// The store must know activity that is recent enough for the shortest idle limit.
#[tokio::test]
async fn a_short_idle_limit_of_a_route_shortens_the_touch_interval() {
    let fixture = Fixture::new().await;
    let record = fixture.bench.load_record(fixture.id).await;
    let rulebook = &fixture.checker.rulebook;
    let home = rulebook.policies.home(&record);
    fixture.set_route(RouteTerms {
        idle: sourced(20 * SECOND),
        ..RouteTerms::default()
    });
    for (path, expected) in [("/app", SECOND), ("/x", home.policy.touch_interval)] {
        let url = format!("https://app.example.com{path}");
        let original = Original::new(&Method::GET, OriginalUrl::parse(url.as_bytes()).unwrap());
        let headers = HeaderMap::new();
        let found = RuleMatch::find(rulebook, Contract::AuthRequest, None, &original, &headers);
        assert_eq!(found.unwrap().touch_interval(&home), expected, "{path}");
    }
    assert!(home.policy.touch_interval > SECOND);
    // A policy that the proxy names counts too.
    let original = Original::new(
        &Method::GET,
        OriginalUrl::parse(b"https://app.example.com/x").unwrap(),
    );
    let headers = HeaderMap::new();
    let contract = Contract::AuthRequest;
    for (name, policy) in rulebook.policies.iter() {
        let name = Some(name.as_str());
        let found = RuleMatch::find(rulebook, contract, name, &original, &headers).unwrap();
        let expected = home.policy.touch_interval.min(policy.touch_interval);
        assert_eq!(found.touch_interval(&home), expected, "{name:?}");
    }
}

/// Curfew's own pages look for the session of a request that no proxy has checked. That shows nothing about a route.
#[tokio::test]
async fn only_a_check_is_recorded_for_a_route() {
    let fixture = Fixture::new().await;
    let checks = Arc::new(RouteChecks::new(1));
    let entry = RouteEntry {
        conditions: Conditions::default(),
        terms: Arc::default(),
        is_single_label: false,
        scope: RouteScope::Route {
            router: 0,
            is_certain: true,
        },
        name: None,
        checks: Some(Arc::clone(&checks)),
    };
    let routes = Box::new(RouteIndex::new(vec![entry]).unwrap());
    fixture
        .checker
        .rulebook
        .routes
        .replace(Routes::Known(routes));
    let headers = fixture.headers();
    let url = OriginalUrl::parse(b"https://app.example.com/").unwrap();
    let request = CheckRequest {
        contract: Contract::AuthRequest,
        policy: None,
        original: Ok(Original::new(&Method::GET, url)),
        headers: &headers,
        address: ClientAddress::InHeader,
        peer: None,
    };
    let passive = Activity::Passive(PassiveReason::Rule);
    let outcome = fixture.checker.evaluate_passively(&request, passive).await;
    assert_eq!(outcome.verdict, Verdict::Allow);
    assert!(checks.times().is_never());
    let outcome = fixture.checker.check(&request).await;
    assert_eq!(outcome.verdict, Verdict::Allow);
    assert!(checks.times().certain > 0);
}
