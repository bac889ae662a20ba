//! How rules change the answer to a check.

use std::collections::BTreeMap;

use super::*;
use crate::policy::{
    Access, BindSettings, Conditions, NetworkBits, PathPattern, Policy, Rule, RuleActivity, Terms,
    Variant,
};
use crate::session::{Limits, PolicyName};
use crate::testing::policy_name;

/// Returns rules in this order. Each has a path prefix and its terms.
fn rules_for_prefixes<const N: usize>(rules: [(&str, Terms); N]) -> Rules {
    let rules = rules.into_iter().enumerate();
    let rules = rules.map(|(index, (prefix, terms))| Rule {
        index,
        conditions: Conditions {
            paths: vec![PathPattern::prefix(prefix).unwrap()],
            ..Conditions::default()
        },
        terms,
    });
    Rules::new(rules.collect(), Terms::default()).unwrap()
}

fn public_terms() -> Terms {
    Terms {
        access: Access::Public,
        ..Terms::default()
    }
}

impl Fixture {
    /// Checks a request with exactly these headers. Without a cookie in `headers`, the request has no credential.
    async fn check_path(&self, method: &str, path: &str, headers: &HeaderMap) -> Outcome {
        let url = format!("https://app.example.com{path}");
        let method: Method = method.parse().unwrap();
        let original = Original::new(&method, OriginalUrl::parse(url.as_bytes()).unwrap());
        self.check_original(None, Ok(original), headers).await
    }

    async fn verdict_for_path(&self, path: &str) -> Verdict {
        self.check_path("GET", path, &self.headers()).await.verdict
    }

    fn headers_with(&self, header_lines: &[(&str, &str)]) -> HeaderMap {
        let mut all = self.headers();
        all.extend(headers(header_lines));
        all
    }
}

#[tokio::test]
async fn a_public_path_needs_no_session_and_no_store() {
    let rules = rules_for_prefixes([("/open", public_terms())]);
    let fixture = Fixture::with_rules(TestService::new(), "default", rules).await;
    fixture.bench.store.all_fail.store(true, Ordering::SeqCst);
    for headers in [HeaderMap::new(), fixture.headers()] {
        let outcome = fixture.check_path("GET", "/open/x", &headers).await;
        assert!(outcome.public);
        assert_eq!(outcome.verdict, Verdict::Allow);
        assert!(outcome.session.is_none(), "no session must be looked up");
    }
    let not_public = fixture
        .check_path("GET", "/opened", &HeaderMap::new())
        .await;
    assert_eq!(not_public.verdict, deny(DenyReason::NoCredential));
    let with_dot_segment = fixture
        .check_path("GET", "/open/../x", &HeaderMap::new())
        .await;
    assert_eq!(with_dot_segment.verdict, deny(DenyReason::MalformedRequest));
    let text = fixture.bench.parts.metrics.render().unwrap();
    let line = r#"curfew_checks_total{contract="auth-request",policy="none",verdict="allow"} 2"#;
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn a_passive_path_does_not_extend_a_session() {
    let passive = Terms {
        activity: RuleActivity::Passive,
        ..Terms::default()
    };
    let fixture = Fixture::with_rules(
        TestService::new(),
        "default",
        rules_for_prefixes([("/poll", passive)]),
    )
    .await;
    for minutes in [5, 10, 14] {
        fixture.bench.set_time_after_start(minutes * MINUTE);
        assert_eq!(fixture.verdict_for_path("/poll/news").await, Verdict::Allow);
    }
    assert_eq!(fixture.bench.load_record(fixture.id).await.last_seen, START);
    assert_eq!(fixture.verdict_for_path("/news").await, Verdict::Allow);
    fixture.bench.set_time_after_start(29 * MINUTE);
    assert_eq!(
        fixture.verdict_for_path("/poll/news").await,
        deny(DenyReason::IdleTimeout)
    );
}

#[tokio::test]
async fn the_policy_of_a_rule_denies_only_that_request() {
    let strict = Terms {
        policy: Some(policy_name("strict")),
        ..Terms::default()
    };
    let fixture = Fixture::with_rules(
        TestService::new(),
        "default",
        rules_for_prefixes([("/pay", strict)]),
    )
    .await;
    fixture.bench.set_time_after_start(4 * MINUTE);
    assert_eq!(fixture.verdict_for_path("/pay").await, Verdict::Allow);
    assert_eq!(
        fixture.bench.load_record(fixture.id).await.last_seen,
        START,
        "a request that is not a navigation must not count, because of the policy of the rule"
    );
    fixture.bench.set_time_after_start(5 * MINUTE);
    let denied = fixture.check_path("GET", "/pay", &fixture.headers()).await;
    assert_eq!(denied.verdict, deny(DenyReason::ReauthenticationRequired));
    assert_eq!(denied.max_auth_age, Some(30 * 60));
    assert_eq!(fixture.verdict_for_path("/").await, Verdict::Allow);
    // If the proxy names a policy, too, both policies apply.
    let (method, headers) = (Method::GET, fixture.headers());
    fixture.bench.set_time_after_start(31 * MINUTE);
    let both = fixture.check(Some("strict"), &method, &headers).await;
    assert_eq!(both.verdict, deny(DenyReason::IdleTimeout));
}

#[tokio::test]
async fn a_less_strict_policy_changes_nothing() {
    let fixture = Fixture::with_policy("strict").await;
    fixture.bench.set_time_after_start(4 * MINUTE);
    let navigation = fixture.headers_with(&[("sec-fetch-mode", "navigate")]);
    for minutes in (4..=28).step_by(4) {
        fixture.bench.set_time_after_start(minutes * MINUTE);
        let outcome = fixture
            .check(Some("default"), &Method::GET, &navigation)
            .await;
        assert_eq!(outcome.verdict, Verdict::Allow, "{minutes}");
    }
    fixture.bench.set_time_after_start(30 * MINUTE);
    let outcome = fixture
        .check(Some("default"), &Method::GET, &navigation)
        .await;
    assert_eq!(outcome.verdict, deny(DenyReason::ReauthenticationRequired));
}

#[tokio::test]
async fn a_user_in_none_of_the_groups_is_forbidden_and_stays_signed_in() {
    let groups = |names: &[&str]| Terms {
        groups: names.iter().map(|&name| name.to_owned()).collect(),
        ..Terms::default()
    };
    let rules = rules_for_prefixes([
        ("/staff", groups(&["other", "staff"])),
        ("/operators", groups(&["operators", "Staff"])),
    ]);
    let fixture = Fixture::with_rules(TestService::new(), "default", rules).await;
    assert_eq!(fixture.verdict_for_path("/staff").await, Verdict::Allow);
    fixture.bench.set_time_after_start(10 * MINUTE);
    assert_eq!(
        fixture.verdict_for_path("/operators").await,
        deny(DenyReason::Forbidden)
    );
    assert_eq!(
        fixture.bench.load_record(fixture.id).await.last_seen,
        START,
        "a denied request must not count as activity"
    );
    fixture.bench.set_time_after_start(15 * MINUTE);
    assert_eq!(
        fixture.verdict_for_path("/operators").await,
        deny(DenyReason::IdleTimeout),
        "a reason that ends the session must take precedence"
    );
}

#[tokio::test]
async fn a_group_can_have_a_shorter_idle_limit() {
    let mut bench = TestService::new();
    let (_, default) = bench.parts.policies.get("default").unwrap();
    let policy_with_variant = Policy {
        variants: vec![Variant {
            groups: vec!["admin".to_owned()],
            limits: Limits {
                idle: Some(3 * MINUTE),
                ..Limits::NONE
            },
        }],
        ..default.clone()
    };
    bench.set_policies(BTreeMap::from([(
        policy_name("default"),
        policy_with_variant,
    )]));
    let fixture = Fixture::with_rules(bench, "default", Rules::default()).await;
    let just_before = 3 * MINUTE - SECOND;
    assert_eq!(fixture.verdict_after(just_before).await, Verdict::Allow);
    let idle = deny(DenyReason::IdleTimeout);
    assert_eq!(fixture.verdict_after(just_before + 3 * MINUTE).await, idle);
}

#[tokio::test]
async fn a_preflight_passes_if_configured() {
    let preflight_terms = Terms {
        cors_preflight: Access::Public,
        ..Terms::default()
    };
    let fixture = Fixture::with_rules(
        TestService::new(),
        "default",
        rules_for_prefixes([("/api", preflight_terms)]),
    )
    .await;
    let preflight = [
        ("origin", "https://other.example"),
        ("access-control-request-method", "PUT"),
    ];
    let no_credential = deny(DenyReason::NoCredential);
    for (method, path, header_lines, expected) in [
        ("OPTIONS", "/api/x", &preflight[..], Verdict::Allow),
        ("OPTIONS", "/api/x", &preflight[..1], no_credential),
        ("OPTIONS", "/api/x", &preflight[1..], no_credential),
        ("GET", "/api/x", &preflight, no_credential),
        ("POST", "/api/x", &preflight, no_credential),
        ("OPTIONS", "/other", &preflight, no_credential),
        (
            "OPTIONS",
            "/api/%2e%2e/other",
            &preflight,
            deny(DenyReason::MalformedRequest),
        ),
    ] {
        let outcome = fixture
            .check_path(method, path, &headers(header_lines))
            .await;
        assert_eq!(
            outcome.verdict, expected,
            "{method} {path} {header_lines:?}"
        );
        assert_eq!(outcome.public, expected == Verdict::Allow);
    }
}

/// Returns a fixture with a bound session, and the headers of the client that it is bound to.
async fn bound_session() -> (Fixture, [(&'static str, &'static str); 2]) {
    let mut bench = TestService::new();
    let (_, default) = bench.parts.policies.get("default").unwrap();
    let policy_with_binding = Policy {
        bind: BindSettings {
            network: Some(NetworkBits { ipv4: 24, ipv6: 64 }),
            user_agent: true,
        },
        ..default.clone()
    };
    let policies: BTreeMap<PolicyName, Policy> =
        BTreeMap::from([(policy_name("default"), policy_with_binding)]);
    bench.set_policies(policies);
    let bound_headers = [
        ("x-forwarded-for", "203.0.113.7"),
        ("user-agent", "Firefox"),
    ];
    let client =
        crate::policy::Client::new(bound_headers[0].1.parse().ok(), &headers(&bound_headers));
    let started = bench.sign_in_from("default", client).await;
    let fixture = Fixture {
        checker: bench.checker(Rules::default(), "session"),
        bench,
        id: started.id,
        token: started.token.expose(),
    };
    (fixture, bound_headers)
}

#[tokio::test]
async fn a_bound_session_is_denied_for_another_client() {
    let (fixture, bound_headers) = bound_session().await;
    let mismatch = deny(DenyReason::ReauthenticationRequired);
    for (header_lines, expected) in [
        (&bound_headers[..], Verdict::Allow),
        (
            &[("x-forwarded-for", "203.0.113.200"), bound_headers[1]],
            Verdict::Allow,
        ),
        (
            &[
                ("x-forwarded-for", "6.6.6.6, 203.0.113.8"),
                bound_headers[1],
            ],
            Verdict::Allow,
        ),
        (
            &[("x-forwarded-for", "203.0.114.7"), bound_headers[1]],
            mismatch,
        ),
        (
            &[
                ("x-forwarded-for", "203.0.113.7, 6.6.6.6"),
                bound_headers[1],
            ],
            mismatch,
        ),
        (&[bound_headers[0], ("user-agent", "curl")], mismatch),
        (&[bound_headers[0]], mismatch),
        (&[bound_headers[1]], deny(DenyReason::MalformedRequest)),
        (
            &[("x-forwarded-for", "unknown"), bound_headers[1]],
            deny(DenyReason::MalformedRequest),
        ),
    ] {
        let outcome = fixture
            .check_path("GET", "/", &fixture.headers_with(header_lines))
            .await;
        assert_eq!(outcome.verdict, expected, "{header_lines:?}");
    }
    // A request from another client is denied, does not count as activity, and does not end the session.
    fixture.bench.set_time_after_start(15 * MINUTE - SECOND);
    let other_client = fixture.headers_with(&[("x-forwarded-for", "6.6.6.6"), bound_headers[1]]);
    assert_eq!(
        fixture.check_path("GET", "/", &other_client).await.verdict,
        mismatch
    );
    let same_client = fixture.headers_with(&bound_headers);
    let outcome = fixture.check_path("GET", "/", &same_client).await;
    assert_eq!(outcome.verdict, Verdict::Allow);
    fixture.bench.set_time_after_start(30 * MINUTE);
    let idle = deny(DenyReason::IdleTimeout);
    assert_eq!(
        fixture.check_path("GET", "/", &other_client).await.verdict,
        idle
    );
}

#[tokio::test]
async fn only_the_address_from_the_proxy_is_used() {
    let (fixture, bound_headers) = bound_session().await;
    let url = OriginalUrl::parse(b"https://app.example.com/").unwrap();
    let headers = fixture.headers_with(&bound_headers);
    for (address, expected) in [
        (Some("203.0.113.7"), Verdict::Allow),
        (Some("6.6.6.6"), deny(DenyReason::ReauthenticationRequired)),
        (None, deny(DenyReason::MalformedRequest)),
    ] {
        let request = CheckRequest {
            contract: Contract::Spoe,
            policy: None,
            original: Ok(Original::new(&Method::GET, url)),
            headers: &headers,
            address: ClientAddress::InField(address.map(|text| text.parse().unwrap())),
            peer: None,
        };
        assert_eq!(
            fixture.checker.check(&request).await.verdict,
            expected,
            "{address:?}"
        );
    }
}
