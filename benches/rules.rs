//! Measures the time to find the rule for a request, among 0 to 1,000 rules of each kind. All rules are for the same
//! host, which is the worst case.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use curfew::policy::{
    Conditions, Contract, HostPattern, PathPattern, RequestTarget, Rule, Rules, Terms,
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
        bencher.iter(|| black_box(&rules).find(black_box(&TARGET)).is_ok());
    });
    for (kind, constructors) in kinds {
        for count in [1, 10, 100, 1000] {
            let rules = create_rules(count, constructors);
            group.bench_with_input(BenchmarkId::new(kind, count), &rules, |bencher, rules| {
                bencher.iter(|| black_box(rules).find(black_box(&TARGET)).is_ok());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, bench_find);
criterion_main!(benches);
