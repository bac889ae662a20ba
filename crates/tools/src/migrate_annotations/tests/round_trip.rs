//! The printed policies, compiled together with their Ingresses, give each host the limits and groups of the input.

use std::time::Duration;

use curfew_kubernetes::{State, compile_alone};
use http::Method;
use proptest::prelude::*;

use super::*;
use crate::policy::{Contract, RequestTarget};

/// Adds the objects of a YAML stream to a state.
fn apply(state: &mut State, yaml: &str) {
    let skipped = state.read(yaml).unwrap();
    assert!(skipped.is_empty(), "{skipped:?}");
}

/// The sign-in service of an application in the input.
#[derive(Clone, Debug)]
enum Input {
    /// With the inactivity and the expiration of the cookie of its domain, in minutes.
    Authelia(u64, u64),
    /// With groups.
    Oauth2Proxy(Vec<String>),
    Other,
}

fn any_input() -> impl Strategy<Value = Input> {
    let groups = proptest::collection::btree_set("[^,\u{0}]{1,8}", 0..4);
    prop_oneof![
        (1_u64..500, 500_u64..5000).prop_map(|(idle, absolute)| Input::Authelia(idle, absolute)),
        groups.prop_map(|groups| Input::Oauth2Proxy(groups.into_iter().collect())),
        Just(Input::Other),
    ]
}

/// Returns the query of a URL with every byte of the groups escaped.
fn query(groups: &[String]) -> String {
    let escape =
        |group: &String| -> String { group.bytes().map(|byte| format!("%{byte:02X}")).collect() };
    groups.iter().map(escape).collect::<Vec<_>>().join(",")
}

proptest! {
    #[test]
    fn each_host_gets_the_limits_and_groups_of_the_input(
        inputs in proptest::collection::vec(any_input(), 1..6),
        expire in 1_u64..5000,
        is_list in any::<bool>(),
    ) {
        let mut config = "session:\n  cookies:\n  - domain: example.com\n".to_owned();
        let mut objects = Vec::new();
        for (number, input) in inputs.iter().enumerate() {
            let url = match input {
                Input::Authelia(idle, absolute) => {
                    config.push_str(&format!(
                        "  - {{domain: app{number}.example.com, inactivity: {idle} minutes, expiration: {absolute}m}}\n"
                    ));
                    "http://authelia.auth.svc/api/authz/auth-request".to_owned()
                }
                Input::Oauth2Proxy(groups) => {
                    format!("https://oauth2-proxy/oauth2/auth?allowed_groups={}", query(groups))
                }
                Input::Other => "http://sso/check".to_owned(),
            };
            objects.push(serde_json::json!({
                "apiVersion": "networking.k8s.io/v1",
                "kind": "Ingress",
                "metadata": {
                    "name": format!("app{number}"),
                    "namespace": format!("team{}", number % 2),
                    "annotations": { "nginx.ingress.kubernetes.io/auth-url": url },
                },
                "spec": {
                    "ingressClassName": "nginx",
                    "rules": [{
                        "host": format!("app{number}.example.com"),
                        "http": { "paths": [{ "path": "/", "pathType": "Prefix", "backend": {} }] },
                    }],
                },
            }));
        }
        let documents = objects.iter().map(|object| serde_json::to_string_pretty(object).unwrap());
        let documents = documents.collect::<Vec<_>>().join("\n---\n");
        let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        let input = if is_list { list.to_string() } else { documents.clone() };
        let expire_text = format!("cookie_expire = \"{expire}m\"\n");
        let sources = LimitSources {
            authelia: Some(AutheliaConfig::parse(&config).unwrap()),
            oauth2_proxy: Some(Oauth2ProxyConfig::parse(&expire_text).unwrap()),
            ..flags("7m", "9h")
        };
        let migration = migrate(sources, &input);
        prop_assert_eq!(migration.counts().policies, inputs.len());

        let mut state = State::default();
        let class = "{kind: IngressClass, metadata: {name: nginx}, spec: {controller: k8s.io/ingress-nginx}}";
        apply(&mut state, class);
        apply(&mut state, &documents);
        apply(&mut state, &migration.to_yaml());
        let compiled = compile_alone(&state).unwrap();
        for (key, status) in &compiled.session_policies {
            for condition in &status.ancestors[0].conditions {
                // No check has arrived in this test.
                prop_assert!(condition.status || condition.kind == "ChecksSeen", "{}: {:?}", key, condition);
            }
        }
        for (number, input) in inputs.iter().enumerate() {
            let host = format!("app{number}.example.com");
            let target = RequestTarget {
                host: &host,
                path: b"/orders",
                method: &Method::GET,
                contract: Contract::ForwardAuth,
            };
            let terms = compiled.index.find(&target.normalize());
            let terms = terms.unwrap();
            let minutes = |number: u64| Duration::from_secs(number * 60);
            let (idle, absolute, groups) = match input {
                Input::Authelia(idle, absolute) => (minutes(*idle), minutes(*absolute), &[][..]),
                // The idle limit of the policy cannot be longer than the absolute limit.
                Input::Oauth2Proxy(groups) => (minutes(expire.min(7)), minutes(expire), &groups[..]),
                Input::Other => (minutes(7), minutes(9 * 60), &[][..]),
            };
            let limits = terms.limits();
            prop_assert_eq!(limits.idle, Some(idle));
            prop_assert_eq!(limits.absolute, absolute);
            prop_assert_eq!(limits.max_auth_age, None);
            let lists: Vec<_> = terms.groups.iter().map(|list| list.value.clone()).collect();
            let expected: Vec<_> = (!groups.is_empty()).then(|| groups.to_vec()).into_iter().collect();
            prop_assert_eq!(lists, expected);
        }
    }
}
