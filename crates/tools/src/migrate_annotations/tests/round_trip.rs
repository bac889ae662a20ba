//! The printed policies, compiled together with their Ingresses, give each host the limits and groups of the input.

use std::time::Duration;

use curfew_kubernetes::{Object, State, compile};
use http::Method;
use proptest::prelude::*;
use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

use super::*;
use crate::policy::{Contract, RequestTarget};

/// Adds the objects of a YAML stream to a state, as a watch does.
fn apply(state: &mut State, yaml: &str) {
    fn part<T: serde::de::DeserializeOwned>(value: &Value) -> T {
        serde_json::from_value(value.clone()).unwrap()
    }
    macro_rules! insert {
        ($map:expr, $value:expr) => {{
            let metadata: curfew_kubernetes::Metadata = part(&$value["metadata"]);
            let object = Object {
                spec: part(&$value["spec"]),
                metadata: metadata.clone(),
                status: Default::default(),
            };
            assert!($map.insert(metadata.key(), object).is_none());
        }};
    }
    for document in YamlLoader::load_from_str(yaml).unwrap() {
        let value = to_json(&document);
        match value["kind"].as_str() {
            Some("Ingress") => insert!(state.ingresses, value),
            Some("IngressClass") => insert!(state.ingress_classes, value),
            Some("SessionPolicy") => insert!(state.session_policies, value),
            _ => assert_eq!(value, Value::Null),
        }
    }
}

fn to_json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Integer(number) => (*number).into(),
        Yaml::String(text) => text.clone().into(),
        Yaml::Boolean(value) => (*value).into(),
        Yaml::Array(items) => items.iter().map(to_json).collect(),
        Yaml::Hash(pairs) => {
            let pairs = pairs.iter();
            let pairs =
                pairs.map(|(key, value)| (key.as_str().unwrap().to_owned(), to_json(value)));
            Value::Object(pairs.collect())
        }
        _ => Value::Null,
    }
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
        let compiled = compile(&state).unwrap();
        for (key, status) in &compiled.session_policies {
            for condition in &status.ancestors[0].conditions {
                prop_assert!(condition.status, "{}: {:?}", key, condition);
            }
        }
        for (number, input) in inputs.iter().enumerate() {
            let terms = compiled.index.find(&RequestTarget {
                host: &format!("app{number}.example.com"),
                path: b"/orders",
                method: &Method::GET,
                contract: Contract::ForwardAuth,
            });
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
