use std::collections::BTreeMap;

use http::Method;
use proptest::prelude::*;

use super::*;
use crate::check::OriginalUrl;
use crate::config::{ConfigSource, Environment};
use crate::session::{Attributes, Binding, Limits, NewSession, PolicyName, Subject};
use crate::testing::{HOUR, MINUTE, START};

/// Returns the rulebook of the example configuration.
fn example_rulebook() -> Rulebook {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/curfew/curfew.yaml");
    let source = ConfigSource {
        file: Some(path.into()),
        environment: Environment::new(),
    };
    source.load().unwrap().config.rulebook
}

fn session(rulebook: &Rulebook, policy: &str, groups: &[&str], remembered: bool) -> Session {
    let groups = groups.iter().map(|&group| group.to_owned()).collect();
    let attributes = BTreeMap::from([("groups".to_owned(), groups)]);
    let attributes = Attributes::new(attributes).unwrap();
    let known = rulebook.policies.get(policy);
    let limits = known.map_or(Limits::NONE, |(_, policy)| {
        policy.limits_for_sign_in(remembered, &attributes)
    });
    let new = NewSession {
        subject: Subject::new("alice").unwrap(),
        attributes,
        policy: PolicyName::new(policy).unwrap(),
        remembered,
        binding: Binding::default(),
    };
    Session::start(new, &limits, HOUR, START)
}

/// Explains a `GET` request from NGINX.
fn explain_get(rulebook: &Rulebook, session: &Session, url: &str, now: Timestamp) -> Explanation {
    let request = ExplainedRequest {
        contract: Contract::AuthRequest,
        policy: None,
        original: Original::new(&Method::GET, OriginalUrl::parse(url.as_bytes()).unwrap()),
        headers: &HeaderMap::new(),
        client: Client::default(),
    };
    explain(rulebook, &request, session, now)
}

#[test]
fn an_explanation_has_each_rule_policy_and_limit_with_its_origin() {
    let rulebook = example_rulebook();
    let admin = session(&rulebook, "staff", &["cluster-admins"], false);
    let pay = explain_get(
        &rulebook,
        &admin,
        "https://shop.example.com/payments/1",
        START,
    );
    let terms = pay.terms.unwrap();
    assert_eq!(
        (pay.verdict, pay.path.as_deref()),
        ("allow", Some("/payments/1"))
    );
    assert_eq!(terms.rule.as_deref(), Some("rules.5"));
    assert_eq!(terms.home_policy, "staff");
    assert_eq!(terms.requested_policies[0].name, "payments");
    assert_eq!(terms.requested_policies[0].by, "rule");
    assert_eq!(terms.activity, "passive");
    let from = |limit: &Option<Limit>| {
        let limit = limit.as_ref().unwrap();
        format!("{}s {}", limit.seconds, limit.from)
    };
    let session_limits = &terms.session_limits;
    assert_eq!(
        from(&session_limits.idle),
        "600s policies.staff.variants.0.idle"
    );
    assert_eq!(
        from(&session_limits.absolute),
        "14400s policies.staff.variants.0.absolute"
    );
    assert_eq!(session_limits.max_auth_age, None);
    let request_limits = &terms.request_limits;
    assert_eq!(
        from(&request_limits.idle),
        "600s policies.staff.variants.0.idle"
    );
    assert_eq!(
        from(&request_limits.max_auth_age),
        "3600s policies.payments.max_auth_age"
    );
}

#[test]
fn an_explanation_has_the_reason_of_a_denial() {
    let rulebook = example_rulebook();
    let alice = session(&rulebook, "customers", &[], true);
    for (url, after, expected) in [
        ("https://shop.example.com/", MINUTE, "allow"),
        ("https://shop.example.com/admin/x", MINUTE, "forbidden"),
        (
            "https://shop.example.com/payments",
            2 * HOUR,
            "reauthentication_required",
        ),
        ("https://shop.example.com/", 24 * 14 * HOUR, "idle_timeout"),
        (
            "https://shop.example.com/",
            24 * 30 * HOUR,
            "absolute_timeout",
        ),
        ("https://shop.example.com/assets/x", 24 * 30 * HOUR, "allow"),
    ] {
        let explanation = explain_get(&rulebook, &alice, url, START.plus(after));
        assert_eq!(explanation.verdict, expected, "{url}");
        assert!(explanation.match_error.is_none());
    }
    let ambiguous = explain_get(
        &rulebook,
        &alice,
        "https://shop.example.com/assets/%2e%2e/x",
        START,
    );
    assert_eq!(
        (ambiguous.verdict, ambiguous.path),
        ("malformed_request", None)
    );
    let match_error = ambiguous.match_error.unwrap();
    assert!(match_error.ends_with("segment . or .."), "{match_error}");
    let passive = explain_get(
        &rulebook,
        &alice,
        "https://intranet.example.com/news/1/unread",
        START,
    );
    let passive_reason = passive.terms.unwrap().passive_reason;
    assert_eq!(passive_reason, Some("the rule sets `activity: passive`"));
}

proptest! {
    /// The explained limits equal the limits that a check applies.
    #[test]
    fn the_limits_equal_the_limits_of_a_check(
        policy in prop_oneof![Just("staff"), Just("customers"), Just("wallboard"), Just("renamed")],
        admin in any::<bool>(),
        remembered in any::<bool>(),
        path in prop_oneof![Just("/"), Just("/payments/x"), Just("/admin"), Just("/api")],
    ) {
        let rulebook = example_rulebook();
        let remembered = remembered && policy == "customers";
        let groups: &[&str] = if admin { &["cluster-admins"] } else { &[] };
        let session = session(&rulebook, policy, groups, remembered);
        let terms = explain_get(&rulebook, &session, &format!("https://shop.example.com{path}"), START).terms.unwrap();
        let home = rulebook.policies.home(&session);
        let as_limits = |limits: &LimitsInForce| Limits {
            idle: limits.idle.as_ref().map(Limit::duration),
            absolute: limits.absolute.as_ref().map(Limit::duration).unwrap(),
            max_auth_age: limits.max_auth_age.as_ref().map(Limit::duration),
        };
        prop_assert_eq!(as_limits(&terms.session_limits), home.limits);
        let method = Method::GET;
        let url = format!("https://shop.example.com{path}");
        let original = Original::new(&method, OriginalUrl::parse(url.as_bytes()).unwrap());
        let rule_match = RuleMatch::find(&rulebook, Contract::AuthRequest, None, &original, &HeaderMap::new()).unwrap();
        prop_assert_eq!(as_limits(&terms.request_limits), rule_match.limits(&home, &session));
    }
}
