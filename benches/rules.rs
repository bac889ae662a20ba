//! Measures the time to find the rule for a request, among 0 to 1,000 rules of each kind. All rules are for the same
//! host, which is the worst case. Also measures the time to find the route of a cluster, among 10 and 10,000 routes.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use curfew::policy::{
    Conditions, Contract, HostPattern, PathPattern, RequestTarget, RouteChecks, RouteEntry,
    RouteIndex, RouteName, RouteScope, RouteTerms, Rule, Rules, Sourced, Terms,
};
use http::Method;

type PatternConstructor = fn(usize) -> PathPattern;

fn exact(number: usize) -> PathPattern {
    PathPattern::Exact(format!("/exact/{number}/page"))
}

fn prefix(number: usize) -> PathPattern {
    PathPattern::Prefix(format!("/prefix/{number}"))
}

#[expect(clippy::expect_used, reason = "a bench fails by panicking")]
fn glob(number: usize) -> PathPattern {
    PathPattern::glob(&format!("/glob/*/{number}/**")).expect("the glob should be valid")
}

#[expect(clippy::expect_used, reason = "a bench fails by panicking")]
fn create_rules(count: usize, constructors: &[PatternConstructor]) -> Rules {
    let rules = (0..count).map(|index| Rule {
        index,
        conditions: Conditions {
            hosts: vec![HostPattern::Exact("app.example.com".to_owned())],
            paths: vec![constructors[index % constructors.len()](index)],
            ..Conditions::default()
        },
        terms: Terms::default(),
    });
    Rules::new(rules.collect(), Terms::default()).expect("the rules should be valid")
}

/// A request that no rule matches, so the search must exclude all rules.
const TARGET: RequestTarget<'static> = RequestTarget {
    host: "app.example.com",
    path: b"/orders/2026/11/25/invoice%20no%207.pdf",
    method: &Method::GET,
    contract: Contract::AuthRequest,
};

fn bench_find(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("find");
    let kinds: [(&str, &[PatternConstructor]); 4] = [
        ("exact", &[exact]),
        ("prefix", &[prefix]),
        ("glob", &[glob]),
        ("mixed", &[exact, prefix, glob]),
    ];
    group.bench_function("none", |bencher| {
        let rules = Rules::default();
        bencher.iter(|| {
            black_box(&rules)
                .find(&black_box(TARGET).normalize())
                .is_ok()
        });
    });
    for (kind, constructors) in kinds {
        for count in [1, 10, 100, 1000] {
            let rules = create_rules(count, constructors);
            group.bench_with_input(BenchmarkId::new(kind, count), &rules, |bencher, rules| {
                bencher.iter(|| {
                    black_box(rules)
                        .find(&black_box(TARGET).normalize())
                        .is_ok()
                });
            });
        }
    }
    group.finish();
}

/// An Ingress of a team has a host of its own and the path `/`.
#[expect(clippy::expect_used, reason = "a bench fails by panicking")]
fn create_routes(count: usize) -> RouteIndex {
    let routes = (0..count).map(|number| RouteEntry {
        conditions: Conditions {
            hosts: vec![HostPattern::Exact(format!("app-{number}.example.com"))],
            ..Conditions::default()
        },
        is_single_label: true,
        terms: Arc::new(RouteTerms {
            idle: Some(Sourced {
                value: Duration::from_secs(900),
                from: "SessionPolicy team/app".into(),
            }),
            ..RouteTerms::default()
        }),
        scope: RouteScope::Route {
            router: 0,
            is_certain: true,
        },
        name: Some(RouteName::new(
            "Ingress",
            "team",
            &format!("app-{number}"),
            None,
        )),
        checks: Some(Arc::new(RouteChecks::new(number as u64))),
    });
    RouteIndex::new(routes.collect()).expect("the routes should be valid")
}

fn bench_routes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("routes");
    for count in [10, 10_000] {
        let routes = create_routes(count);
        let target = RequestTarget {
            host: "app-7.example.com",
            ..TARGET
        };
        group.bench_with_input(
            BenchmarkId::new("find", count),
            &routes,
            |bencher, routes| {
                bencher.iter(|| {
                    let target = black_box(target).normalize();
                    black_box(routes).find_and_record(&target, 29_833_920)
                });
            },
        );
    }
    group.finish();
}

criterion_group!(benches, bench_find, bench_routes);
criterion_main!(benches);
