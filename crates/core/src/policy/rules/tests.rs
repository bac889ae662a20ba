use http::Method;
use proptest::prelude::*;

use super::*;
use crate::policy::{
    Access, Conditions, Contract, HostPattern, RequestTarget, RuleActivity, model,
};

/// Returns a rule for these hosts and paths. `=/a` stands for an exact path, `/a/` for a prefix, `~/a*` for a glob,
/// and `?` for all ambiguous paths.
fn rule(index: usize, hosts: &[&str], paths: &[&str]) -> Rule {
    let paths = paths.iter().map(|path| match path.split_at(1) {
        ("=", path) => PathPattern::exact(path).unwrap(),
        ("~", glob) => PathPattern::glob(glob).unwrap(),
        ("?", _) => PathPattern::Ambiguous,
        _ => PathPattern::prefix(path).unwrap(),
    });
    Rule {
        index,
        conditions: Conditions {
            hosts: hosts
                .iter()
                .map(|host| HostPattern::parse(host).unwrap())
                .collect(),
            paths: paths.collect(),
            ..Conditions::default()
        },
        terms: Terms::default(),
    }
}

fn rules(rules: Vec<Rule>) -> Rules {
    Rules::new(rules, Terms::default()).unwrap()
}

/// Returns the index of the rule that matches a GET request from NGINX.
fn find(rules: &Rules, host: &str, path: &str) -> Result<Option<usize>, AmbiguousPath> {
    let target = RequestTarget {
        host,
        path: path.as_bytes(),
        method: &Method::GET,
        contract: Contract::AuthRequest,
    };
    let found = rules.find(&target.normalize())?;
    Ok(found.rule.map(|rule| rule.index))
}

#[test]
fn without_rules_everything_is_protected() {
    let none = rules(Vec::new());
    let target = RequestTarget {
        host: "a",
        path: b"/a/../b",
        method: &Method::GET,
        contract: Contract::Spoe,
    };
    let found = none.find(&target.normalize()).unwrap();
    assert!(found.rule.is_none());
    assert_eq!(found.terms.access, Access::Protected);
    assert_eq!(found.terms.activity, RuleActivity::Touch);
}

#[test]
fn matches_hosts() {
    let rules = rules(vec![
        rule(0, &["app.example.com"], &[]),
        rule(1, &["*.example.com", "[::1]"], &[]),
        rule(2, &["*.com"], &[]),
        rule(3, &["localhost", "127.0.0.1"], &[]),
    ]);
    for (host, expected) in [
        ("app.example.com", Some(0)),
        ("APP.example.com:8443", Some(0)),
        ("app.example.com.", Some(0)),
        ("other.example.com", Some(1)),
        ("a.b.example.com", Some(1)),
        ("x.app.example.com", Some(1)),
        ("[::1]:80", Some(1)),
        ("example.com", Some(2)),
        ("badexample.com", Some(2)),
        ("localhost:3000", Some(3)),
        ("127.0.0.1", Some(3)),
        ("com", None),
        ("app.example.com.evil.net", None),
        ("app_example.org", None),
    ] {
        assert_eq!(find(&rules, host, "/"), Ok(expected), "{host}");
    }
}

#[test]
fn matches_paths() {
    let rules = rules(vec![
        rule(0, &[], &["=/exact", "=/grüße", "=/with%20space"]),
        rule(1, &[], &["/pre/fix/"]),
        rule(2, &[], &["~/glob/*/end", "~/deep/**/end", "~/**/*.png"]),
        rule(3, &[], &["~/one/[ab]?", "~/{x,y}/z"]),
    ]);
    for (path, expected) in [
        ("/exact", Some(0)),
        ("/%65xact", Some(0)),
        ("/gr%C3%BC%C3%9Fe", Some(0)),
        ("/with%20space", Some(0)),
        ("/exact/", None),
        ("/Exact", None),
        ("/exact/more", None),
        ("/pre/fix", Some(1)),
        ("/pre/fix/", Some(1)),
        ("/pre/fix/a/b", Some(1)),
        ("/pre/%66ix/a", Some(1)),
        ("/pre/fixed", None),
        ("/pre", None),
        ("/a/pre/fix", None),
        ("/glob/a/end", Some(2)),
        ("/glob/a/b/end", None),
        ("/glob/end", None),
        ("/deep/end", Some(2)),
        ("/deep/a/b/c/end", Some(2)),
        ("/deepend", None),
        ("/a.png", Some(2)),
        ("/a/b/c.png", Some(2)),
        ("/a.png/b", None),
        ("/one/a1", Some(3)),
        ("/one/c1", None),
        ("/one/a/", None),
        ("/x/z", Some(3)),
        ("/x,y/z", None),
        ("/", None),
    ] {
        assert_eq!(find(&rules, "a", path), Ok(expected), "{path}");
    }
}

#[test]
fn a_root_prefix_matches_every_path() {
    let rules = rules(vec![rule(0, &[], &["/"])]);
    for path in ["/", "/a", "/a/b/"] {
        assert_eq!(find(&rules, "a", path), Ok(Some(0)), "{path}");
    }
    let ambiguous = find(&rules, "a", "//");
    assert_eq!(ambiguous, Err(AmbiguousPath::DoubleSlash));
}

#[test]
fn matches_methods_and_contracts() {
    let mut get = rule(0, &[], &["=/a"]);
    get.conditions.methods = vec![Method::GET, "PROPFIND".parse().unwrap()];
    let mut haproxy = rule(1, &[], &["=/a"]);
    haproxy.conditions.contracts = vec![Contract::Spoe];
    let rules = rules(vec![get, haproxy, rule(2, &[], &["=/a"])]);
    for (method, contract, expected) in [
        ("GET", Contract::AuthRequest, 0),
        ("PROPFIND", Contract::Spoe, 0),
        ("get", Contract::AuthRequest, 2),
        ("HEAD", Contract::AuthRequest, 2),
        ("HEAD", Contract::Spoe, 1),
    ] {
        let method: Method = method.parse().unwrap();
        let target = RequestTarget {
            host: "a",
            path: b"/a",
            method: &method,
            contract,
        };
        let found = rules.find(&target.normalize()).unwrap().rule.unwrap();
        assert_eq!(found.index, expected, "{method} {contract}");
    }
}

#[test]
fn the_first_match_wins_in_every_part_of_the_index() {
    let rules = rules(vec![
        rule(0, &["*.example.com"], &["~/a/*/c"]),
        rule(1, &["app.example.com"], &["=/a/b"]),
        rule(2, &[], &["/a"]),
        rule(3, &["app.example.com"], &["=/a/x", "/a/b"]),
        rule(4, &["app.example.com"], &[]),
        rule(5, &[], &[]),
    ]);
    for (host, path, expected) in [
        ("app.example.com", "/a/b/c", 0),
        ("app.example.com", "/a/b", 1),
        ("app.example.com", "/a/x", 2),
        ("app.example.com", "/b", 4),
        ("other.example.com", "/a/b", 2),
        ("other.example.com", "/b", 5),
        ("else", "/a/b/c", 2),
    ] {
        assert_eq!(find(&rules, host, path), Ok(Some(expected)), "{host}{path}");
    }
}

/// Paths that some server interprets as another path, so no exact path, prefix or glob may match them.
const AMBIGUOUS_PATHS: &[&str] = &[
    "/open/../private",
    "/open/..%2fprivate",
    "/open%2f..%2fprivate",
    "/open/%2e%2e/private",
    "/open/.%2e/private",
    "/open/%252e%252e/private",
    "/open/%25%32%65%25%32%65/private",
    "/private/../open",
    "/private/%2e%2e/open",
    "/./open",
    "//open",
    "/open//private",
    "/open;/private",
    "/open;a=b",
    "/private;/../open",
    "/open%3b/private",
    "/open%00",
    "/open%00/private",
    "/open%0a",
    "/open%23/private",
    "/open#/private",
    "/private#/open",
    "/open%3fx",
    "/private%3f/open",
    "/open\\..\\private",
    "/open%5c..%5cprivate",
    "/open%c0%af..%c0%afprivate",
    "/open%",
    "/open%zz",
    "/open/.",
    "/open/..",
];

#[test]
fn an_ambiguous_path_matches_no_path_pattern() {
    for paths in [
        &["=/open"][..],
        &["/open"],
        &["~/open"],
        &["~/**/open"],
        &["~/open/**"],
        &["~/**"],
        &["/"],
    ] {
        let rules = rules(vec![rule(0, &["a"], paths)]);
        for path in AMBIGUOUS_PATHS {
            assert!(find(&rules, "a", path).is_err(), "{paths:?} {path}");
            // No rule for this host has a path condition, so an ambiguous path has no effect.
            assert_eq!(find(&rules, "b", path), Ok(None), "{path}");
        }
    }
    // Each of these paths has one interpretation, which is different from `/open`.
    let rules = rules(vec![rule(0, &["a"], &["=/open"])]);
    for path in [
        "/OPEN",
        "/open.",
        "/open.json",
        "/open/",
        "/open%20",
        "/openx",
    ] {
        assert_eq!(find(&rules, "a", path), Ok(None), "{path}");
    }
}

#[test]
fn an_ambiguous_path_matters_only_if_the_first_rule_has_a_path_condition() {
    let rules = rules(vec![
        rule(0, &["git.example.com"], &["?"]),
        rule(1, &["any.example.com"], &[]),
        rule(2, &[], &["=/open"]),
        rule(3, &["git.example.com"], &[]),
    ]);
    let path = "/api/projects/group%2Fname";
    assert_eq!(find(&rules, "git.example.com", path), Ok(Some(0)));
    assert_eq!(find(&rules, "git.example.com", "/open"), Ok(Some(2)));
    assert_eq!(find(&rules, "git.example.com", "/x"), Ok(Some(3)));
    assert_eq!(find(&rules, "any.example.com", path), Ok(Some(1)));
    let ambiguous = Err(AmbiguousPath::EncodedSlash);
    assert_eq!(find(&rules, "app.example.com", path), ambiguous);
}

proptest! {
    /// The index and the independent model find the same rule.
    #[test]
    fn the_index_agrees_with_the_model(
        drawn in proptest::collection::vec(
            (
                proptest::sample::subsequence(vec!["a.b.c", "b.c", "*.b.c", "*.c"], 0..3),
                proptest::sample::subsequence(
                    vec![
                        "=/", "=/a", "=/a/b", "=/a/", "/a", "/a/b", "/", "~/a/*", "~/**/b", "~/*", "~/a/**",
                        "~/a/**/b", "~/{a,b}/?", "~/[ab]/*b", "~/a*", "?",
                    ],
                    0..3,
                ),
                proptest::sample::subsequence(vec![Method::GET, Method::POST], 0..2),
            ),
            0..12,
        ),
        host in "((a[.])?b[.]c|c|x[.]c|A[.]B[.]c|[.]c)[.]?(:80)?",
        path in "(/(a|b|c|ab|%61|%2e|[.][.]|[.]|a;b|%3b|%252e|%2F|a%2f|%5C|%zz|%c3%a4|%c0%af|%00|#|))?(/(a|b|c|ab)){0,3}/?",
    ) {
        let list: Vec<Rule> = drawn
            .iter()
            .enumerate()
            .map(|(index, (hosts, paths, methods))| {
                let mut rule = rule(index, hosts, paths);
                rule.conditions.methods.clone_from(methods);
                rule
            })
            .collect();
        let path = if path.is_empty() { "/".to_owned() } else { path };
        let target = RequestTarget {
            host: &host,
            path: path.as_bytes(),
            method: &Method::GET,
            contract: Contract::AuthRequest,
        };
        let found = find(&rules(list.clone()), &host, &path);
        prop_assert_eq!(found.map_err(|_| model::AmbiguousReading), model::first_match(&list, &target));
    }
}
