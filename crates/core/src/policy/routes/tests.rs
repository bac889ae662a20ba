use std::sync::Arc;
use std::time::Duration;

use http::Method;
use proptest::prelude::*;

use super::*;
use crate::policy::{ActivityKind, Conditions, Contract, HostPattern, PathPattern, RequestTarget};

fn sourced<T>(value: T) -> Sourced<T> {
    Sourced {
        value,
        from: "test".into(),
    }
}

fn idle_terms(seconds: u64) -> Arc<RouteTerms> {
    Arc::new(RouteTerms {
        idle: Some(sourced(Duration::from_secs(seconds))),
        ..RouteTerms::default()
    })
}

fn entry(host: &str, path: &str, seconds: u64, is_certain: bool) -> RouteEntry {
    RouteEntry {
        conditions: Conditions {
            hosts: vec![HostPattern::parse(host).unwrap()],
            paths: vec![PathPattern::prefix(path).unwrap()],
            ..Conditions::default()
        },
        is_single_label: false,
        terms: idle_terms(seconds),
        scope: RouteScope::Route {
            router: 0,
            is_certain,
        },
        name: None,
        checks: None,
    }
}

/// Returns the idle limit of a GET request in seconds.
fn find(index: &RouteIndex, host: &str, path: &str) -> Option<u64> {
    let target = RequestTarget {
        host,
        path: path.as_bytes(),
        method: &Method::GET,
        contract: Contract::ForwardAuth,
    };
    let terms = index.find(&target.normalize())?;
    terms.idle.as_ref().map(|idle| idle.value.as_secs())
}

#[test]
fn the_first_certain_route_decides_and_uncertain_routes_before_it_tighten() {
    let index = RouteIndex::new(vec![
        entry("a.example.com", "/api/v2", 30, true),
        entry("a.example.com", "/api", 10, false),
        entry("a.example.com", "/api", 20, true),
        entry("a.example.com", "/", 5, true),
        entry("*.example.com", "/", 7, true),
    ])
    .unwrap();
    assert_eq!(find(&index, "a.example.com", "/api/v2/x"), Some(30));
    assert_eq!(find(&index, "A.example.com:443", "/api/x"), Some(10));
    assert_eq!(find(&index, "a.example.com", "/other"), Some(5));
    assert_eq!(find(&index, "b.example.com", "/api"), Some(7));
    assert_eq!(find(&index, "example.com", "/api"), None);
    // Servers read this path in different ways, so the tightest of all routes applies.
    assert_eq!(find(&index, "a.example.com", "/api/v2/%2e%2e/x"), Some(5));
}

#[test]
fn the_tightest_of_all_routers_applies() {
    let of_router = |router: u32, path: &str, seconds: u64| RouteEntry {
        scope: RouteScope::Route {
            router,
            is_certain: true,
        },
        ..entry("a.example.com", path, seconds, true)
    };
    let always = RouteEntry {
        scope: RouteScope::Always,
        ..entry("a.example.com", "/", 50, true)
    };
    let otherwise = RouteEntry {
        scope: RouteScope::Otherwise,
        ..entry("*.example.com", "/", 3, true)
    };
    let index = RouteIndex::new(vec![
        always,
        of_router(1, "/api", 30),
        of_router(1, "/", 10),
        of_router(2, "/", 20),
        otherwise,
    ])
    .unwrap();
    assert_eq!(find(&index, "a.example.com", "/api"), Some(20));
    assert_eq!(find(&index, "a.example.com", "/x"), Some(10));
    assert_eq!(find(&index, "b.example.com", "/x"), Some(3));
}

#[test]
fn a_wildcard_can_stand_for_one_label() {
    let single = RouteEntry {
        is_single_label: true,
        ..entry("*.example.com", "/", 1, true)
    };
    let index = RouteIndex::new(vec![single, entry("*.example.com", "/", 9, true)]).unwrap();
    assert_eq!(find(&index, "a.example.com:8443", "/"), Some(1));
    assert_eq!(find(&index, "a.b.example.com", "/"), Some(9));
}

#[test]
fn passive_paths_match_whole_paths() {
    let paths = PassivePaths::new(["/poll/**", "/live"]).unwrap();
    for (path, is_passive) in [
        ("/poll/a/b", true),
        ("/live", true),
        ("/live/x", false),
        ("/x//poll", true),
    ] {
        assert_eq!(paths.contain(path.as_bytes()), is_passive, "{path}");
    }
    assert!(!PassivePaths::default().contain(b"/a/../b"));
    let (text, error) = PassivePaths::new(["/[a"]).unwrap_err();
    assert_eq!(text, "/[a");
    assert!(error.to_string().contains("unclosed"), "{error}");
}

fn any_terms() -> impl Strategy<Value = RouteTerms> {
    let limit = || proptest::option::of((1_u64..5, "[ab]"));
    let globs = proptest::sample::subsequence(vec!["/a/**", "/b", "/c*"], 0..=3);
    let groups = proptest::collection::vec("[xyz]", 0..3);
    let activity = prop_oneof![
        Just(ActivityKind::Any),
        Just(ActivityKind::Navigation),
        Just(ActivityKind::Explicit)
    ];
    (limit(), limit(), globs, groups, activity, any::<bool>()).prop_map(
        |(idle, absolute, globs, groups, activity, forbids)| {
            let limit = |limit: Option<(u64, String)>| {
                limit.map(|(seconds, from)| Sourced {
                    value: Duration::from_secs(seconds),
                    from: from.into(),
                })
            };
            RouteTerms {
                idle: limit(idle),
                absolute: limit(absolute),
                activity,
                passive_paths: PassivePaths::new(globs).unwrap(),
                groups: [groups]
                    .into_iter()
                    .filter(|it| !it.is_empty())
                    .map(sourced)
                    .collect(),
                forbids_public: forbids.then(|| "test".into()),
                ..RouteTerms::default()
            }
        },
    )
}

/// Returns the parts of terms that a test can compare.
fn parts(terms: &RouteTerms) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        terms.idle.clone(),
        terms.absolute.clone(),
        terms.activity,
        terms.passive_paths.clone(),
        terms.groups.clone(),
        terms.forbids_public.clone(),
    )
}

/// Finds a GET request at minute 7, and returns the times of these routes.
fn times_after(index: &RouteIndex, path: &str, routes: &[&Arc<RouteChecks>]) -> Vec<(u32, u32)> {
    let target = RequestTarget {
        host: "a.example.com",
        path: path.as_bytes(),
        method: &Method::GET,
        contract: Contract::ForwardAuth,
    };
    let _ = index.find_and_record(&target.normalize(), 7);
    let times = routes.iter().map(|route| route.times());
    times.map(|it| (it.certain, it.possible)).collect()
}

#[test]
fn a_check_is_recorded_for_the_routes_that_it_can_belong_to() {
    let route = |id| Arc::new(RouteChecks::new(id));
    let (api, beta, rest) = (route(1), route(2), route(3));
    let with = |checks: &Arc<RouteChecks>, path: &str, is_certain| RouteEntry {
        checks: Some(Arc::clone(checks)),
        // A route without terms is recorded too.
        terms: Arc::default(),
        ..entry("a.example.com", path, 1, is_certain)
    };
    let index = RouteIndex::new(vec![
        with(&api, "/api", true),
        // This one also has a condition on a header.
        with(&beta, "/", false),
        with(&rest, "/", true),
    ])
    .unwrap();
    let all = [&api, &beta, &rest];
    assert!(find(&index, "a.example.com", "/api").is_none());
    assert_eq!(
        times_after(&index, "/other", &all),
        [(0, 0), (0, 7), (0, 7)]
    );
    assert_eq!(
        times_after(&index, "/api/x", &all),
        [(7, 0), (0, 7), (0, 7)]
    );
    // The path has several readings, so nothing is certain.
    let fresh = route(4);
    let index = RouteIndex::new(vec![with(&fresh, "/api", true), with(&rest, "/", true)]).unwrap();
    assert_eq!(times_after(&index, "/api/%2e%2e/x", &[&fresh]), [(0, 7)]);
    // Two entries of one route, at two listeners.
    let second_listener = RouteEntry {
        scope: RouteScope::Route {
            router: 1,
            is_certain: true,
        },
        ..with(&fresh, "/api", true)
    };
    let index = RouteIndex::new(vec![with(&fresh, "/api", true), second_listener]).unwrap();
    assert_eq!(times_after(&index, "/api", &[&fresh]), [(7, 7)]);
    fresh.record(CheckTimes {
        certain: 3,
        possible: 9,
    });
    assert_eq!((fresh.times().certain, fresh.times().possible), (7, 9));
}

#[test]
fn a_named_route_excludes_the_others() {
    let named = |name: RouteName, path: &str, seconds| RouteEntry {
        name: Some(name),
        ..entry("a.example.com", path, seconds, false)
    };
    let crm = |section| RouteName::new("HTTPRoute", "crm", "web", section);
    let index = RouteIndex::new(vec![
        RouteEntry {
            scope: RouteScope::Always,
            ..entry("a.example.com", "/", 40, true)
        },
        named(crm(Some("api")), "/", 30),
        named(crm(Some("beta")), "/", 20),
        named(RouteName::new("HTTPRoute", "shop", "web", None), "/", 10),
    ])
    .unwrap();
    let find = |route: Option<RouteName>| {
        let target = RequestTarget {
            host: "a.example.com",
            path: b"/x",
            method: &Method::GET,
            contract: Contract::ExtAuthzGrpc,
        };
        let terms = index.find(&target.normalize().with_route(route)).unwrap();
        terms.idle.as_ref().unwrap().value.as_secs()
    };
    assert_eq!(find(None), 10);
    assert_eq!(find(Some(crm(Some("api")))), 30);
    assert_eq!(find(Some(crm(Some("beta")))), 20);
    assert_eq!(find(Some(crm(None))), 20);
    assert_eq!(
        find(Some(RouteName::new("HTTPRoute", "new", "web", None))),
        10
    );
    // The named route does not serve this method here, for example because it has just changed.
    let mut other_method = named(crm(None), "/", 5);
    other_method.conditions.methods = vec![Method::POST];
    let shop = RouteName::new("HTTPRoute", "shop", "web", None);
    let index = RouteIndex::new(vec![other_method, named(shop, "/", 10)]).unwrap();
    let target = RequestTarget {
        host: "a.example.com",
        path: b"/x",
        method: &Method::GET,
        contract: Contract::ExtAuthzGrpc,
    };
    let terms = index.find(&target.normalize().with_route(Some(crm(None))));
    assert_eq!(terms.unwrap().idle.as_ref().unwrap().value.as_secs(), 10);
}

proptest! {
    /// The order of the objects has no effect, and a further object never loosens.
    #[test]
    fn what_is_added_tightens(a in any_terms(), b in any_terms(), c in any_terms()) {
        let both = a.strictest(&b);
        prop_assert_eq!(parts(&both), parts(&b.strictest(&a)));
        prop_assert_eq!(parts(&both.strictest(&c)), parts(&a.strictest(&b.strictest(&c))));
        prop_assert_eq!(parts(&a.strictest(&a)), parts(&a));
        prop_assert_eq!(both.limits(), a.limits().strictest(b.limits()));
        prop_assert!(both.groups.is_superset(&a.groups));
        for path in ["/a/x", "/b", "/cc", "/d", "/a//b"] {
            let (before, after) = (a.passive_paths.contain(path.as_bytes()), both.passive_paths.contain(path.as_bytes()));
            prop_assert!(!before || after, "{}", path);
        }
        prop_assert!(a.forbids_public.is_none() || both.forbids_public.is_some());
    }

    /// An index gives each request the terms of a search through all entries.
    #[test]
    fn the_index_equals_a_search(
        entries in proptest::collection::vec((0_usize..3, 0_usize..4, 1_u64..9, any::<bool>()), 0..8),
        host in 0_usize..3,
        path in 0_usize..5,
    ) {
        let hosts = ["a.b.c", "*.b.c", "*.c"];
        let prefixes = ["/", "/a", "/a/b", "/c"];
        let requests = ["/", "/a", "/a/b/c", "/c", "/a/../c"];
        let all: Vec<_> = entries.iter().map(|(h, p, seconds, certain)| entry(hosts[*h], prefixes[*p], *seconds, *certain)).collect();
        let request_host = ["a.b.c", "x.b.c", "x.c"][host];
        let request = requests[path];
        let index = RouteIndex::new(all.clone()).unwrap();
        let is_ambiguous = path == 4;
        let below = |prefix: &str| prefix == "/" || request == prefix || request.starts_with(&format!("{prefix}/"));
        let mut expected: Option<u64> = None;
        for ((h, p, seconds, certain), _) in entries.iter().zip(&all) {
            let host_matches = HostPattern::parse(hosts[*h]).unwrap().matches(request_host);
            if !host_matches || (!is_ambiguous && !below(prefixes[*p])) {
                continue;
            }
            expected = Some(expected.map_or(*seconds, |least| least.min(*seconds)));
            if *certain && !is_ambiguous {
                break;
            }
            // The prefix `/` has a path condition here, so that no entry is for the whole host.
        }
        prop_assert_eq!(find(&index, request_host, request), expected);
    }
}
